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
import trustme

from tests.events import judge
from tests.loopback.nameserver import FaultKind, Nameserver
from tests.loopback.pods import Pods, silent
from tests.loopback.program import BARE_ENVIRONMENT, ROOT, Worker, command_line
from tests.process.conftest import Run
from worker import __version__
from worker.config.keys import KEYS

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
    done = subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        cwd=ROOT,
        env=BARE_ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    judge.check_output(done.stdout)
    return done


def understood(name: str, path: str, auth: str, deadline: str, tags: str) -> str:
    """What check says of a broadcast with the default of every other key."""
    return (
        f"{name}: POST http://web:8080/{path}\n"
        "  port: 8080\n"
        "  discovery: dns\n"
        "  include_not_ready: false\n"
        "  port_name: none\n"
        "  ip_family: auto\n"
        "  headers: none\n"
        "  body_bytes: 0\n"
        f"  auth: {auth}\n"
        "  tls: none\n"
        "  expect.status: 2xx\n"
        "  expect.body_contains: none\n"
        "  expect.body_lacks: none\n"
        "  expect.json: none\n"
        "  verify: none\n"
        "  canary: 0\n"
        "  max_failed: none\n"
        "  concurrency: 16\n"
        "  stagger: 0s\n"
        "  connect_timeout: 2s\n"
        "  timeout: 10s\n"
        "  attempts: 5\n"
        "  backoff.initial: 1s\n"
        "  backoff.max: 15s\n"
        "  settle: 40s\n"
        f"  deadline: {deadline}\n"
        "  min_pods: 1\n"
        "  log_response: none\n"
        f"  tags: {tags}\n"
        f"  longest: {deadline}\n"
    )


def test_check_says_what_it_understood_and_how_long_a_run_can_take(
    run: Run, nameserver: Nameserver
) -> None:
    finished = run(CONFIG, command="check", environment=TOKEN)
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert finished.stdout == (
        f"{understood('clear', 'clear-caches', 'bearer', '5m', 'nightly')}\n"
        f"{understood('reload', 'reload', 'none', '1m', 'none')}\n"
        "2 broadcasts; a run takes at most 6m\n"
    )
    assert nameserver.queries == []


@pytest.mark.parametrize(("deadline", "longest"), [("90s", 90.0), ("1h", 360.0)])
def test_check_heeds_the_deadline_of_the_run(deadline: str, longest: float, run: Run) -> None:
    arguments = ("--output", "json", "--deadline", deadline)
    given = run(CONFIG, *arguments, command="check", environment=TOKEN)
    environment = TOKEN | {"BROADCAST_DEADLINE": deadline, "BROADCAST_OUTPUT": "json"}
    from_environment = run(CONFIG, command="check", environment=environment)
    for finished in (given, from_environment):
        document = json.loads(finished.stdout)
        assert document["longest_seconds"] == longest
        assert [each["longest_seconds"] for each in document["broadcasts"]] == [300.0, 60.0]


EVERYTHING = """\
- name: everything
  url: https://web.shop:8443/a?b=c
  method: PURGE
  headers: {X-Key: {env: TOKEN}, X-Plain: s3cret-t0ken}
  json: {pattern: "/a"}
  auth: {basic: {username: me, password: {env: TOKEN}}}
  tls: {insecure_skip_verify: true, server_name: shop.example, cert_file: client.pem}
  expect:
    status: [404, 3xx, 2xx]
    body_contains: "ok\\e[31m"
    json: {/hash: {env: TOKEN}, "": [1.5, null]}
  verify:
    url: https://web.shop:9443/state
    expect: {body_lacks: stale, json: {/a: 1}}
    timeout: 1s
    within: 2m
  canary: 1
  max_failed: 0
  concurrency: 1
  stagger: 250ms
  settle: 500us
  backoff: {initial: 100ms, max: 2s}
  min_pods: 2
  tags: [a, b]
"""


