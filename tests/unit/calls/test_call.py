"""What is known of a call, and one that a file of its own keeps from being made."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loopback import calling
from tests.loopback.pods import Pods, reply, silent
from tests.loopback.serving import HANG_SECONDS
from tests.records import parsed
from worker.calls.call import Caller
from worker.calls.connection import LocalError
from worker.calls.request import PIECE_BYTES, pieces_of
from worker.calls.response import KEPT_FIELD_BYTES, Response
from worker.config.tls import tls_context
from worker.model import BodyFile, CallResult, Endpoint, Exchange, Expect, LogResponse, Tls

LONG = b"".join(number.to_bytes(4) for number in range(50_000))


@pytest.fixture
def body(tmp_path: Path) -> BodyFile:
    path = tmp_path / "body"
    path.write_bytes(LONG)
    state = path.stat()
    return BodyFile(str(path), os.open(path, os.O_RDONLY), len(LONG), state.st_mtime_ns)


def called(pods: Pods, exchange: Exchange, ends_at: float = math.inf) -> CallResult:
    call = Caller(exchange, "0" * 32, tls_context).call
    return calling.make(call(Endpoint(pods.addresses[0], pods.port), "0" * 16, ends_at))


def timed(result: CallResult) -> CallResult:
    """The result without its durations, which make sense."""
    assert result.connect_seconds is not None
    assert 0 < result.connect_seconds <= result.duration_seconds < HANG_SECONDS
    return result._replace(connect_seconds=None, duration_seconds=0.0)


FIELDS = ["Retry-After: 7", "Allow: PURGE", "Server: web/1", "Location: /there"]


@pytest.mark.parametrize("log_response", ["none", "failures", "all"])
def test_what_is_kept_of_a_failure(log_response: LogResponse) -> None:
    body = b"x" * (KEPT_FIELD_BYTES + 1)
    with Pods(1) as pods:
        pods[0].script(reply(503, body, FIELDS))
        exchange = Exchange(parsed(f"http://web:{pods.port}/"), log_response=log_response)
        assert timed(called(pods, exchange)) == CallResult(
            Endpoint(pods.addresses[0], pods.port),
            span_id="0" * 16,
            duration_seconds=0.0,
            status_code=503,
            error_type="status",
            error_message="answered 503 Service Unavailable",
            retry_after_seconds=7.0,
            allow="PURGE",
            server="web/1",
            location="/there",
            response_body=None if log_response == "none" else body[:-1],
        )


@pytest.mark.parametrize("log_response", ["none", "failures", "all"])
def test_what_is_kept_of_a_success(log_response: LogResponse) -> None:
    with Pods(1) as pods:
        pods[0].script(reply(200, b"purged", FIELDS))
        exchange = Exchange(parsed(f"http://web:{pods.port}/"), log_response=log_response)
        assert timed(called(pods, exchange)) == CallResult(
            Endpoint(pods.addresses[0], pods.port),
            span_id="0" * 16,
            duration_seconds=0.0,
            status_code=200,
            response_body=b"purged" if log_response == "all" else None,
        )


def test_a_body_is_looked_at_beyond_what_is_logged_of_it() -> None:
    with Pods(1) as pods:
        pods[0].script(reply(200, b"x" * KEPT_FIELD_BYTES + b"done"))
        url = parsed(f"http://web:{pods.port}/")
        exchange = Exchange(url, expect=Expect(body_contains=b"done"), log_response="all")
        result = called(pods, exchange)
        assert result.error_type is None
        assert result.response_body == b"x" * KEPT_FIELD_BYTES


def test_an_empty_body_is_none() -> None:
    with Pods(1) as pods:
        url = parsed(f"http://web:{pods.port}/")
        for status in (200, 500):
            pods[0].script(reply(status, b""))
            assert called(pods, Exchange(url, log_response="all")).response_body is None


def test_what_was_read_is_freed_at_once() -> None:
    """A response and its parser refer to each other, so they would wait for a collection."""
    with Pods(1) as pods:
        exchange = Exchange(parsed(f"http://web:{pods.port}/"))
        gc.collect()
        gc.disable()
        try:
            called(pods, exchange)
            assert [each for each in gc.get_objects() if isinstance(each, Response)] == []
        finally:
            gc.enable()


@pytest.mark.parametrize("limit", ["timeout_seconds", "ends_at"])
def test_a_call_ends_when_the_first_of_its_limits_is_reached(limit: str) -> None:
    """A test that waits for the other one fails: it would hang."""
    with Pods(1) as pods:
        pods[0].script(silent)
        short, long = 0.05, 10 * HANG_SECONDS
        seconds = short if limit == "timeout_seconds" else long
        exchange = Exchange(parsed(f"http://web:{pods.port}/"), timeout_seconds=seconds)
        ends_at = time.monotonic() + (short if limit == "ends_at" else long)
        result = timed(called(pods, exchange, ends_at))
        assert (result.error_type, result.status_code) == ("timeout", None)
        assert result.error_message == "no whole response in time"


def test_a_body_in_its_file_is_sent_in_pieces(body: BodyFile) -> None:
    assert list(pieces_of(body)) == list(pieces_of(LONG))
    assert {len(piece) for piece in list(pieces_of(body))[:-1]} == {PIECE_BYTES}
    with Pods(1) as pods:
        url = parsed(f"http://web:{pods.port}/")
        exchange = Exchange(url, body=body, timeout_seconds=HANG_SECONDS)
        assert called(pods, exchange).error_type is None
        assert pods[0].requests[0].body == LONG


def changed(path: Path) -> None:
    path.write_bytes(b"y" * len(LONG))
    os.utime(path, ns=(0, 0))


CHANGES: dict[str, Callable[[Path], object]] = {
    "written anew": changed,
    "longer": lambda path: path.write_bytes(LONG + b"y"),
    "shorter": lambda path: os.truncate(path, 10),
}


@pytest.mark.parametrize("how", CHANGES)
def test_no_pod_gets_another_body_than_the_others(how: str, body: BodyFile) -> None:
    CHANGES[how](Path(body.path))
    with Pods(1) as pods:
        result = called(pods, Exchange(parsed(f"http://web:{pods.port}/"), body=body))
        assert result.error_type == "local"
        message = f"body_file {body.path} has changed since the configuration was read"
        assert result.error_message == message
        pods.wait_for("the connection", lambda: pods[0].connections == 1)
        assert pods[0].requests == []


def test_a_file_that_is_replaced_is_still_the_one_that_was_read(body: BodyFile) -> None:
    """As the kubelet does with a ConfigMap, and an editor that writes another file first."""
    other = Path(f"{body.path}.new")
    other.write_bytes(b"other")
    other.rename(body.path)
    assert b"".join(pieces_of(body)) == LONG


def test_a_body_that_cannot_be_read_is_local(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(LocalError, match=r"^body_file /x: Is a directory$"):
        next(pieces_of(BodyFile("/x", folder, 1, 0)))


def test_a_certificate_that_disappeared_is_local_and_nobody_is_connected(tmp_path: Path) -> None:
    missing = f"{tmp_path}/ca.crt"
    with Pods(1) as pods:
        url = parsed(f"https://web:{pods.port}/")
        result = called(pods, Exchange(url, tls=Tls(ca_file=missing)))
        assert result.error_type == "local"
        reason = f"expected certificates in {missing}, got: No such file or directory"
        assert result.error_message == reason
        assert result.connect_seconds is None
        assert pods[0].connections == 0
