"""Response or network fault -> acknowledgement, or a kind of failure."""

from __future__ import annotations

import errno
import time
from email.utils import parsedate_to_datetime

from worker.calls.body import mismatch
from worker.calls.response import Response
from worker.model import Expect
from worker.words import CallError

Failure = tuple[CallError, str]  # and its message

# This machine's own limits and rules: no fault of the pod's.
LOCAL_ERRORS = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EACCES,
    errno.EPERM,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
}


def judge(response: Response, expect: Expect) -> Failure | None:
    """None if a whole response is what was expected, or else the failure that it is."""
    status_code = response.status_code
    assert status_code is not None  # the response is whole
    if status_code in expect.status_codes:
        message = mismatch(response, expect)
        return ("body_mismatch", message) if message else None
    answered = f"answered {status_code} {response.phrase.decode('latin-1')}".rstrip()
    if 300 <= status_code < 400:
        location = response.field("location")
        return "redirect", f"{answered} to {location}" if location else answered
    return "status", answered


def classify(error: OSError, connected: bool) -> Failure:
    """Names a network fault. `connected`: the pod had accepted the connection."""
    message = error.strerror or str(error)
    if error.errno in LOCAL_ERRORS:
        return "local", message
    if isinstance(error, TimeoutError):
        if connected:
            return "timeout", "no whole response in time"
        return "connect_timeout", "no connection in time"
    if isinstance(error, ConnectionRefusedError):
        return "connect_refused", message
    if connected or isinstance(error, ConnectionError):
        return "connection_reset", message
    return "unreachable", message


def seconds_from(retry_after: str | None) -> float | None:
    """The seconds that a Retry-After field asks for (RFC 9110, 10.2.3); None if unreadable."""
    if not retry_after:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return max(parsedate_to_datetime(retry_after).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None
