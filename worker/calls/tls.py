"""TLS over a `Connection`."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import TypeVar

from worker.calls.connection import RECEIVE_BYTES, Connection, TlsError

T = TypeVar("T")


class _Closed(TlsError):
    """The pod ended the connection, with close_notify or without."""


class TlsConnection:
    """OpenSSL reads and writes memory only, so that it never waits by itself.

    Raises TlsError beside the OSErrors of the connection.
    """

    def __init__(self, connection: Connection, context: ssl.SSLContext, server_name: str) -> None:
        self._connection = connection
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    async def handshake(self) -> None:
        try:
            await self._pump(self._tls.do_handshake)
        except _Closed:
            raise ConnectionResetError("closed during the TLS handshake") from None

    async def send(self, data: bytes) -> None:
        await self._pump(lambda: self._tls.write(data))

    async def receive(self) -> bytes:
        try:
            return await self._pump(lambda: self._tls.read(RECEIVE_BYTES))
        except _Closed:
            return b""

    async def _pump(self, operation: Callable[[], T]) -> T:
        """Runs a step of the protocol, feeding it from the network for as long as it wants more."""
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLError as error:
                with contextlib.suppress(OSError):  # the alert is a courtesy, the error is not
                    await self._flush()
                closed = isinstance(error, (ssl.SSLZeroReturnError, ssl.SSLEOFError))
                words = getattr(error, "verify_message", "") or error.reason or str(error)
                raise (_Closed if closed else TlsError)(words) from None
            else:
                await self._flush()
                return result
            data = await self._connection.receive()
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._connection.send(self._outgoing.read())