def test_check_in_json_is_one_document_with_every_key(run: Run, tmp_path: Path) -> None:
    client = trustme.CA().issue_cert("worker@example.org").private_key_and_cert_chain_pem
    client.write_to_path(str(tmp_path / "client.pem"))
    finished = run(EVERYTHING, "--output", "json", command="check", environment=TOKEN)
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert json.loads(finished.stdout) == {
        "errors": [],
        "broadcasts": [
            {
                "name": "everything",
                "method": "PURGE",
                "url": "https://web.shop:8443/a?b=c",
                "port": 8443,
                "discovery": "dns",
                "include_not_ready": False,
                "port_name": None,
                "ip_family": "auto",
                "headers": ["X-Key", "X-Plain"],
                "body_bytes": 17,
                "auth": "basic",
                "tls": {
                    "server_name": "shop.example",
                    "verified": False,
                    "ca_file": None,
                    "cert_file": str(tmp_path / "client.pem"),
                },
                "expect": {
                    "status": ["2xx", "3xx", "404"],
                    "body_contains": "ok\x1b[31m",
                    "body_lacks": None,
                    "json": {"/hash": "***", "": [1.5, None]},
                },
                "verify": {
                    "method": "GET",
                    "url": "https://web.shop:9443/state",
                    "tls": {
                        "server_name": "shop.example",
                        "verified": False,
                        "ca_file": None,
                        "cert_file": f"{tmp_path}/client.pem",
                    },
                    "expect": {
                        "status": ["2xx"],
                        "body_contains": None,
                        "body_lacks": "stale",
                        "json": {"/a": 1},
                    },
                    "connect_timeout_seconds": 2.0,
                    "timeout_seconds": 1.0,
                    "every_seconds": 1.0,
                    "within_seconds": 120.0,
                },
                "canary": 1,
                "max_failed": 0,
                "concurrency": 1,
                "stagger_seconds": 0.25,
                "connect_timeout_seconds": 2.0,
                "timeout_seconds": 10.0,
                "attempts": 5,
                "backoff": {"initial_seconds": 0.1, "max_seconds": 2.0},
                "settle_seconds": 0.0005,
                "deadline_seconds": 300.0,
                "min_pods": 2,
                "log_response": "none",
                "tags": ["a", "b"],
                "longest_seconds": 300.0,
            }
        ],
        "files": [str(tmp_path / "broadcasts.yaml")],
        "longest_seconds": 300.0,
    }
    text = run(EVERYTHING, command="check", environment=TOKEN).stdout
    first, *lines = text.splitlines()
    assert first == "everything: PURGE https://web.shop:8443/a?b=c"
    assert {
        "  headers: X-Key, X-Plain",
        "  body_bytes: 17",
        "  auth: basic",
        "  tls.server_name: shop.example",
        "  tls.verified: false",
        "  tls.ca_file: none",
        f"  tls.cert_file: {tmp_path}/client.pem",
        "  expect.status: 2xx, 3xx, 404",
        "  expect.body_contains: ok\\x1b[31m",
        "  expect.json:",
        '    /hash: "***"',
        "    the whole: [1.5, null]",
        "  verify.url: https://web.shop:9443/state",
        "  verify.expect.body_lacks: stale",
        "  verify.expect.json:",
        "    /a: 1",
        "  verify.within: 2m",
        "  canary: 1",
        "  stagger: 250ms",
        "  settle: 500us",
        "  backoff.initial: 100ms",
        "  min_pods: 2",
        "  tags: a, b",
        "1 broadcast; a run takes at most 5m",
    } <= set(lines)


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
def test_check_names_the_port_that_a_url_does_not(scheme: str, port: int, run: Run) -> None:
    finished = run(f"- name: a\n  url: {scheme}://web/\n", command="check")
    first, second, *_ = finished.stdout.splitlines()
    assert first == f"a: POST {scheme}://web/"
    assert second == f"  port: {port} (the scheme's default)"


@pytest.mark.parametrize("command", ["check", "plan"])
def test_mistakes_in_json_are_a_document_too(command: str, run: Run, tmp_path: Path) -> None:
    text = "- name: a\n  url: http://web/\n  timout: 1s\n"
    finished = run(text, "--output", "json", command=command)
    assert (finished.exit_code, finished.stderr) == (2, "")
    assert json.loads(finished.stdout) == {
        "errors": [
            {
                "file": str(tmp_path / "broadcasts.yaml"),
                "line": 3,
                "column": 3,
                "key": "broadcasts[0].timout",
                "message": "unknown key: did you mean timeout?",
            }
        ],
        "broadcasts": [],
    }


