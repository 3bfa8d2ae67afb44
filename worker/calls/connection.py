"""A TCP connection that never blocks: what it would wait for, it yields to `loop`.

Errors are OSErrors, as the kernel gives them; `judge` names them.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
import types
from collections.abc import Generator
from typing import NamedTuple

from worker.model import Endpoint
from worker.words import CallError

RECEIVE_BYTES = 16 * 1024  # a TLS record holds no more (RFC 8446, 5.1)


class CutOff(Exception):
    """Ends the wait of a call that is cut off, which then fails with `error_type`."""

    def __init__(self, error_type: CallError) -> None:
        self.error_type = error_type


class LocalError(Exception):
    """A file that the call needs cannot be used: no fault of the pod's."""


class TlsError(Exception):
    """TLS failed; its text is OpenSSL's words."""


class SocketWait(NamedTuple):
    """A wait until the socket is ready for `event` (EPOLLIN or EPOLLOUT), or until `ends_at`."""

    fileno: int
    event: int
    ends_at: float


class Connection:
    """A connection to one endpoint. Its time is up at `ends_at` (monotonic clock, in seconds)."""

    def __init__(self, endpoint: Endpoint, ends_at: float) -> None:
        family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
        self._address = endpoint.socket_address
        self._ends_at = ends_at
        self._may_have_more = False
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    async def connect(self, timeout_seconds: float) -> None:
        ends_at = min(self._ends_at, time.monotonic() + timeout_seconds)
        error = self._socket.connect_ex(self._address)
        if error == errno.EINPROGRESS:
            # Asking again costs less than a wait, and on the same node the handshake is over.
            error = self._socket.connect_ex(self._address)
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
        """Some bytes, or none at the end of the stream.

        Waits only when it has read all that had arrived, so that a response that is there is read
        to its end before anybody looks whether its time is up.
        """
        if self._may_have_more:
            try:
                return self._received(self._socket.recv(RECEIVE_BYTES))
            except BlockingIOError:
                pass
        await self._ready(select.EPOLLIN, self._ends_at)
        return self._received(self._socket.recv(RECEIVE_BYTES))

    def _received(self, data: bytes) -> bytes:
        self._may_have_more = len(data) == RECEIVE_BYTES
        return data

    def close(self) -> None:
        self._socket.close()

    @types.coroutine
    def _ready(self, event: int, ends_at: float) -> Generator[SocketWait, None, None]:
        """Raises TimeoutError if the time is up before the wait; `loop` raises it in the wait."""
        if time.monotonic() >= ends_at:
            raise TimeoutError
        yield SocketWait(self._socket.fileno(), event, ends_at)
