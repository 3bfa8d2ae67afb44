"""Endpoint -> CallResult: one HTTP request on one fresh connection. The room that knows httptools.

Whatever the network or the pod does comes back as a value, within the timeout. Whether to call
again is decided in `ledger`; the bytes come from `request`, the bounded waits from `connection`.
"""

from __future__ import annotations

import errno
import os
import ssl
import time
from email.utils import parsedate_to_datetime

import httptools

from worker.calls.connection import Connection, Cut, TlsConnection
from worker.calls.request import prepare
from worker.config.tls import tls_context
from worker.model import Broadcast, CallError, CallResult, Endpoint, Expect

KEPT_BODY_BYTES = 64 * 1024
# More than the log keeps: a secret that a pod echoes is masked there before anything is cut.
KEPT_FIELD_BYTES = 4096
MAX_HEADER_BYTES = 64 * 1024
MAX_TRANSFER_BYTES = 1024 * 1024
MAX_INTERIM_RESPONSES = 16

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

Failure = tuple[CallError, str]


class _ProtocolError(Exception):
    """The pod spoke, but not HTTP/1.x as a client may trust it."""


class Transport:
    """Calls the endpoints of one broadcast; many calls may be in flight at once."""

    def __init__(self, broadcast: Broadcast, trace_id: str) -> None:
        """Renders the request. `trace_id`: 32 hex digits, the run's (W3C Trace Context).

        Raises TlsMaterialError.
        """
        self._broadcast = broadcast
        self._request = prepare(broadcast, trace_id)
        self._tls = tls_context(broadcast.tls) if broadcast.https else None
        self._server_name = broadcast.tls.server_name or broadcast.host.removesuffix(".")

    async def call(self, endpoint: Endpoint, span_id: str) -> CallResult:
        """One call. `span_id`: 16 hex digits. Returns within the timeout, for any network fault."""
        started_at = time.monotonic()
        connection = None
        connected_at = None
        response = _Response(self._broadcast.method)
        failure: Failure | None
        try:
            connection = Connection(endpoint, started_at + self._broadcast.timeout_seconds)
            await connection.connect(self._broadcast.connect_timeout_seconds)
            connected_at = time.monotonic()
            await self._exchange(connection, span_id, response)
            failure = _judge(response, self._broadcast.expect)
        except (_ProtocolError, httptools.HttpParserError) as error:
            failure = "protocol", str(error)
        except OSError as error:
            failure = _classify(error, connected_at is not None)
        except Cut:
            failure = "cancelled", "cut off by the stop signal"
        finally:
            response.release()
            if connection:
                connection.close()
        return self._result(endpoint, span_id, started_at, connected_at, response, failure)

    async def _exchange(self, connection: Connection, span_id: str, response: _Response) -> None:
        stream: Connection | TlsConnection = connection
        if self._tls:
            stream = TlsConnection(connection, self._tls, self._server_name)
            await stream.handshake()
        try:
            await stream.send(self._request.to_bytes(span_id))
            reset = None
        except (BrokenPipeError, ConnectionResetError):  # it may have answered nevertheless
            reset = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        while not response.whole:
            data = await stream.receive()
            if data:
                response.feed(data)
            else:
                response.end(reset)

    def _result(
        self,
        endpoint: Endpoint,
        span_id: str,
        started_at: float,
        connected_at: float | None,
        response: _Response,
        failure: Failure | None,
    ) -> CallResult:
        duration = time.monotonic() - started_at
        connect = connected_at - started_at if connected_at else None
        if not failure:
            return CallResult(endpoint, span_id, duration, connect, response.status_code)
        return CallResult(
            endpoint=endpoint,
            span_id=span_id,
            duration_seconds=duration,
            connect_seconds=connect,
            status_code=response.status_code,
            error_type=failure[0],
            error_message=failure[1],
            retry_after_seconds=_seconds_from(response.field("retry-after")),
            allow=response.field("allow"),
            server=response.field("server"),
            location=response.field("location"),
            response_body=bytes(response.body) or None if self._broadcast.log_response else None,
        )