def test_check_names_every_mistake_on_standard_error(run: Run) -> None:
    finished = run(CONFIG.replace("1m", "1 m") + "- {}\n", command="check")
    assert (finished.exit_code, finished.stdout) == (2, "")
    file, *_ = finished.stderr.partition(":")
    assert finished.stderr.splitlines() == [
        f"{file}:3:18: broadcasts[0].auth.bearer: the environment variable TOKEN is not set",
        f"{file}:7:13: broadcasts[1].deadline: expected a duration such as 10s, got 1 m: write 1m",
        f"{file}:8:3: broadcasts[2].name: this key is required",
        f"{file}:8:3: broadcasts[2].url: this key is required",
    ]


@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_mistake_shows_no_secret_and_steers_no_terminal(command: str, tmp_path: Path) -> None:
    file = tmp_path / "\x1b[2J.yaml"
    file.write_text(
        "- name: clear\n  url: http://me:hunter2@web:8080/\n"
        "  auth: {bearer: hunter2}\n  password: hunter2\n"
    )
    finished = python(command, "--config", str(file))
    assert (finished.returncode, finished.stdout) == (2, "")
    place = str(file).replace("\x1b", r"\x1b")
    assert finished.stderr.splitlines() == [
        f"{place}:2:8: broadcasts[0].url: expected no user or password in the URL: set auth",
        f"{place}:3:18: broadcasts[0].auth.bearer: expected {{env: NAME}} or {{file: PATH}}: no "
        "secret belongs in this file",
        f"{place}:4:3: broadcasts[0].password: unknown key: the keys here are "
        f"{', '.join(key.name for key in KEYS)}",
    ]


REQUEST = f"""\
  tls: none
  request:
    > POST /clear-caches HTTP/1.1
    > Host: web:8080
    > User-Agent: pod-broadcast/{__version__}
    > Accept: */*
    > Accept-Encoding: identity
    > Authorization: Bearer ***
    > Content-Length: 0
    > Connection: close
    > traceparent: 00-{"0" * 32}-{"0" * 16}-01
  body: none
  body_bytes: 0
  differs_per_call: traceparent (the zeros stand for the ids of the run and of the call)

"""


def test_plan_prints_the_exact_request_with_secrets_masked_and_calls_nobody(
    run: Run, nameserver: Nameserver
) -> None:
    with Pods(2, port=8080) as pods:
        nameserver.set("web.default.svc.cluster.local", *pods.addresses)
        finished = run(CONFIG, "--broadcast", "clear", command="plan", environment=TOKEN)
        assert (finished.exit_code, finished.stderr) == (0, "")
        first, second = pods.addresses
        assert finished.stdout == (
            "clear: web.default.svc.cluster.local\n"
            "  rcode: NOERROR\n"
            "  ttl: 5s\n"
            "  endpoints: 2\n"
            f"    {first}:8080\n"
            f"    {second}:8080\n" + REQUEST
        )
        assert pods[0].connections + pods[1].connections == 0


