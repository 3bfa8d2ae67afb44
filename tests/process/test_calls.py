"""The whole program against what a pod can do to a call, beyond the plain failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Exchange, Pods, raw, reply
from tests.loopback.program import Entry, Worker, stable
from tests.process.conftest import Run
from tests.process.logbook import check_log, failed, missed, reached, resolved, succeeded
from tests.process.test_failures import check_the_end

WEB = "web.default.svc.cluster.local"
QUICK = "  settle: 2s\n  attempts: 2\n  backoff: {initial: 100ms, max: 300ms}\n"


def config(port: int, more: str = "") -> str:
    return f"- name: clear\n  url: http://web:{port}/\n{QUICK}{more}"


def url(pods: Pods) -> str:
    return f"http://web:{pods.port}/"


def failing(
    pod: Pods,
    status: int,
    error_message: str | None = None,
    retry_in_seconds: float | None = None,
) -> Entry:
    """The first call of the only pod, which was answered with the status."""
    return failed(
        pod.endpoints[0],
        "redirect" if 300 <= status < 400 else "status",
        error_message or f"answered {status} {HTTPStatus(status).phrase}",
        status_code=status,
        retry_in_seconds=retry_in_seconds,
    )


def once(pod: Pods, failure: Entry) -> list[Entry]:
    """What happens when the only pod's first call fails and is not repeated."""
    (endpoint,) = pod.endpoints
    error_type = failure["error_type"]
    return [resolved(1, 1, newcomers=1), failure, resolved(2, 1), missed(endpoint, error_type, 1)]


def twice(pod: Pods, failure: Entry) -> list[Entry]:
    """What happens when the only pod's first call fails and its second does not."""
    (endpoint,) = pod.endpoints
    answers = [resolved(2, 1), succeeded(endpoint, 2, attempt=2), resolved(3, 1)]
    return [resolved(1, 1, newcomers=1), failure, *answers]


@pytest.fixture
def pod(nameserver: Nameserver) -> Iterator[Pods]:
    with Pods(1) as pods:
        nameserver.set(WEB, *pods.addresses)
        yield pods


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_called_again(status: int, run: Run, pod: Pods) -> None:
    pod[0].script(reply(status), reply())
    happened = twice(pod, failing(pod, status, retry_in_seconds=0.1))
    check_log(run(config(pod.port)), url(pod), happened)
    assert len(pod[0].requests) == 2


@pytest.mark.parametrize("status", [300, 301, 304, 307, 400, 401, 403, 404, 405, 409, 418, 421])
def test_a_status_that_will_not_pass_is_not_called_again(status: int, run: Run, pod: Pods) -> None:
    pod[0].script(reply(status))
    happened = once(pod, failing(pod, status))
    check_log(run(config(pod.port)), url(pod), happened, reason="all_calls_failed")
    assert len(pod[0].requests) == 1


def test_a_redirect_says_where_to_and_is_not_followed(
    run: Run, pod: Pods, nameserver: Nameserver
) -> None:
    with Pods(1) as elsewhere:
        nameserver.set("elsewhere.default.svc.cluster.local", *elsewhere.addresses)
        location = f"http://elsewhere:{elsewhere.port}/"
        pod[0].script(reply(301, headers=[f"Location: {location}"]))
        happened = once(pod, failing(pod, 301, f"answered 301 Moved Permanently to {location}"))
        check_log(run(config(pod.port)), url(pod), happened, reason="all_calls_failed")
        assert elsewhere[0].connections == 0


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_retry_after_raises_the_wait_up_to_the_maximum(form: str, run: Run, pod: Pods) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    value = "3600" if form == "seconds" else format_datetime(later, usegmt=True)
    pod[0].script(reply(429, headers=[f"Retry-After: {value}"]), reply())
    happened = twice(pod, failing(pod, 429, retry_in_seconds=0.3))
    check_log(run(config(pod.port)), url(pod), happened)


@pytest.mark.parametrize("value", ["soon", "-5", "", "9" * 400, "Thu, 99 Foo 2026 99:99:99 GMT"])
def test_a_retry_after_that_cannot_be_read_is_ignored(value: str, run: Run, pod: Pods) -> None:
    pod[0].script(reply(503, headers=[f"Retry-After: {value}"]), reply())
    waits = 0.3 if value == "9" * 400 else 0.1  # a number, if a long one
    happened = twice(pod, failing(pod, 503, retry_in_seconds=waits))
    check_log(run(config(pod.port)), url(pod), happened)


