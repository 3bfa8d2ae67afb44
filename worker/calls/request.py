"""Exchange -> the request as bytes, the head of which is rendered once for all calls (RFC 9112, 2).

Every value was held against its grammar when the configuration was read, so nothing is escaped:
what is written there is what the pods get.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from typing import NamedTuple

from worker import __version__
from worker.calls.connection import LocalError
from worker.model import Auth, BodyFile, Exchange

PIECE_BYTES = 64 * 1024
NO_BODY_EXPECTED = ("GET", "HEAD")  # and so no Content-Length of 0: RFC 9110, 8.6


class Request(NamedTuple):
    """An HTTP/1.1 request, of which the head is rendered but for the span id in its traceparent."""

    before_span_id: bytes
    after_span_id: bytes | None  # None: the configuration sets traceparent, nothing is filled in
    body: bytes | BodyFile | None

    def head(self, span_id: str) -> bytes:
        """The request line and the header fields. `span_id`: 16 hex digits, the call's."""
        if self.after_span_id is None:
            return self.before_span_id
        return self.before_span_id + span_id.encode() + self.after_span_id

    def pieces(self, span_id: str) -> Iterator[bytes]:
        """The bytes on the wire, so many at a time that no call holds a copy of a long body.

        Raises LocalError if the body's file is no longer what it was.
        """
        body = pieces_of(self.body)
        # In one packet, as the second of two would wait for the first to be acknowledged.
        yield self.head(span_id) + next(body, b"")
        yield from body


def pieces_of(body: bytes | BodyFile | None) -> Iterator[bytes]:
    """A body in pieces of 64 KiB at most. Raises LocalError as `Request.pieces` does."""
    if not isinstance(body, BodyFile):
        body = body or b""
        yield from (body[at : at + PIECE_BYTES] for at in range(0, len(body), PIECE_BYTES))
        return
    for at in range(0, body.size, PIECE_BYTES):
        try:
            piece = os.pread(body.descriptor, PIECE_BYTES, at)
            state = os.fstat(body.descriptor)
        except OSError as error:
            raise LocalError(f"body_file {body.path}: {error.strerror}") from None
        if (state.st_size, state.st_mtime_ns) != (body.size, body.modified_ns):
            raise LocalError(f"body_file {body.path} has changed since the configuration was read")
        yield piece


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
    if exchange.body_bytes or exchange.method not in NO_BODY_EXPECTED:
        fields.append(("Content-Length", str(exchange.body_bytes)))
    fields.append(("Connection", "close"))
    # Names are the same in any case (RFC 9110, 5.1): the configuration's take the place of ours.
    lines = {name.lower(): f"{name}: {value}" for name, value in fields}
    request_line = f"{exchange.method} {exchange.url.target} HTTP/1.1"
    head = "\r\n".join([request_line, *lines.values()]).encode() + b"\r\n"
    if "traceparent" in lines:
        return Request(head + b"\r\n", None, exchange.body)
    before_span_id = head + f"traceparent: 00-{trace_id}-".encode()
    return Request(before_span_id, b"-01\r\n\r\n", exchange.body)


def _credentials(auth: Auth) -> str:
    """RFC 6750, 2.1, or RFC 7617, 2."""
    if auth.username is None:
        return f"Bearer {auth.bearer}"
    return "Basic " + b64encode(f"{auth.username}:{auth.password or ''}".encode()).decode()
