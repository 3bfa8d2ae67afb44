"""One HTTP request to one endpoint, on a fresh connection, as a coroutine that `loop` runs.

Whatever the network or the pod does comes back as a value, within the time limit. Whether to call
again is decided in `rounds.ledger`.
"""

from __future__ import annotations

import errno
import math
import os
import ssl
import time
from collections.abc import Callable

from worker.calls.connection import Connection, CutOff, LocalError, TlsError
from worker.calls.judge import Failure, classify, judge, seconds_from
from worker.calls.request import prepare
from worker.calls.response import KEPT_BODY_BYTES, KEPT_FIELD_BYTES, ProtocolError, Response
from worker.calls.tls import TlsConnection
from worker.model import CallResult, Endpoint, Exchange, Tls
from worker.words import CallError

CUT_MESSAGES: dict[CallError, str] = {
    "deadline": "cut off at the deadline",
    "cancelled": "cut off by the stop signal",
}


class Caller:
    """Makes one exchange with endpoints; many calls may be in flight at once."""

    def __init__(
        self, exchange: Exchange, trace_id: str, tls_context: Callable[[Tls], ssl.SSLContext]
    ) -> None:
        """Renders the request. `trace_id`: 32 hex digits, the run's (W3C Trace Context).

        `tls_context` returns the context that a `tls` asks for, or raises OSError.
        """
        self._exchange = exchange
        self._request = prepare(exchange, trace_id)
        self._tls_context = tls_context
        self._kept_bytes = 0  # of a response's body
        if exchange.expect.looks_at_body:
            self._kept_bytes = KEPT_BODY_BYTES
        elif exchange.log_response != "none":
            self._kept_bytes = KEPT_FIELD_BYTES

    async def call(self, endpoint: Endpoint, span_id: str, ends_at: float = math.inf) -> CallResult:
        """Makes one call, within the exchange's `timeout_seconds`, and not beyond `ends_at`.

        `span_id`: 16 hex digits. `ends_at`: of the monotonic clock.
        """
        started_at = time.monotonic()
        connection = None
        connected_at = None
        response = Response(self._exchange.method, self._kept_bytes)
        failure: Failure | None
        try:
            context = self._context()
            started_at = time.monotonic()  # making a context takes its time, which is not the pod's
            ends_at = min(ends_at, started_at + self._exchange.timeout_seconds)
            port = self._exchange.port or endpoint.port
            connection = Connection(endpoint._replace(port=port), ends_at)
            await connection.connect(self._exchange.connect_timeout_seconds)
            connected_at = time.monotonic()
            await self._talk(connection, context, span_id, response)
            failure = judge(response, self._exchange.expect)
        except ProtocolError as error:
            failure = "protocol", str(error)
        except TlsError as error:
            failure = "tls", str(error)
        except LocalError as error:
            failure = "local", str(error)
        except OSError as error:
            failure = classify(error, connected_at is not None)
        except CutOff as cut:
            failure = cut.error_type, CUT_MESSAGES[cut.error_type]
        finally:
            response.release()
            if connection:
                connection.close()
        return self._result(endpoint, span_id, started_at, connected_at, response, failure)

    def _context(self) -> ssl.SSLContext | None:
        try:
            return self._tls_context(self._exchange.tls) if self._exchange.url.https else None
        except OSError as error:
            raise LocalError(str(error)) from None

    async def _talk(
        self,
        connection: Connection,
        context: ssl.SSLContext | None,
        span_id: str,
        response: Response,
    ) -> None:
        stream: Connection | TlsConnection = connection
        if context:
            stream = TlsConnection(connection, context, self._exchange.server_name)
            await stream.handshake()
        try:
            for piece in self._request.pieces(span_id):
                await stream.send(piece)
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
        response: Response,
        failure: Failure | None,
    ) -> CallResult:
        duration = time.monotonic() - started_at
        connect = connected_at - started_at if connected_at else None
        logged = ("all",) if not failure else ("all", "failures")
        body = response.body[:KEPT_FIELD_BYTES] if self._exchange.log_response in logged else b""
        if not failure:
            return CallResult(
                endpoint,
                span_id,
                duration,
                connect,
                response.status_code,
                response_body=bytes(body) or None,
            )
        return CallResult(
            endpoint=endpoint,
            span_id=span_id,
            duration_seconds=duration,
            connect_seconds=connect,
            status_code=response.status_code,
            error_type=failure[0],
            error_message=failure[1],
            retry_after_seconds=seconds_from(response.field("retry-after")),
            allow=response.field("allow"),
            server=response.field("server"),
            location=response.field("location"),
            response_body=bytes(body) or None,
        )