# --- the response -----------------------------------------------------------------------------


class _Response:
    """Collects what httptools reads, and knows when the response is whole (RFC 9112, 6.3)."""

    def __init__(self, method: str) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status_code: int | None = None
        self.phrase = b""
        self.fields: dict[bytes, bytes] = {}
        self.body = bytearray()  # its first 64 KiB
        self.whole = False
        self._bodiless = method == "HEAD"
        self._in_body = False
        self._received = 0
        self._header_bytes = 0
        self._interim = 0
        self._fault: str | None = None

    def feed(self, data: bytes) -> None:
        """Raises _ProtocolError or httptools.HttpParserError."""
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.whole = True  # 101, which nobody asked for
        except httptools.HttpParserError:
            if not self.whole:  # bytes after the response are no matter: the connection ends here
                raise
        if self._fault:
            raise _ProtocolError(self._fault)
        if self._interim > MAX_INTERIM_RESPONSES:
            raise _ProtocolError(f"more than {MAX_INTERIM_RESPONSES} interim (1xx) responses")
        header_bytes = self._header_bytes if self._in_body else self._received
        if header_bytes > MAX_HEADER_BYTES:
            raise _ProtocolError("more than 64 KiB of header fields")
        if self._received > MAX_TRANSFER_BYTES:
            self.whole = True  # cut off; the status decides

    def release(self) -> None:
        """Parser and response refer to each other: without this, memory waits for a collection."""
        del self._parser

    def end(self, reset: ConnectionResetError | None) -> None:
        """The pod closed the connection, by a reset or not. Raises if the response is not whole."""
        if not self._received:
            raise reset or ConnectionResetError("closed before a response")
        if not self._in_body:
            raise _ProtocolError("closed in the middle of the header fields")
        if b"content-length" in self.fields or b"transfer-encoding" in self.fields:
            raise _ProtocolError("closed in the middle of the body")
        self.whole = True

    def field(self, name: str) -> str | None:
        value = self.fields.get(name.encode())
        return value[:KEPT_FIELD_BYTES].decode("latin-1") if value else None

    # Called by httptools.

    def on_status(self, phrase: bytes) -> None:
        self.phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value) + 4
        self.fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status_code = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._fault = f"HTTP/{version} where HTTP/1.1 was asked for"
        if self.status_code >= 200:
            self._in_body = True
            self.whole = self._bodiless

    def on_body(self, data: bytes) -> None:
        if len(self.body) < KEPT_BODY_BYTES:
            self.body += data[: KEPT_BODY_BYTES - len(self.body)]

    def on_message_complete(self) -> None:
        if self._in_body:
            self.whole = True
        else:
            self._interim += 1
            self.phrase = b""
            self.fields.clear()


# --- what it means ----------------------------------------------------------------------------


def _judge(response: _Response, expect: Expect) -> Failure | None:
    status_code = response.status_code
    assert status_code is not None  # the response is whole
    if status_code in expect.status_codes:
        if expect.body_contains and expect.body_contains not in response.body:
            return "body_mismatch", "the expected text is not in the first 64 KiB of the body"
        return None
    answered = (
        f"answered {status_code} {response.phrase[:KEPT_FIELD_BYTES].decode('latin-1')}".rstrip()
    )
    if 300 <= status_code < 400:
        location = response.field("location")
        return "redirect", f"{answered} to {location}" if location else answered
    return "status", answered


def _classify(error: OSError, connected: bool) -> Failure:
    """Names a network fault."""
    message = error.strerror or str(error)
    if isinstance(error, ssl.SSLError):
        return "tls", getattr(error, "verify_message", "") or error.reason or message
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


def _seconds_from(retry_after: str | None) -> float | None:
    """The delay that a Retry-After field asks for (RFC 9110, 10.2.3), if it can be read."""
    if not retry_after:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return max(parsedate_to_datetime(retry_after).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None
