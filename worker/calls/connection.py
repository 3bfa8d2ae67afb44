"""A TCP or TLS connection that waits for nobody: what it would wait for, it yields to `loop`.

Errors are OSErrors, as the kernel and OpenSSL give them; `transport` names them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import time
import types
from collections.abc import Callable, Generator
from typing import NamedTuple, TypeVar

from worker.model import Endpoint

RECEIVE_BYTES = 16 * 1024

T = TypeVar("T")


class Cut(Exception):
    """Ends the wait of a call that is to be cut off."""


class Wait(NamedTuple):
    """Until the socket is ready for `event` (EPOLLIN or EPOLLOUT), or a time is up."""

    fileno: int
    event: int
    ends_at: float


class Connection:
    """A TCP connection to one endpoint. `ends_at`: when its time is up, on the monotonic clock."""

    def __init__(self, endpoint: Endpoint, ends_at: float) -> None:
        family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
        self._endpoint = endpoint
        self._ends_at = ends_at
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    async def connect(self, timeout_seconds: float) -> None:
        ends_at = min(self._ends_at, time.monotonic() + timeout_seconds)
        error = self._socket.connect_ex(self._endpoint)
        if error == errno.EINPROGRESS:
            # To ask again costs less than a wait, and on the same node the handshake is over.
            error = self._socket.connect_ex(self._endpoint)
        if error == errno.EALREADY:
            await self._ready(select.EPOLLOUT, ends_at)
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                await self._ready(select.EPOLLOUT, self._ends_at)

    async def receive(self) -> bytes:
        """Some bytes, or none at the end of the stream."""
        await self._ready(select.EPOLLIN, self._ends_at)
        return self._socket.recv(RECEIVE_BYTES)

    def close(self) -> None:
        self._socket.close()

    @types.coroutine
    def _ready(self, event: int, ends_at: float) -> Generator[Wait, None, None]:
        """Raises TimeoutError when the time is up, be it before the wait."""
        if time.monotonic() >= ends_at:
            raise TimeoutError
        yield Wait(self._socket.fileno(), event, ends_at)


class TlsConnection:
    """TLS over a `Connection`: OpenSSL sees memory only, so that it never waits by itself."""

    def __init__(self, connection: Connection, context: ssl.SSLContext, server_name: str) -> None:
        self._connection = connection
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    async def handshake(self) -> None:
        try:
            await self._pump(self._tls.do_handshake)
        except ssl.SSLEOFError:
            raise ConnectionResetError("closed during the TLS handshake") from None

    async def send(self, data: bytes) -> None:
        await self._pump(lambda: self._tls.write(data))

    async def receive(self) -> bytes:
        try:
            return await self._pump(lambda: self._tls.read(RECEIVE_BYTES))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def _pump(self, operation: Callable[[], T]) -> T:
        """Runs a step of the protocol, feeding it from the network for as long as it wants more."""
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # the alert is a courtesy, the error is not
                    await self._flush()
                raise
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
