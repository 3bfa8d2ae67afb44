"""Broadcast -> the request as bytes, once for all calls (RFC 9112, 2 to 6).

Every value was held against its grammar when the configuration was read, so nothing is escaped:
what is written there is what the pods get.
"""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from worker import __version__
from worker.model import Auth, Broadcast

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


def prepare(broadcast: Broadcast, trace_id: str) -> Request:
    """Renders the broadcast's request. `trace_id`: 32 hex digits, the run's (W3C Trace Context)."""
    parts = urlsplit(broadcast.url)
    host = broadcast.host.removesuffix(".")
    fields = [
        ("Host", host if parts.port is None else f"{host}:{parts.port}"),
        ("User-Agent", f"pod-broadcast/{__version__}"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
    ]
    if broadcast.content_type:
        fields.append(("Content-Type", broadcast.content_type))
    fields += broadcast.headers
    if broadcast.auth:
        fields.append(("Authorization", _credentials(broadcast.auth)))
    if broadcast.body or broadcast.method not in NO_BODY_EXPECTED:
        fields.append(("Content-Length", str(len(broadcast.body or b""))))
    fields.append(("Connection", "close"))
    # Names are the same in any case (RFC 9110, 5.1): the configuration's take the place of ours.
    lines = {name.lower(): f"{name}: {value}" for name, value in fields}
    request_line = f"{broadcast.method} {_target(parts)} HTTP/1.1"
    head = "\r\n".join([request_line, *lines.values()]).encode() + b"\r\n"
    end = b"\r\n" + (broadcast.body or b"")
    if "traceparent" in lines:
        return Request(head + end, None)
    return Request(head + f"traceparent: 00-{trace_id}-".encode(), b"-01\r\n" + end)


def _target(url: SplitResult) -> str:
    """The origin form (RFC 9112, 3.2.1)."""
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _credentials(auth: Auth) -> str:
    """RFC 6750, 2.1, or RFC 7617, 2."""
    if auth.username is None:
        return f"Bearer {auth.bearer}"
    return "Basic " + b64encode(f"{auth.username}:{auth.password or ''}".encode()).decode()
