"""A TCP or TLS connection of which every wait ends when the call's time is up.

Errors are OSErrors, as the kernel and OpenSSL give them; `transport` names them.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import TypeVar

from worker.model import Endpoint

RECEIVE_BYTES = 16 * 1024

T = TypeVar("T")


class Connection:
    """A TCP connection to one endpoint. `ends_at`: when its time is up, on the monotonic clock."""

    def __init__(self, endpoint: Endpoint, ends_at: float) -> None:
        self._endpoint = endpoint
        self._ends_at = ends_at
        self._socket = socket.socket(socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET)

    def connect(self, timeout_seconds: float) -> None:
        self._limit(socket.SO_SNDTIMEO, timeout_seconds)  # connect(2) keeps to it, see socket(7)
        self._socket.connect(self._endpoint)

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._limit(socket.SO_SNDTIMEO)
            view = view[self._socket.send(view) :]

    def receive(self) -> bytes:
        """Some bytes, or none at the end of the stream."""
        self._limit(socket.SO_RCVTIMEO)
        return self._socket.recv(RECEIVE_BYTES)

    def shutdown(self) -> None:
        """Ends the wait that another thread is in."""
        with contextlib.suppress(OSError):  # not connecting yet, or closed by now
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _limit(self, option: int, most_seconds: float = math.inf) -> None:
        """Bounds the next wait by the kernel's own timeout: settimeout costs a poll(2) per wait."""
        left = min(self._ends_at - time.monotonic(), most_seconds)
        if left <= 0:
            raise TimeoutError
        microseconds = max(int(left * 1_000_000), 1)  # 0 would be no bound
        timeval = struct.pack("ll", *divmod(microseconds, 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, option, timeval)


class TlsConnection:
    """TLS over a `Connection`: OpenSSL sees memory only, so that it never waits by itself."""

    def __init__(self, connection: Connection, context: ssl.SSLContext, server_name: str) -> None:
        self._connection = connection
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        try:
            self._pump(self._tls.do_handshake)
        except ssl.SSLEOFError:
            raise ConnectionResetError("closed during the TLS handshake") from None

    def send(self, data: bytes) -> None:
        self._pump(lambda: self._tls.write(data))

    def receive(self) -> bytes:
        try:
            return self._pump(lambda: self._tls.read(RECEIVE_BYTES))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def _pump(self, operation: Callable[[], T]) -> T:
        """Runs a step of the protocol, feeding it from the network for as long as it wants more."""
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                self._flush()
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # the alert is a courtesy, the error is not
                    self._flush()
                raise
            else:
                self._flush()
                return result
            data = self._connection.receive()
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._connection.send(self._outgoing.read())
