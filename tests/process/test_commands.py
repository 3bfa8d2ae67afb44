"""The command line: check, plan, schema, selection, usage errors, closed files."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods, reply
from tests.loopback.program import BARE_ENVIRONMENT, ROOT, Worker
from tests.process.conftest import Run
from worker import __version__

CONFIG = """\
- name: clear
  url: http://web:8080/clear-caches
  auth: {bearer: {env: TOKEN}}
  tags: [nightly]
- name: reload
  url: http://web:8080/reload
  deadline: 1m
"""
TOKEN = {"TOKEN": "s3cret-t0ken"}


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        cwd=ROOT,
        env=BARE_ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_check_says_what_it_understood_and_how_long_a_run_can_take(
    run: Run, nameserver: Nameserver
) -> None:
    finished = run(CONFIG, command="check", environment=TOKEN)
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert finished.stdout == (
        "clear: POST http://web:8080/clear-caches\n"
        "  16 at once, at most 5 calls to an endpoint, 10 s each; min_pods 1; "
        "at most 310 s\n"
        "reload: POST http://web:8080/reload\n"
        "  16 at once, at most 5 calls to an endpoint, 10 s each; min_pods 1; "
        "at most 70 s\n"
        "2 broadcasts; a run takes at most 380 s\n"
    )
    assert nameserver.queries == []


def test_check_names_every_mistake_on_standard_error(run: Run) -> None:
    finished = run(CONFIG.replace("1m", "1 m") + "- {}\n", command="check")
    assert (finished.exit_code, finished.stdout) == (2, "")
    file, *_ = finished.stderr.partition(":")
    assert finished.stderr.splitlines() == [
        f"{file}:3:18: broadcasts[0].auth.bearer: expected the environment variable TOKEN, "
        "which is not set",
        f"{file}:7:13: broadcasts[1].deadline: expected a duration such as 10s, got 1 m",
        f"{file}:8:3: broadcasts[2].name: expected this key, got none",
        f"{file}:8:3: broadcasts[2].url: expected this key, got none",
    ]


def test_plan_prints_the_exact_request_with_secrets_masked_and_calls_nobody(
    run: Run, nameserver: Nameserver
) -> None:
    with Pods(2, port=8080) as pods:
        nameserver.set("web.default.svc.cluster.local", *pods.addresses)
        finished = run(CONFIG, "--broadcast", "clear", command="plan", environment=TOKEN)
        assert (finished.exit_code, finished.stderr) == (0, "")
        first, second = pods.addresses
        assert finished.stdout == (
            "clear: web.default.svc.cluster.local, TTL 5 s, NOERROR\n"
            f"  {first} port 8080\n"
            f"  {second} port 8080\n"
            "\n"
            "  > POST /clear-caches HTTP/1.1\n"
            "  > Host: web:8080\n"
            f"  > User-Agent: pod-broadcast/{__version__}\n"
            "  > Accept: */*\n"
            "  > Accept-Encoding: identity\n"
            "  > Authorization: Bearer ***\n"
            "  > Content-Length: 0\n"
            "  > Connection: close\n"
            f"  > traceparent: 00-{'0' * 32}-{'0' * 16}-01\n"
            "  > \n"
            "  > \n"
            "\n"
        )
        assert pods[0].connections + pods[1].connections == 0


def test_plan_of_a_service_that_is_not_there_is_exit_4(run: Run) -> None:
    finished = run(CONFIG, "--broadcast", "reload", command="plan", environment=TOKEN)
    assert finished.exit_code == 4
    assert "NXDOMAIN" in finished.stdout


def test_plan_of_broken_dns_is_exit_4(run: Run, nameserver: Nameserver) -> None:
    nameserver.fault("refused")
    finished = run(CONFIG, "--broadcast", "reload", command="plan", environment=TOKEN)
    assert (finished.exit_code, finished.stderr) == (4, "")
    name = "web.default.svc.cluster.local"
    assert finished.stdout == f"reload: {name}: dns_refused: {nameserver} answered REFUSED\n\n"


def test_a_stop_signal_ends_a_plan(tmp_path: Path, nameserver: Nameserver) -> None:
    nameserver.fault("silence")
    settings: dict[str, Any] = {"command": "plan", "environment": TOKEN, "options": "timeout:30"}
    with Worker(tmp_path, CONFIG, nameserver=nameserver, **settings) as worker:
        nameserver.wait_for("a question", lambda: nameserver.asked() > 0)
        worker.signal(signal.SIGTERM)
        finished = worker.finish(timeout=10)
    assert (finished.exit_code, finished.stdout, finished.stderr) == (143, "", "")


def test_without_a_resolv_conf_a_name_is_tried_as_it_is(run: Run, nameserver: Nameserver) -> None:
    nameserver.set("web", "127.0.0.1", "127.0.0.2")
    arguments = ("--broadcast", "reload", "--resolv-conf", "/nonexistent/resolv.conf")
    finished = run(CONFIG, *arguments, command="plan", environment=TOKEN)
    assert finished.exit_code == 0
    assert finished.stdout.startswith("reload: web, TTL 5 s, NOERROR\n")


def test_schema_is_the_committed_one() -> None:
    done = python("schema")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((ROOT / "config" / "schema.json").read_text())


def test_a_broadcast_is_selected_by_name_or_tag(run: Run) -> None:
    for selection in (("--broadcast", "clear"), ("--tag", "nightly")):
        finished = run(CONFIG, *selection, command="check", environment=TOKEN)
        assert finished.stdout.splitlines()[-1] == "1 broadcast; a run takes at most 310 s"


@pytest.mark.parametrize("selection", [("--broadcast", "cleer"), ("--tag", "weekly")])
def test_a_selection_that_matches_nothing_is_exit_2(
    selection: tuple[str, str], run: Run, nameserver: Nameserver
) -> None:
    finished = run(CONFIG, *selection, environment=TOKEN)
    assert finished.exit_code == 2
    invalid = finished.only("config.invalid")
    assert invalid["key"] == selection[0]
    assert finished.entries[-1]["event"] == "run.finished"
    assert nameserver.queries == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grace", "soon"], "--grace: expected a duration such as 10s, got soon"),
        (["--nameserver", "dns"], "--nameserver dns: expected an IP address, or ADDRESS:PORT"),
        (["--log-level", "loud"], "--log-level loud: expected info or warning or error"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
def test_a_usage_error_is_exit_2_on_standard_error_and_in_the_log(
    arguments: list[str], message: str
) -> None:
    done = python("run", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    (entry,) = (json.loads(line) for line in done.stdout.splitlines())
    assert (entry["event"], entry["exit_code"], entry["level"]) == ("run.finished", 2, "error")
    assert message in entry["error_message"]


def test_a_usage_error_of_check_is_on_standard_error_only() -> None:
    done = python("check", "--frobnicate")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unrecognized arguments: --frobnicate" in done.stderr


def test_options_can_be_given_in_the_environment(tmp_path: Path) -> None:
    config = tmp_path / "b.yaml"
    config.write_text(CONFIG)
    done = python("check", BROADCAST_CONFIG=str(config), BROADCAST_TAG="nightly", **TOKEN)
    assert done.stdout.splitlines()[-1] == "1 broadcast; a run takes at most 310 s"


def test_help_and_version_are_exit_0() -> None:
    assert python("--version").stdout == f"pod-broadcast {__version__}\n"
    done = python("--help")
    assert done.returncode == 0
    assert "exit codes:" in done.stdout


LOST = "the log could not be written to standard output\n"


def start(
    directory: Path, pods: Pods, nameserver: Nameserver, stdout: int
) -> subprocess.Popen[str]:
    """A run that writes its log to the file descriptor."""
    config = directory / "b.yaml"
    config.write_text(f"- name: clear\n  url: http://web.:{pods.port}/\n  settle: 0s\n")
    nameserver.set("web", *pods.addresses)
    return subprocess.Popen(
        [sys.executable, "-m", "worker", f"--config={config}", f"--nameserver={nameserver}"],
        cwd=ROOT,
        env=BARE_ENVIRONMENT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def without_a_reader() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("stdout", [full, without_a_reader])
def test_a_log_that_cannot_be_written_is_exit_1_and_everybody_is_called(
    stdout: Callable[[], int], three_pods: Pods, nameserver: Nameserver, tmp_path: Path
) -> None:
    descriptor = stdout()
    process = start(tmp_path, three_pods, nameserver, descriptor)
    os.close(descriptor)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (1, LOST)
    assert list(three_pods.requests.values()) == [1, 1, 1]


def test_a_slow_reader_of_the_log_gets_all_of_it(
    three_pods: Pods, nameserver: Nameserver, tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)  # each line waits for its reader
    with start(tmp_path, three_pods, nameserver, writer) as process:
        os.close(writer)
        with os.fdopen(reader, "rb") as log:
            entries = [json.loads(line) for line in log]
        _, stderr = process.communicate(timeout=60)
        assert (process.returncode, stderr) == (0, "")
    assert entries[-1]["event"] == "run.finished"
    assert len([entry for entry in entries if entry["event"] == "call.succeeded"]) == 3


def test_a_reader_that_takes_nothing_does_not_keep_a_stop_signal_from_ending_the_run(
    three_pods: Pods, nameserver: Nameserver, tmp_path: Path
) -> None:
    gate = three_pods.gate()
    three_pods[0].script(reply(after=gate))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with start(tmp_path, three_pods, nameserver, writer) as process:
        three_pods.wait_for("a request", lambda: three_pods.in_flight > 0)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x")
        os.set_blocking(writer, True)
        gate.open()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=10)
        assert (process.returncode, stderr) == (143, LOST)
    os.close(reader)
    os.close(writer)


def test_closed_standard_files_do_not_put_log_lines_into_a_pods_connection(
    three_pods: Pods, nameserver: Nameserver, tmp_path: Path
) -> None:
    config = tmp_path / "b.yaml"
    config.write_text(f"- name: clear\n  url: http://web.:{three_pods.port}/\n  settle: 0s\n")
    nameserver.set("web", *three_pods.addresses)
    command = f'exec "{sys.executable}" -m worker --config {config} --nameserver {nameserver}'
    done = subprocess.run(
        ["sh", "-c", f"{command} 0<&- 1>&- 2>&-"], cwd=ROOT, env=os.environ, check=False
    )
    assert done.returncode == 0
    assert list(three_pods.requests.values()) == [1, 1, 1]
    assert [pod.connections for pod in map(three_pods.__getitem__, range(3))] == [1, 1, 1]
