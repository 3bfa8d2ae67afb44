"""Exchange -> the request as bytes, once for all calls (RFC 9112, 2 to 6).

Every value was held against its grammar when the configuration was read, so nothing is escaped:
what is written there is what the pods get.
"""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple

from worker import __version__
from worker.model import Auth, Exchange

NO_BODY_EXPECTED = ("GET", "HEAD")  # and so no Content-Length of 0: RFC 9110, 8.6


class Request(NamedTuple):
    """An HTTP/1.1 request, rendered but for the span id in its traceparent."""

    before_span_id: bytes
    after_span_id: bytes | None  # None: the configuration sets traceparent, nothing is filled in

    def to_bytes(self, span_id: str) -> bytes:
        """The bytes on the wire. `span_id`: 16 hex digits, the call's."""
        if self.after_span_id is None:
            return self.before_span_id
        return self.before_span_id + span_id.encode() + self.after_span_id


def prepare(exchange: Exchange, trace_id: str) -> Request:
    """Renders the request. `trace_id`: 32 hex digits, the run's (W3C Trace Context)."""
    fields = [
        ("Host", exchange.url.authority),
        ("User-Agent", f"pod-broadcast/{__version__}"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
    ]
    if exchange.content_type:
        fields.append(("Content-Type", exchange.content_type))
    fields += exchange.headers
    if exchange.auth:
        fields.append(("Authorization", _credentials(exchange.auth)))
    if exchange.body or exchange.method not in NO_BODY_EXPECTED:
        fields.append(("Content-Length", str(len(exchange.body or b""))))
    fields.append(("Connection", "close"))
    # Names are the same in any case (RFC 9110, 5.1): the configuration's take the place of ours.
    lines = {name.lower(): f"{name}: {value}" for name, value in fields}
    request_line = f"{exchange.method} {exchange.url.target} HTTP/1.1"
    head = "\r\n".join([request_line, *lines.values()]).encode() + b"\r\n"
    end = b"\r\n" + (exchange.body or b"")
    if "traceparent" in lines:
        return Request(head + end, None)
    return Request(head + f"traceparent: 00-{trace_id}-".encode(), b"-01\r\n" + end)


def _credentials(auth: Auth) -> str:
    """RFC 6750, 2.1, or RFC 7617, 2."""
    if auth.username is None:
        return f"Bearer {auth.bearer}"
    return "Basic " + b64encode(f"{auth.username}:{auth.password or ''}".encode()).decode()
