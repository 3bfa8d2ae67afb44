"""Marked secrets in every key that takes one, and a search for them in all that is written."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Behaviour, Pods, raw
from tests.loopback.program import ROOT, Finished
from tests.loopback.terminal import Terminal
from tests.process.conftest import Run
from worker.options import LOG_FORMATS

WEB = "web.default.svc.cluster.local"
HEADER, FILE, TOKEN = 'hEaDeR/+"1%&=?', "fIlE-t0ken-2", 'bEaReR+/="3~'
USER, PASSWORD = "uSeRnAmE-4", 'pAsSwÖrD "5" /+&'
ENVIRONMENT = {"HEADER": HEADER, "TOKEN": TOKEN, "USER_NAME": USER, "PASSWORD": PASSWORD}


def forms(secret: str) -> list[str]:
    """As somebody might echo it."""
    data = secret.encode()
    pairs = [f"{USER}:{secret}".encode(), b"prefix " + data, b"x" + data + b"y"]
    return [
        secret,
        quote(secret),
        quote(secret, safe=""),
        re.sub("%..", lambda match: match[0].lower(), quote_plus(secret)),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        b64encode(data).decode(),
        urlsafe_b64encode(data).decode(),
        *(b64encode(pair).decode() for pair in pairs),
    ]


SECRETS = (HEADER, FILE, TOKEN, USER, PASSWORD)
ECHO = " ".join(form for secret in SECRETS for form in forms(secret)).encode()
ECHO_LINE = ECHO.replace(b"\n", b"").decode("utf-8").encode("latin-1", "replace")
PODS: dict[str, Behaviour] = {
    "the body": raw(b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n" % len(ECHO) + ECHO),
    "the reason phrase": raw(b"HTTP/1.1 500 " + ECHO_LINE + b"\r\nContent-Length: 0\r\n\r\n"),
    "the Location": raw(
        b"HTTP/1.1 302 Found\r\nLocation: " + ECHO_LINE + b"\r\nContent-Length: 0\r\n\r\n"
    ),
    "the Allow header": raw(
        b"HTTP/1.1 405 No\r\nAllow: " + ECHO_LINE + b"\r\nContent-Length: 0\r\n\r\n"
    ),
    "no HTTP at all": raw(ECHO + b"\r\n\r\n"),
}
AUTHS = {
    "bearer": "{bearer: {env: TOKEN}}",
    "basic": "{basic: {username: {env: USER_NAME}, password: {env: PASSWORD}}}",
}


def config(port: int, auth: str) -> str:
    return (
        f"- name: clear\n  url: http://web:{port}/\n  settle: 0s\n  attempts: 1\n"
        f"  headers: {{X-Env: {{env: HEADER}}, X-File: {{file: secret}}}}\n"
        f"  auth: {AUTHS[auth]}\n  log_response: true\n"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(FILE + "\n")
    (tmp_path / "termination-log").touch()
    return tmp_path


def watch(folder: Path, config: str, *arguments: str, nameserver: Nameserver) -> Finished:
    """A run on a terminal so wide that no line is broken, and all that was drawn."""
    with Terminal(
        folder,
        config,
        *arguments,
        nameserver=nameserver,
        environment=ENVIRONMENT,
        columns=10_000,
    ) as terminal:
        return Finished(terminal.finish(), terminal.raw.decode(), "")


def check_nothing_leaks(finished: Finished, folder: Path, auth: str) -> None:
    used = {HEADER, FILE} | ({TOKEN} if auth == "bearer" else {USER, PASSWORD})
    written = finished.stdout + finished.stderr + (folder / "termination-log").read_text()
    for line in finished.stdout.splitlines():
        if line.startswith("{"):  # in JSON a quote is written as \"
            written += " ".join(map(str, json.loads(line).values()))
    leaks = {form for secret in used for form in forms(secret) if form in written}
    # Of the base64 of something longer, the digits that the secret alone decides are masked.
    assert not leaks, leaks


@pytest.mark.parametrize("log_format", [*LOG_FORMATS, "live"])
@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("what", PODS)
def test_a_pod_that_echoes_secrets_in(
    what: str, auth: str, log_format: str, run: Run, nameserver: Nameserver, folder: Path
) -> None:
    with Pods(1) as pods:
        nameserver.set(WEB, *pods.addresses)
        pods[0].script(PODS[what])
        arguments = ("--termination-log", str(folder / "termination-log"))
        if log_format == "live":
            finished = watch(folder, config(pods.port, auth), *arguments, nameserver=nameserver)
            assert "\x1b" in finished.stdout
        else:
            finished = run(
                config(pods.port, auth),
                *("--log-format", log_format, *arguments),
                environment=ENVIRONMENT,
            )
        assert finished.exit_code == 4, finished.stdout
        (request,) = pods[0].requests
        assert request.header("X-Env") == HEADER
        assert request.header("X-File") == FILE
        check_nothing_leaks(finished, folder, auth)
        structured = log_format not in {"console", "live"}
        if what == "the reason phrase" or (structured and what != "no HTTP at all"):
            assert "***" in finished.stdout


LONG = ("the reason phrase", "the Location", "the Allow header")


@pytest.mark.parametrize("what", LONG)
@pytest.mark.parametrize("before", [195, 1990, 4090])
@pytest.mark.usefixtures("folder")
def test_no_cut_leaves_a_piece_of_a_secret_over(
    what: str, before: int, run: Run, nameserver: Nameserver
) -> None:
    text = b"x" * before + TOKEN.encode() + b"y" * 300
    lines = {
        "the reason phrase": b"HTTP/1.1 500 " + text,
        "the Location": b"HTTP/1.1 302 Found\r\nLocation: " + text,
        "the Allow header": b"HTTP/1.1 405 No\r\nAllow: " + text,
    }
    with Pods(1) as pods:
        nameserver.set(WEB, *pods.addresses)
        pods[0].script(raw(lines[what] + b"\r\nContent-Length: 0\r\n\r\n"))
        finished = run(config(pods.port, "bearer"), environment=ENVIRONMENT)
    assert finished.exit_code == 4
    assert "xxx" in finished.stdout
    assert TOKEN[:4] not in finished.stdout


LONG_TOKEN = "".join(chr(0x21 + index * 7 % 90) for index in range(1000))


@pytest.mark.parametrize("what", LONG)
@pytest.mark.parametrize("copies", [1, 5, 60])
def test_of_a_long_secret_no_copy_leaks_that_a_limit_cuts_off(
    what: str, copies: int, run: Run, nameserver: Nameserver, folder: Path
) -> None:
    token = LONG_TOKEN * 5 if copies == 1 else LONG_TOKEN
    lines = {
        "the reason phrase": b"HTTP/1.1 500 ",
        "the Location": b"HTTP/1.1 302 Found\r\nLocation: ",
        "the Allow header": b"HTTP/1.1 405 No\r\nAllow: ",
    }
    line = lines[what] + token.encode() * copies
    with Pods(1) as pods:
        nameserver.set(WEB, *pods.addresses)
        pods[0].script(raw(line + b"\r\nContent-Length: 0\r\n\r\n"))
        finished = run(
            config(pods.port, "bearer"),
            *("--termination-log", str(folder / "termination-log")),
            environment=ENVIRONMENT | {"TOKEN": token},
        )
    assert finished.exit_code == 4
    assert "***" in finished.stdout
    written = " ".join(str(value) for entry in finished.entries for value in entry.values())
    written += (folder / "termination-log").read_text()
    pieces = {token[at : at + 6] for at in range(1000)}
    assert not [piece for piece in pieces if piece in written]


@pytest.mark.parametrize("codec", ["utf-8", "latin-1"])
@pytest.mark.parametrize("what", ["the body", "the reason phrase"])
def test_a_secret_that_is_not_ascii_in(
    what: str, codec: str, run: Run, nameserver: Nameserver, folder: Path
) -> None:
    echo = "pässwörd-5".encode(codec)
    answers = {
        "the body": b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%b" % (len(echo), echo),
        "the reason phrase": b"HTTP/1.1 500 %b\r\nContent-Length: 0\r\n\r\n" % echo,
    }
    with Pods(1) as pods:
        nameserver.set(WEB, *pods.addresses)
        pods[0].script(raw(answers[what]))
        finished = run(
            config(pods.port, "basic"),
            environment=ENVIRONMENT | {"PASSWORD": "pässwörd-5"},
        )
    (failed,) = finished.events("call.failed")
    assert (failed["error_message"], failed.get("response_body")) == {
        "the body": ("answered 500 No", "***"),
        "the reason phrase": ("answered 500 ***", None),
    }[what]
    assert folder


@pytest.mark.parametrize("password", ["root", "bob", "admin"])
def test_the_credentials_as_they_are_sent_with_a_short_password(
    password: str, run: Run, nameserver: Nameserver, folder: Path
) -> None:
    sent = b64encode(f"{USER}:{password}".encode())
    with Pods(1) as pods:
        nameserver.set(WEB, *pods.addresses)
        pods[0].script(raw(b"HTTP/1.1 401 Basic %b\r\nContent-Length: 0\r\n\r\n" % sent))
        finished = run(
            config(pods.port, "basic").replace("{env: USER_NAME}", USER),
            environment=ENVIRONMENT | {"PASSWORD": password},
        )
    assert pods[0].requests[0].header("Authorization") == f"Basic {sent.decode()}"
    assert finished.events("call.failed")[0]["error_message"] == "answered 401 Basic ***"
    assert folder


def test_a_secret_that_is_short_or_a_number_changes_no_field_of_the_programs_own(
    run: Run, nameserver: Nameserver, folder: Path
) -> None:
    with Pods(1) as pods:
        nameserver.set(WEB, *pods.addresses)
        pods[0].script(raw(b"HTTP/1.1 500 on %d\r\nContent-Length: 0\r\n\r\n" % pods.port))
        finished = run(
            config(pods.port, "bearer"),
            *("--log-format", "ecs"),
            environment=ENVIRONMENT | {"TOKEN": str(pods.port), "HEADER": "1"},
        )
    assert finished.exit_code == 4, finished.stdout
    (failed,) = [e for e in finished.entries if e["event.action"] == "call.failed"]
    assert failed["pod_broadcast.endpoint"] == f"{pods[0].address}:{pods.port}"
    assert (failed["server.ip"], failed["server.port"]) == (pods[0].address, pods.port)
    assert failed["pod_broadcast.broadcast"] == "clear"
    assert failed["error.message"] == "answered 500 on ***"
    assert folder


OUTSIDE = {"text": "sEcReT bOdY", "lines": '{\n  "key": "sEcReT bOdY"\n}\n'}


@pytest.mark.parametrize("body", OUTSIDE.values(), ids=OUTSIDE)
def test_a_body_from_outside_the_configurations_folder_is_a_secret(
    body: str, run: Run, nameserver: Nameserver, folder: Path
) -> None:
    (folder / "config").mkdir()
    (folder / "body").write_text(body)
    file = folder / "config" / "b.yaml"
    with Pods(1) as pods:
        nameserver.set(WEB, *pods.addresses)
        text = config(pods.port, "bearer").replace("file: secret", "file: ../secret")
        file.write_text(text + "  body_file: ../body\n")
        planned = run(file, command="plan", environment=ENVIRONMENT)
        echo = json.dumps({"got": body}).encode()
        head = b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n" % len(echo)
        pods[0].script(raw(head + echo))
        finished = run(file, environment=ENVIRONMENT)
    assert planned.exit_code == 0, planned.stderr
    assert f"  body:\n    > ***\n  body_bytes: {len(body)}\n" in planned.stdout
    assert pods[0].requests[0].body == body.encode()
    assert '"got": "***' in finished.events("call.failed")[0]["response_body"]
    for written in (planned.stdout, finished.stdout):
        assert "sEcReT" not in written


@pytest.mark.parametrize("command", ["check", "plan"])
@pytest.mark.parametrize("auth", AUTHS)
def test_commands_show_no_secret(
    command: str, auth: str, run: Run, nameserver: Nameserver, folder: Path
) -> None:
    nameserver.set(WEB, "127.0.0.1")
    finished = run(config(8080, auth), command=command, environment=ENVIRONMENT)
    assert finished.exit_code == 0
    check_nothing_leaks(finished, folder, auth)


ROOMS = [
    "worker.config.yaml:read",
    "worker.config.secret:Secret.read",
    "worker.config.parts:Headers.read",
    "worker.config.tls:tls_context",
    "worker.config.load:load",
    "worker.config.load:select",
    "worker.discovery.dns.resolvconf:candidates",
    "worker.discovery.dns.lookup:Lookup.ask",
    "worker.calls.request:prepare",
    "worker.calls.call:Caller.call",
    "worker.calls.connection:Connection.connect",
    "worker.rounds.ledger:Ledger.record_call",
    "worker.rounds.world:LiveWorld.call",
    "worker.rounds.run:Rounds.run",
    "worker.report.hints:hint",
    "worker.report.summary:of_run",
]
# Python runs this before the program: the named function raises what it was given.
CRASH = """
import importlib, os, functools
module, _, path = os.environ["CRASH"].partition(":")
holder = importlib.import_module(module)
*names, last = path.split(".")
for name in names:
    holder = getattr(holder, name)