@pytest.mark.parametrize(
    ("body", "exit_code"),
    [(b"caches cleared", 0), (b"x" * 70_000 + b"cleared", 4), (b"nothing done", 4)],
)
def test_body_contains_looks_at_the_first_64_kib(
    body: bytes, exit_code: int, run: Run, pod: Pods
) -> None:
    pod[0].script(reply(200, body))
    finished = run(config(pod.port, "  expect: {body_contains: cleared}\n"))
    if exit_code == 0:
        check_log(finished, url(pod), reached(pod.endpoints))
        return
    text = "the expected text is not in the first 64 KiB of the body"
    mismatch = failed(pod.endpoints[0], "body_mismatch", text, status_code=200)
    check_log(finished, url(pod), once(pod, mismatch), reason="all_calls_failed")


BODIES = {
    "as it should be": (b'{"status": "reloaded", "build": {"version": 12}}', ""),
    "200 with an error": (
        b'{"status": "failed", "build": {"version": 12}}',
        'expected /status to be "reloaded", got "failed"',
    ),
    "an old version": (
        b'{"status": "reloaded", "build": {"version": 11}}',
        'expected /build/version to be "12", got 11',
    ),
    "what a proxy says": (
        b"<html>",
        "the body is no JSON: Expecting value: line 1 column 1 (char 0)",
    ),
    "both in one": (
        b'{"status": "reloaded", "warnings": 1}',
        "the body has the text that body_lacks names",
    ),
    "too long": (
        b'{"status": "reloaded", "build": {"version": 12}}' + b" " * 64 * 1024,
        "the body is longer than 64 KiB: body_lacks and json have to see the whole",
    ),
    "a secret": (
        b'{"status": "t\\u006fken-of-pod", "build": {"version": 12}}',
        'expected /status to be "reloaded", got "***"',
    ),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_200_is_an_acknowledgement_only_with_the_expected_json(
    what: str, run: Run, pod: Pods
) -> None:
    body, error_message = BODIES[what]
    pod[0].script(reply(200, body))
    more = "  headers: {X-Token: {env: TOKEN}}\n  expect:\n    body_lacks: warnings\n"
    more += "    json: {/status: reloaded, /build/version: {env: VERSION}}\n"
    environment = {"VERSION": "12", "TOKEN": "token-of-pod"}
    finished = run(config(pod.port, more), environment=environment)
    if not error_message:
        check_log(finished, url(pod), reached(pod.endpoints))
        return
    mismatch = failed(pod.endpoints[0], "body_mismatch", error_message, status_code=200)
    check_log(finished, url(pod), once(pod, mismatch), reason="all_calls_failed")


@pytest.mark.parametrize("logged", [True, False])
def test_the_start_of_a_failed_calls_response_is_logged_on_request(
    logged: bool, run: Run, pod: Pods
) -> None:
    pod[0].script(reply(404, b"\xffno\x00 " + b"x" * 999))
    finished = run(config(pod.port, f"  log_response: {str(logged).lower()}\n"))
    failure = failing(pod, 404)
    if logged:  # as latin-1, which it can only be; its first 256 bytes in UTF-8
        failure["response_body"] = "\xffno\x00 " + "x" * (256 - 2 - 4)
    check_log(finished, url(pod), once(pod, failure), reason="all_calls_failed")


def test_all_responses_are_logged_and_the_different_ones_counted(
    nameserver: Nameserver, run: Run
) -> None:
    """58 say v2, 2 say v1: a 200 alone would not show it."""
    with Pods(4) as pods:
        nameserver.set(WEB, *pods.addresses)
        first, second, third, fourth = pods.addresses
        pods[first].script(reply(503, b"starting"), reply(200, b"v2"))
        pods[second].script(reply(200, b"v1"))
        pods[third].script(reply(200, b"v2"))
        pods[fourth].script(reply(404, b"v2"))
        finished = run(config(pods.port, "  log_response: all\n"))
    calls = finished.events("call.succeeded") + finished.events("call.failed")
    assert sorted((entry["endpoint"], entry["response_body"]) for entry in calls) == sorted(
        (f"{address}:{pods.port}", body)
        for address, body in [
            (first, "starting"),
            (first, "v2"),
            (second, "v1"),
            (third, "v2"),
            (fourth, "v2"),
        ]
    )
    done = finished.only("broadcast.finished")
    assert done["responses"] == 3  # 200 v2, 200 v1, 404 v2
    assert "; 3 different responses. Hint: " in done["message"] or (
        done["message"].endswith("; 3 different responses")
    )


def test_where_only_failures_are_logged_nothing_is_counted(run: Run, pod: Pods) -> None:
    pod[0].script(reply(503, b"starting"), reply(200, b"v2"))
    finished = run(config(pod.port, "  log_response: failures\n"))
    assert finished.only("call.failed")["response_body"] == "starting"
    assert "response_body" not in finished.only("call.succeeded")
    assert "responses" not in finished.only("broadcast.finished")


def test_a_response_in_utf_8_is_one_wherever_it_is_cut_off(run: Run, pod: Pods) -> None:
    pod[0].script(reply(404, ("x" + "ä" * 4000).encode()))
    finished = run(config(pod.port, "  log_response: true\n"))
    (entry,) = finished.events("call.failed")
    assert entry["response_body"] == "x" + "ä" * 127


def test_head_has_no_body_whatever_its_length(run: Run, pod: Pods) -> None:
    pod[0].script(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"))
    finished = run(config(pod.port, "  method: HEAD\n"))
    check_log(finished, url(pod), reached(pod.endpoints), method="HEAD")
    assert [request.method for request in pod[0].requests] == ["HEAD"]


def test_an_answer_before_the_whole_request_is_read_counts(
    run: Run, pod: Pods, tmp_path: Path
) -> None:
    (tmp_path / "body").write_bytes(b"x" * 12_000_000)  # more than any socket buffer holds
    pod[0].script(answer_early)
    finished = run(config(pod.port, "  body_file: body\n"))
    check_log(finished, url(pod), reached(pod.endpoints))


def test_a_pod_that_thinks_after_it_has_read_a_long_request(
    nameserver: Nameserver, pod: Pods, tmp_path: Path
) -> None:
    """The worker has waited for room to send, and waits for the answer then."""
    (tmp_path / "body").write_bytes(b"x" * 12_000_000)
    gate = pod.gate()
    pod[0].script(reply(after=gate))
    text = config(pod.port, "  body_file: body\n")
    with Worker(tmp_path, text, nameserver=nameserver) as worker:
        pod.wait_for("the whole request", lambda: bool(pod[0].requests))
        gate.open()
        check_log(worker.finish(), url(pod), reached(pod.endpoints))


async def answer_early(exchange: Exchange) -> None:
    """Answers after the first bytes, and reads the others."""
    await exchange.reader.read(10)
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await exchange.reader.read()


def test_attempts_1_is_at_most_once(run: Run, pod: Pods) -> None:
    pod[0].script(raw(b""))
    finished = run(config(pod.port).replace("attempts: 2", "attempts: 1"))
    failure = failed(pod.endpoints[0], "connection_reset", "closed before a response")
    check_log(finished, url(pod), once(pod, failure), reason="all_calls_failed")
    assert len(pod[0].requests) == 1


def test_stagger_keeps_the_starts_of_calls_apart(run: Run, nameserver: Nameserver) -> None:
    with Pods(4) as pods:
        nameserver.set(WEB, *pods.addresses)
        finished = run(config(pods.port, "  stagger: 500ms\n  concurrency: 4\n"))
        assert finished.exit_code == 0, finished.stdout
        starts = [_started_at(entry) for entry in finished.events("call.succeeded")]
        # The log's times are those of writing: on a busy machine later than the ends.
        assert max(starts) - min(starts) > 3 * 0.5 - 1, starts


def _started_at(entry: dict[str, Any]) -> float:
    ended = datetime.fromisoformat(entry["timestamp"]).timestamp()
    return float(ended - entry["duration_seconds"])


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
    check_log(finished, url(pod), reached(pod.endpoints))
    (request,) = pod[0].requests
    assert request.header("Authorization") is None
    assert request.header("Cookie") is None


FEW_FILES = ("prlimit", "--nofile=24")


def test_no_file_descriptors_left_is_local_and_nobody_is_gone(
    nameserver: Nameserver, tmp_path: Path
) -> None:
    with Pods(40) as pods:
        nameserver.set(WEB, *pods.addresses)
        gate = pods.gate()
        for address in pods.addresses:
            pods[address].script(reply(after=gate), reply())
        wide = config(pods.port, "  concurrency: 40\n")
        with Worker(tmp_path, wide, nameserver=nameserver, prefix=FEW_FILES) as worker:
            worker.wait_for_event("call.failed")
            gate.open()
            finished = worker.finish()
        check_the_end(finished)
        failures = [stable(entry) for entry in finished.events("call.failed")]
        assert failures == [
            failed(
                entry["endpoint"],
                "local",
                "Too many open files",
                entry["round"],
                entry["attempt"],
                entry.get("retry_in_seconds"),
            )
            for entry in failures
        ]
        assert finished.events("endpoint.gone") == []


def test_a_body_file_that_changes_during_the_run_is_local(
    run: Run, pod: Pods, tmp_path: Path
) -> None:
    """Else some pods would get another body than the others, with exit 0."""
    body_file = tmp_path / "body"
    body_file.write_bytes(b"x" * 100_000)

    async def change(exchange: Exchange) -> None:
        await exchange.read_request()
        body_file.write_bytes(b"y" * 100_001)
        await exchange.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    pod[0].script(change, reply())
    finished = run(config(pod.port, "  body_file: body\n"))
    message = f"body_file {body_file} has changed since the configuration was read"
    first, second = [stable(entry) for entry in finished.events("call.failed")]
    assert first == failing(pod, 503, retry_in_seconds=0.1)
    assert second == failed(pod.endpoints[0], "local", message, second["round"], 2)
    assert len(pod[0].requests) == 1
    assert finished.only("broadcast.finished")["hint"] == (
        "a file of the configuration has changed or disappeared during the run: run it again"
    )


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
SEGMENTS: dict[str, Callable[[bytes, bytes], Iterable[bytes]]] = {
    "in one segment": lambda first, second: [first + second],
    "in two": lambda first, second: [first, second],
    "byte by byte": lambda first, second: (bytes([byte]) for byte in first + second),
}


@pytest.mark.parametrize("cut", SEGMENTS)
def test_of_two_responses_the_first_is_the_answer(cut: str, run: Run, pod: Pods) -> None:
    pod[0].script(raw(*SEGMENTS[cut](FORBIDDEN, OK)))
    happened = once(pod, failing(pod, 403))
    check_log(run(config(pod.port)), url(pod), happened, reason="all_calls_failed")
    assert len(pod[0].requests) == 1
    pod[0].script(raw(*SEGMENTS[cut](OK, BROKEN)))
    check_log(run(config(pod.port)), url(pod), reached(pod.endpoints))
    assert len(pod[0].requests) == 2


INTERIM = {
    "says that it closes": b"HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n",
    "is HTTP/1.0": b"HTTP/1.0 100 Continue\r\n\r\n",
    "has a length": b"HTTP/1.1 102 Processing\r\nContent-Length: 9\r\n\r\n",
}


@pytest.mark.parametrize("cut", SEGMENTS)
@pytest.mark.parametrize("what", INTERIM)
def test_an_answer_counts_behind_an_interim_response_that(
    what: str, cut: str, run: Run, pod: Pods
) -> None:
    pod[0].script(raw(*SEGMENTS[cut](INTERIM[what], OK)))
    check_log(run(config(pod.port)), url(pod), reached(pod.endpoints))


def test_fields_of_an_interim_response_are_not_those_of_the_answer(run: Run, pod: Pods) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 3600\r\n\r\n"
    pod[0].script(raw(early + BROKEN), reply())
    happened = twice(pod, failing(pod, 500, retry_in_seconds=0.1))
    check_log(run(config(pod.port)), url(pod), happened)


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
    text = "Connection reset by peer"
    failure = failed(pod.endpoints[0], "connection_reset", text, retry_in_seconds=0.1)
    check_log(finished, url(pod), twice(pod, failure))
    assert pod[0].requests[-1].body == body
