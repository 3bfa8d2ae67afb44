"""What a response, an error of the network, or a Retry-After field comes to."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.loopback.serving import HANG_SECONDS
from worker.calls.judge import LOCAL_ERRORS, classify, judge, seconds_from
from worker.calls.response import Response
from worker.model import Expect
from worker.words import CallError

LONG_AGO = "Wed, 21 Oct 2015 07:28:00 GMT"


def response(status: str, *fields: str) -> Response:
    made = Response("POST", 0)
    made.feed("\r\n".join([f"HTTP/1.1 {status}", *fields, "Content-Length: 0\r\n\r\n"]).encode())
    assert made.whole
    made.release()
    return made


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        ("200 OK", None),
        ("299 Fine", None),
        ("300 Multiple Choices", "redirect"),
        ("399 Elsewhere", "redirect"),
        ("400 Bad Request", "status"),
        ("599 Odd", "status"),
    ],
)
def test_the_status_code_decides(status: str, error_type: str | None) -> None:
    failure = judge(response(status), Expect())
    assert failure == ((error_type, f"answered {status}") if error_type else None)


def test_a_redirect_says_where_to() -> None:
    moved = response("301 Moved Permanently", "Location: /elsewhere")
    assert judge(moved, Expect()) == ("redirect", "answered 301 Moved Permanently to /elsewhere")


def test_a_status_without_a_phrase() -> None:
    assert judge(response("503 "), Expect()) == ("status", "answered 503")


def fault(number: int) -> OSError:
    """As the kernel gives it."""
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", sorted(LOCAL_ERRORS), ids=errno.errorcode.get)
@pytest.mark.parametrize("connected", [False, True])
def test_what_this_machine_lacks_is_local(number: int, connected: bool) -> None:
    assert classify(fault(number), connected) == ("local", os.strerror(number))


REFUSED, RESET = os.strerror(errno.ECONNREFUSED), os.strerror(errno.ECONNRESET)
NO_ROUTE = os.strerror(errno.EHOSTUNREACH)


@pytest.mark.parametrize(
    ("error", "connected", "error_type", "message"),
    [
        (TimeoutError(), False, "connect_timeout", "no connection in time"),
        (TimeoutError(), True, "timeout", "no whole response in time"),
        (fault(errno.ETIMEDOUT), False, "connect_timeout", "no connection in time"),
        (fault(errno.ETIMEDOUT), True, "timeout", "no whole response in time"),
        (fault(errno.ECONNREFUSED), False, "connect_refused", REFUSED),
        (fault(errno.ECONNRESET), False, "connection_reset", RESET),
        (fault(errno.ECONNRESET), True, "connection_reset", RESET),
        (fault(errno.EHOSTUNREACH), False, "unreachable", NO_ROUTE),
        (fault(errno.EHOSTUNREACH), True, "connection_reset", NO_ROUTE),
        (ConnectionResetError("closed early"), True, "connection_reset", "closed early"),
    ],
)
def test_a_fault_of_the_network(
    error: OSError, connected: bool, error_type: CallError, message: str
) -> None:
    assert classify(error, connected) == (error_type, message)


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("120", 120.0),
        ("1234567890", 123456789.0),  # that long is as good as never
        ("²", None),  # a digit, but of another kind
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("a while", None),
        (LONG_AGO, 0.0),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
    ],
)
def test_retry_after(field: str | None, seconds: float | None) -> None:
    assert seconds_from(field) == seconds


def test_retry_after_a_date() -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    seconds = seconds_from(format_datetime(later, usegmt=True))
    assert seconds is not None
    assert 3600 - HANG_SECONDS < seconds <= 3600