def test_plan_in_json_is_one_document(run: Run, nameserver: Nameserver, tmp_path: Path) -> None:
    client = trustme.CA().issue_cert("worker@example.org").private_key_and_cert_chain_pem
    client.write_to_path(str(tmp_path / "client.pem"))
    nameserver.set("web.shop.svc.cluster.local", "fd00::1", "fd00::2")
    text = EVERYTHING.replace("X-Plain: s3cret-t0ken", f"traceparent: 00-{'1' * 32}-{'2' * 16}-00")
    text += "- name: empty\n  url: http://nobody:8080/\n"
    finished = run(text, "--output", "json", command="plan", environment=TOKEN)
    assert (finished.exit_code, finished.stderr) == (4, "")
    assert json.loads(finished.stdout) == {
        "errors": [],
        "warnings": [],
        "broadcasts": [
            {
                "name": "everything",
                "qname": "web.shop.svc.cluster.local",
                "rcode": "NOERROR",
                "ttl_seconds": 5,
                "endpoints": ["[fd00::1]:8443", "[fd00::2]:8443"],
                "tls": {
                    "server_name": "shop.example",
                    "verified": False,
                    "ca_file": None,
                    "cert_file": str(tmp_path / "client.pem"),
                },
                "request": [
                    "PURGE /a?b=c HTTP/1.1",
                    "Host: web.shop:8443",
                    f"User-Agent: pod-broadcast/{__version__}",
                    "Accept: */*",
                    "Accept-Encoding: identity",
                    "Content-Type: application/json",
                    "X-Key: ***",
                    f"traceparent: 00-{'1' * 32}-{'2' * 16}-00",
                    "Authorization: Basic ***",
                    "Content-Length: 17",
                    "Connection: close",
                ],
                "verify_request": [
                    "GET /state HTTP/1.1",
                    "Host: web.shop:9443",
                    f"User-Agent: pod-broadcast/{__version__}",
                    "Accept: */*",
                    "Accept-Encoding: identity",
                    "X-Key: ***",
                    f"traceparent: 00-{'1' * 32}-{'2' * 16}-00",
                    "Authorization: Basic ***",
                    "Connection: close",
                ],
                "body": '{"pattern": "/a"}',
                "body_bytes": 17,
                "differs_per_call": [],
            },
            {
                "name": "empty",
                "qname": "nobody.default.svc.cluster.local",
                "rcode": "NXDOMAIN",
                "ttl_seconds": 5,
                "endpoints": [],
                "error_type": "no_pods",
                "error_message": "NXDOMAIN: no ready pods, or no such Service",
                "hint": "does the Service's selector match pods, are they ready, is the name "
                "right? kubectl get endpointslices -l kubernetes.io/service-name=nobody",
                "tls": None,
                "request": [
                    "POST / HTTP/1.1",
                    "Host: nobody:8080",
                    f"User-Agent: pod-broadcast/{__version__}",
                    "Accept: */*",
                    "Accept-Encoding: identity",
                    "Content-Length: 0",
                    "Connection: close",
                    f"traceparent: 00-{'0' * 32}-{'0' * 16}-01",
                ],
                "body": "",
                "body_bytes": 0,
                "differs_per_call": ["traceparent"],
            },
        ],
    }


def test_plan_of_a_request_that_is_the_same_in_each_call_says_nothing_of_differences(
    run: Run, nameserver: Nameserver
) -> None:
    nameserver.set("web.default.svc.cluster.local", "127.0.0.1")
    headers = f"{{traceparent: 00-{'1' * 32}-{'2' * 16}-00}}"
    finished = run(f"- name: a\n  url: http://web/\n  headers: {headers}\n", command="plan")
    assert finished.exit_code == 0
    assert finished.stdout.endswith("  body_bytes: 0\n  differs_per_call: none\n\n")


def test_plan_of_https_says_whom_it_would_trust(run: Run, nameserver: Nameserver) -> None:
    nameserver.set("web.default.svc.cluster.local", "127.0.0.1")
    finished = run("- name: a\n  url: https://web:8443/\n", command="plan")
    assert finished.exit_code == 0
    assert finished.stdout.splitlines()[4:9] == [
        "    127.0.0.1:8443",
        "  tls.server_name: web",
        "  tls.verified: true",
        "  tls.ca_file: none (the system trust store)",
        "  tls.cert_file: none",
    ]


def test_plan_of_a_body_that_is_no_text_or_long_keeps_the_terminal_as_it_is(
    run: Run, nameserver: Nameserver, tmp_path: Path
) -> None:
    nameserver.set("web.default.svc.cluster.local", "127.0.0.1")
    (tmp_path / "body").write_bytes(b"a\tb\x1b[31m\xff\r\nsecond s3cret-t0ken\n")
    more = "  auth: {bearer: {env: TOKEN}}\n"
    text = f"- name: a\n  url: http://web/\n{more}  body_file: body\n"
    finished = run(text, command="plan", environment=TOKEN)
    body = finished.stdout.partition("  body:\n")[2].splitlines()
    assert body[:3] == ["    > a\\tb\\x1b[31m\\xff\\r", "    > second ***", "    > "]
    (tmp_path / "body").write_bytes(b"x" * 4001)
    finished = run(text, command="plan", environment=TOKEN)
    body = finished.stdout.partition("  body:\n")[2].splitlines()
    assert body[:2] == [
        f"    > {'x' * 4000}…",
        "    > (4001 bytes in all; --output json shows them)",
    ]


