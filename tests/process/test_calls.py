"""The whole program against what a pod can do to a call, beyond the plain failures."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Behaviour, Exchange, Pods, endless, raw, reply
from tests.loopback.program import Worker
from tests.process.conftest import Run
from tests.process.test_failures import check_the_end

WEB = "web.default.svc.cluster.local"
QUICK = "  settle: 2s\n  attempts: 2\n  backoff: {initial: 100ms, max: 300ms}\n"


def config(port: int, more: str = "") -> str:
    return f"- name: clear\n  url: http://web:{port}/\n{QUICK}{more}"


@pytest.fixture
def pod(nameserver: Nameserver) -> Iterator[Pods]:
    with Pods(1) as pods:
        nameserver.set(WEB, *pods.addresses)
        yield pods


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_called_again(status: int, run: Run, pod: Pods) -> None:
    pod[0].script(reply(status), reply())
    finished = run(config(pod.port))
    check_the_end(finished)
    assert finished.exit_code == 0, finished.stdout
    assert len(pod[0].requests) == 2


@pytest.mark.parametrize("status", [300, 301, 304, 307, 400, 401, 403, 404, 405, 409, 418, 421])
def test_a_status_that_will_not_pass_is_not_called_again(status: int, run: Run, pod: Pods) -> None:
    pod[0].script(reply(status))
    finished = run(config(pod.port))
    check_the_end(finished)
    assert finished.exit_code == 4
    assert len(pod[0].requests) == 1
    assert finished.only("call.failed")["status_code"] == status


HINTS: dict[str, tuple[Behaviour, str]] = {
    "405": (reply(405, headers=["Allow: GET, HEAD"]), "the pods allow GET, HEAD: set method"),
    "400": (reply(400), "set headers.Host"),
    "421": (reply(421), "set headers.Host"),
    "404 from Envoy": (reply(404, headers=["Server: istio-envoy"]), "the mesh's proxy answered"),
}


@pytest.mark.parametrize("what", HINTS)
def test_failures_that_are_alike_are_hinted_at(what: str, run: Run, pod: Pods) -> None:
    behaviour, hint = HINTS[what]
    pod[0].script(behaviour)
    assert hint in run(config(pod.port)).only("broadcast.finished")["hint"]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_retry_after_raises_the_wait_up_to_the_maximum(form: str, run: Run, pod: Pods) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    value = "3600" if form == "seconds" else format_datetime(later, usegmt=True)
    pod[0].script(reply(429, headers=[f"Retry-After: {value}"]), reply())
    finished = run(config(pod.port))
    assert finished.exit_code == 0, finished.stdout
    assert finished.only("call.failed")["retry_in_seconds"] == 0.3


@pytest.mark.parametrize("value", ["soon", "-5", "", "9" * 400, "Thu, 99 Foo 2026 99:99:99 GMT"])
def test_a_retry_after_that_cannot_be_read_is_ignored(value: str, run: Run, pod: Pods) -> None:
    pod[0].script(reply(503, headers=[f"Retry-After: {value}"]), reply())
    finished = run(config(pod.port))
    check_the_end(finished)
    assert finished.exit_code == 0, finished.stdout


BIG = b"x" * 1_000_000
BODIES: dict[str, tuple[Behaviour, int]] = {
    "10 MiB with a length": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n", *[BIG] * 10),
        0,
    ),
    "an early answer to a body": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 0),
    "more than its length": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more"), 0),
    "two lengths": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
        4,
    ),
    "a length beside chunks": (
        raw(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nok\r\n0\r\n\r\n"
        ),
        4,
    ),
    "a chunk that is none": (
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n"),
        4,
    ),
    "a negative length": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), 4),
    "a status of four digits": (raw(b"HTTP/1.1 2000 OK\r\n\r\n"), 4),
    "another protocol": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), 4),
    "HTTP/1.0": (raw(b"HTTP/1.0 200 OK\r\n\r\nok"), 0),
    "a folded header": (raw(b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n"), 4),
    "one byte at a time": (
        raw(*[bytes([b]) for b in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]),
        0,
    ),
    "101 with an upgrade": (
        raw(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
        4,
    ),
    "HTTP/2.0": (raw(b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"), 4),
    "headers that break off": (raw(b"HTTP/1.1 200 OK\r\nX: y"), 4),
    "101": (raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), 4),
    "200 MiB of headers": (endless(b"HTTP/1.1 200 OK\r\nX: ", BIG), 4),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_response_of(what: str, run: Run, pod: Pods) -> None:
    behaviour, exit_code = BODIES[what]
    pod[0].script(behaviour)
    finished = run(config(pod.port, "  timeout: 5s\n").replace("attempts: 2", "attempts: 1"))
    check_the_end(finished)
    assert finished.exit_code == exit_code, finished.stdout


@pytest.mark.parametrize(
    ("body", "exit_code"),
    [(b"caches cleared", 0), (b"x" * 70_000 + b"cleared", 4), (b"nothing done", 4)],
)
def test_body_contains_looks_at_the_first_64_kib(
    body: bytes, exit_code: int, run: Run, pod: Pods
) -> None:
    pod[0].script(reply(200, body))
    finished = run(config(pod.port, "  expect: {body_contains: cleared}\n"))
    check_the_end(finished)
    assert finished.exit_code == exit_code
    if exit_code:
        assert finished.only("call.failed")["error_type"] == "body_mismatch"


@pytest.mark.parametrize("logged", [True, False])
def test_the_start_of_a_failed_calls_response_is_logged_on_request(
    logged: bool, run: Run, pod: Pods
) -> None:
    pod[0].script(reply(404, b"\xffno\x00 " + b"x" * 999))
    finished = run(config(pod.port, f"  log_response: {str(logged).lower()}\n"))
    body: object = finished.only("call.failed").get("response_body")
    if logged:
        assert isinstance(body, str)
        assert body.startswith("\N{REPLACEMENT CHARACTER}no\x00 xxx")
        assert len(body.encode()) <= 256
    else:
        assert body is None


def test_head_has_no_body_whatever_its_length(run: Run, pod: Pods) -> None:
    pod[0].script(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"))
    assert run(config(pod.port, "  method: HEAD\n")).exit_code == 0


def test_attempts_1_is_at_most_once(run: Run, pod: Pods) -> None:
    pod[0].script(raw(b""))
    finished = run(config(pod.port).replace("attempts: 2", "attempts: 1"))
    assert finished.exit_code == 4
    assert len(pod[0].requests) == 1


def test_stagger_keeps_the_starts_of_calls_apart(run: Run, nameserver: Nameserver) -> None:
    with Pods(4) as pods:
        nameserver.set(WEB, *pods.addresses)
        finished = run(config(pods.port, "  stagger: 150ms\n  concurrency: 4\n"))
        assert finished.exit_code == 0, finished.stdout
        starts = [_started_at(entry) for entry in finished.events("call.succeeded")]
        # The log's times are those of writing: on a busy machine a bit later than the ends.
        assert max(starts) - min(starts) > 3 * 0.15 - 0.1, starts


def _started_at(entry: dict[str, Any]) -> float:
    ended = datetime.fromisoformat(entry["timestamp"]).timestamp()
    return float(ended - entry["duration_seconds"])


def test_an_address_that_cannot_be_reached_is_unreachable(run: Run, nameserver: Nameserver) -> None:
    nameserver.set(WEB, "224.0.0.1")  # TCP to a multicast address is refused by the kernel itself
    finished = run(config(80))
    check_the_end(finished)
    assert finished.exit_code == 4
    assert {e["error_type"] for e in finished.events("call.failed")} == {"unreachable"}
    assert len(finished.events("call.failed")) == 2


def test_the_environment_of_http_clients_changes_nothing(
    run: Run, pod: Pods, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("default login me password hunter2\n")
    environment = {
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
        "ALL_PROXY": "socks5://127.0.0.1:1",
        "REQUESTS_CA_BUNDLE": "/nonexistent",
        "CURL_CA_BUNDLE": "/nonexistent",
        "NETRC": str(tmp_path / ".netrc"),
        "HOME": str(tmp_path),
    }
    finished = run(config(pod.port), environment=environment)
    assert finished.exit_code == 0, finished.stdout
    (request,) = pod[0].requests
    assert request.header("Authorization") is None
    assert request.header("Cookie") is None


def test_no_file_descriptors_left_is_local_and_nobody_is_gone(
    nameserver: Nameserver, tmp_path: Path
) -> None:
    with Pods(40) as pods:
        nameserver.set(WEB, *pods.addresses)
        gate = pods.gate()
        for address in pods.addresses:
            pods[address].script(reply(after=gate), reply())
        wide = config(pods.port, "  concurrency: 40\n")
        with Worker(tmp_path, wide, nameserver=nameserver) as worker:
            resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE, (24, 24))
            worker.wait_for_event("call.failed")
            gate.open()
            finished = worker.finish()
        check_the_end(finished)
        types = {entry["error_type"] for entry in finished.events("call.failed")}
        assert types == {"local"}
        assert finished.events("endpoint.gone") == []


async def hang_up(exchange: Exchange) -> None:
    """Reads half a request."""
    await exchange.reader.read(10)


def test_a_pod_that_hangs_up_in_the_middle_of_a_request(
    run: Run, pod: Pods, tmp_path: Path
) -> None:
    body = b"x" * 12_000_000  # more than any socket buffer holds
    (tmp_path / "body").write_bytes(body)
    pod[0].script(hang_up, reply())
    finished = run(config(pod.port, "  body_file: body\n"))
    check_the_end(finished)
    assert finished.exit_code == 0, finished.stdout
    assert pod[0].requests[-1].body == body
    assert finished.only("call.failed")["error_type"] == "connection_reset"