def crash(*arguments, **keywords):
    raise RuntimeError(" ".join(os.environ[name] for name in ("TOKEN", "HEADER")))
setattr(holder, last, crash)
"""


def https(text: str) -> str:
    """The same, so that it leads through every room."""
    return text.replace("http://", "https://") + "  tls: {insecure_skip_verify: true}\n"


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("room", ROOMS)
def test_a_crash_in(
    room: str, command: str, run: Run, nameserver: Nameserver, folder: Path
) -> None:
    (folder / "sitecustomize.py").write_text(CRASH)
    with Pods(1) as pods:
        nameserver.set(WEB, *pods.addresses)
        finished = run(
            https(config(pods.port, "bearer")),
            command=command,
            environment=ENVIRONMENT | {"CRASH": room, "PYTHONPATH": f"{folder}:{ROOT}"},
        )
    check_nothing_leaks(finished, folder, "bearer")
    if command == "run":
        assert finished.exit_code == 1, finished.stdout
        crashed, last = finished.entries[-2:]
        assert (crashed["event"], crashed["error_type"]) == ("run.crashed", "RuntimeError")
        assert "in crash" in crashed["stack"]
        running = finished.events("broadcast.started") and not finished.events("broadcast.finished")
        assert crashed.get("broadcast") == ("clear" if running else None)
        assert (last["event"], last["exit_code"], last["outcome"]) == ("run.finished", 1, "failed")
    elif finished.exit_code != 0:  # a plan does not enter every room
        assert finished.exit_code == 1
        assert finished.stderr.startswith("this is a bug: RuntimeError\n")


@pytest.mark.parametrize(
    "place", ["log.setup:summary_line", "log.masking:Masker.may_find", "log.formats:json_line"]
)
def test_a_crash_that_cannot_be_logged_shows_no_secret_either(
    place: str, run: Run, nameserver: Nameserver, folder: Path
) -> None:
    (folder / "sitecustomize.py").write_text(CRASH)
    nameserver.set(WEB, "127.0.0.1")
    finished = run(
        config(1, "bearer"),
        *("--termination-log", str(folder / "termination-log")),
        environment=ENVIRONMENT | {"CRASH": f"worker.{place}", "PYTHONPATH": f"{folder}:{ROOT}"},
    )
    check_nothing_leaks(finished, folder, "bearer")
    assert finished.exit_code == 1
    assert finished.stderr.startswith("this is a bug: RuntimeError\n")