PROBLEMS: dict[FaultKind, tuple[str, str]] = {
    "refused": (
        "dns_refused: SERVER answered REFUSED",
        "the nameserver does not serve this pod or this zone: check the pod's dnsPolicy and "
        "resolv.conf, or set another server with --nameserver",
    ),
    "servfail": (
        "dns_servfail: SERVER answered SERVFAIL",
        "cluster DNS is broken, not the Service: look at the pods of DNS and their logs, "
        "kubectl -n kube-system get pods -l k8s-app=kube-dns",
    ),
    "truncate": (
        "dns_truncated: SERVER truncated its answer over TCP as well: the records do not fit in "
        "64 KiB",
        "one DNS answer holds about 4,000 addresses: set discovery: endpointslices, or split the "
        "Service by a label into several, with a broadcast for each",
    ),
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_plan_of_dns_that_only_ever_answers_with(
    kind: FaultKind, run: Run, nameserver: Nameserver
) -> None:
    nameserver.fault(kind)
    finished = run(CONFIG, "--broadcast", "clear", command="plan", environment=TOKEN)
    assert (finished.exit_code, finished.stderr) == (4, "")
    message, hint = PROBLEMS[kind]
    error_type, _, message = message.replace("SERVER", str(nameserver)).partition(": ")
    assert finished.stdout == (
        "clear: web.default.svc.cluster.local\n"
        f"  ! error_type: {error_type}\n"
        f"  ! error_message: {message}\n"
        f"  ! hint: {hint}\n{REQUEST}"
    )


def test_plan_of_a_service_that_is_not_there_or_not_headless_is_exit_4(
    run: Run, nameserver: Nameserver
) -> None:
    name = "web.default.svc.cluster.local"
    nameserver.set(name)
    nobody = run(CONFIG, "--broadcast", "clear", command="plan", environment=TOKEN)
    nameserver.set(name, "127.0.0.1")
    nameserver.set_ptr("127.0.0.1", name)
    virtual = run(CONFIG, "--broadcast", "clear", command="plan", environment=TOKEN)
    assert (nobody.exit_code, virtual.exit_code) == (4, 4)
    assert nobody.stdout == (
        f"clear: {name}\n"
        "  rcode: NOERROR\n"
        "  ttl: 5s\n"
        "  endpoints: 0\n"
        "  ! error_type: no_pods\n"
        "  ! error_message: NODATA: no ready pods, or no such Service\n"
        "  ! hint: does the Service's selector match pods, are they ready, is the name right? "
        "kubectl get endpointslices -l kubernetes.io/service-name=web\n" + REQUEST
    )
    assert virtual.stdout == (
        f"clear: {name}\n"
        "  ! error_type: not_headless\n"
        f"  ! error_message: {name} resolves to one virtual address, 127.0.0.1, which leads to "
        "only one of the pods: the Service needs clusterIP: None\n"
        "  ! hint: set clusterIP: None in the Service, or use a second Service that has it in url, "
        "or set discovery: endpointslices, which reaches the pods of any Service\n" + REQUEST
    )


def test_plan_of_fewer_than_min_pods_is_exit_4(run: Run, nameserver: Nameserver) -> None:
    nameserver.set("web.default.svc.cluster.local", "127.0.0.1")
    finished = run("- name: a\n  url: http://web/\n  min_pods: 2\n", command="plan")
    assert finished.exit_code == 4
    assert finished.stdout.splitlines()[3:8] == [
        "  endpoints: 1",
        "    127.0.0.1:80",
        "  ! error_type: min_pods",
        "  ! error_message: 1 listed, at least 2 wanted",
        "  ! hint: scale up, or lower min_pods; a run waits for more pods as long as settle says",
    ]


def test_a_stop_signal_ends_a_plan(tmp_path: Path, nameserver: Nameserver) -> None:
    nameserver.fault("silence")
    settings: dict[str, Any] = {"command": "plan", "environment": TOKEN, "options": "timeout:30"}
    with Worker(tmp_path, CONFIG, nameserver=nameserver, **settings) as worker:
        nameserver.wait_for("a question", lambda: nameserver.asked() > 0)
        worker.signal(signal.SIGTERM)
        finished = worker.finish(timeout=10)
    assert (finished.exit_code, finished.stdout, finished.stderr) == (143, "", "")


def test_plan_where_resolv_conf_is_not_a_pods_says_so_at_once(
    run: Run, nameserver: Nameserver
) -> None:
    search = ("corp.example.com",)
    finished = run(CONFIG, "--broadcast", "clear", command="plan", search=search, environment=TOKEN)
    assert (finished.exit_code, finished.stderr) == (4, "")
    assert finished.stdout == (
        "clear: web\n"
        "  ! error_type: no_cluster_suffix\n"
        "  ! error_message: NXDOMAIN: no ready pods, or no such Service; resolv.conf has no search "
        "suffix svc.ZONE, as a pod's has\n"
        "  ! hint: this resolv.conf is not a pod's: write SERVICE.NAMESPACE.svc.ZONE in url, set "
        "the pod's dnsPolicy to ClusterFirst (ClusterFirstWithHostNet with hostNetwork), or set "
        "--resolv-conf\n" + REQUEST
    )
    assert {query.qname for query in nameserver.queries} == {"web"}


def test_schema_is_the_committed_one() -> None:
    done = python("schema")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((ROOT / "config" / "schema.json").read_text())


def test_a_broadcast_is_selected_by_name_or_tag(run: Run) -> None:
    for selection in (("--broadcast", "clear"), ("--tag", "nightly")):
        finished = run(CONFIG, *selection, command="check", environment=TOKEN)
        assert finished.stdout.splitlines()[-1] == "1 broadcast; a run takes at most 5m"


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
    variable = f"BROADCAST_{selection[0].removeprefix('--').upper()}"
    finished = run(CONFIG, environment=TOKEN | {variable: selection[1]})
    assert finished.only("config.invalid")["key"] == variable


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grace", "soon"], "--grace: expected a duration such as 10s, got soon"),
        (["--nameserver", "dns"], "--nameserver: expected an IP address, or ADDRESS:PORT, got dns"),
        (["--log-level", "loud"], "--log-level: expected info, warning or error, got loud"),
        (["--frobnicate"], "unknown option --frobnicate"),
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


def test_a_usage_error_is_in_the_log_format_that_was_asked_for() -> None:
    done = python("--frobnicate", BROADCAST_LOG_FORMAT="gcp", POD_NAMESPACE="shop", JOB_NAME="j-1")
    (entry,) = (json.loads(line) for line in done.stdout.splitlines())
    assert (entry["severity"], entry["exit_code"]) == ("ERROR", 2)
    assert (entry["worker_namespace"], entry["worker_job"]) == ("shop", "j-1")
    done = python("--frobnicate", "--log-format", "ecs")
    (entry,) = (json.loads(line) for line in done.stdout.splitlines())
    assert (entry["event.action"], entry["pod_broadcast.exit_code"]) == ("run.finished", 2)


def test_every_line_says_whose_namespace_and_job_it_is(run: Run) -> None:
    given = {"POD_NAMESPACE": "shop", "JOB_NAME": "clear-29380000"}
    more = {"POD_NAME": "clear-29380000-x7k2p", "NODE_NAME": "node-1"}
    finished = run("- {name: clear, url: http://web:8080/, settle: 0s}\n", environment=given | more)
    assert finished.exit_code == 4
    assert {(e["worker_namespace"], e["worker_job"]) for e in finished.entries} == {
        ("shop", "clear-29380000")
    }
    started = finished.only("run.started")
    assert (started["worker_pod"], started["worker_node"]) == ("clear-29380000-x7k2p", "node-1")
    assert [e["event"] for e in finished.entries if "worker_pod" in e] == ["run.started"]


def test_a_usage_error_of_a_run_is_logged_though_an_argument_is_spelled_like_a_command() -> None:
    done = python("--broadcast", "check", "--grace", "5")
    assert done.returncode == 2
    (entry,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (entry["event"], entry["exit_code"]) == ("run.finished", 2)


@pytest.mark.parametrize(
    ("option", "error"),
    [("--frobnicate", "unknown option --frobnicate"), ("--grace", "expected one argument")],
)
def test_a_usage_error_of_check_is_on_standard_error_only(option: str, error: str) -> None:
    done = python("check", option)
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr


def test_options_can_be_given_in_the_environment(tmp_path: Path) -> None:
    config = tmp_path / "b.yaml"
    config.write_text(CONFIG)
    done = python("check", BROADCAST_CONFIG=str(config), BROADCAST_TAG="nightly", **TOKEN)
    assert done.stdout.splitlines()[-1] == "1 broadcast; a run takes at most 5m"


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


@pytest.mark.parametrize("command", ["run", "check", "plan"])
@pytest.mark.parametrize("stderr", [full, without_a_reader])
@pytest.mark.parametrize("arguments", [("--config=a.yaml",), ("--grace=x",)])
def test_an_error_that_nobody_can_read_is_exit_2_nevertheless(
    arguments: tuple[str, ...], stderr: Callable[[], int], command: str, tmp_path: Path
) -> None:
    descriptor = stderr()
    (tmp_path / "a.yaml").write_text("- name: a\n")
    done = subprocess.run(
        [sys.executable, "-m", "worker", command, *arguments],
        cwd=tmp_path,
        env=BARE_ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=descriptor,
        timeout=60,
        check=False,
    )
    os.close(descriptor)
    assert done.returncode == 2


def a_full_disk(_: Path) -> str:
    return "/dev/full"


def a_pipe_that_nobody_reads(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return str(folder / "pipe")


def a_pipe_that_is_full(folder: Path) -> str:
    path = a_pipe_that_nobody_reads(folder)
    both = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # it stays open until the tests end
    with contextlib.suppress(BlockingIOError):
        while os.write(both, bytes(select.PIPE_BUF)):
            pass
    return path


@pytest.mark.parametrize(
    "termination_log", [a_full_disk, a_pipe_that_nobody_reads, a_pipe_that_is_full]
)
def test_a_termination_log_that_cannot_be_written_changes_nothing(
    termination_log: Callable[[Path], str], run: Run, three_pods: Pods, tmp_path: Path
) -> None:
    config = f"- name: clear\n  url: http://web:{three_pods.port}/\n  settle: 0s\n"
    finished = run(config, "--termination-log", termination_log(tmp_path))
    assert (finished.exit_code, finished.entries[-1]["exit_code"]) == (0, 0)
    assert finished.stderr == ""


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
    three_pods[0].script(silent)  # until the grace period is over
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with start(tmp_path, three_pods, nameserver, writer) as process:
        three_pods.wait_for("a request", lambda: three_pods.in_flight > 0)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x")
        os.set_blocking(writer, True)
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


def test_a_plan_of_many_broadcasts_does_with_few_threads(
    tmp_path: Path, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.fault("silence", name="slow.default.svc.cluster.local")
    services = ["web"] * 100 + ["slow"]
    config = "".join(
        f"- {{name: b{number}, url: 'http://{service}:{three_pods.port}/'}}\n"
        for number, service in enumerate(services)
    )
    line = command_line(tmp_path, config, nameserver, "plan")
    with subprocess.Popen(
        line, cwd=ROOT, env=BARE_ENVIRONMENT, stdout=subprocess.DEVNULL
    ) as process:
        try:
            nameserver.wait_for(
                "the last question", lambda: nameserver.asked("slow.default.svc.cluster.local") > 0
            )
            threads = len(list(Path("/proc", str(process.pid), "task").iterdir()))
        finally:
            process.terminate()
    assert threads <= 18  # the main one, one for signals, and at most 16 that ask


def test_a_python_without_the_dependencies_is_told_which_one_has_them(tmp_path: Path) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'yaml'\", name='yaml')\n"
    (tmp_path / "yaml.py").write_text(missing)
    paths = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = python("check", **paths)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "python -m worker: this Python lacks the module yaml: `make demo` installs all that is "
        "needed in .venv, so use .venv/bin/python\n"
    )
    for ours in ("worker.missing", "ssl"):
        (tmp_path / "yaml.py").write_text(missing.replace("'yaml')", f"'{ours}')"))
        done = python("check", **paths)
        assert done.returncode == 1
        assert done.stderr.startswith("Traceback")
