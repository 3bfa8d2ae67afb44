"""Waits for room to send, and time that is up."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.loopback import calling
from tests.records import parsed
from worker.calls.call import Caller
from worker.calls.connection import RECEIVE_BYTES, Connection
from worker.config.tls import tls_context
from worker.model import CallResult, Endpoint, Exchange

MUCH = b"x" * 16 * 1024 * 1024  # more than the kernel keeps for a reader that does not read


def send(listener: socket.socket, ends_at: float) -> CallResult:
    """What came of sending MUCH; the error_type tells whether the time was up first."""
    endpoint = Endpoint(*listener.getsockname())

    async def call() -> CallResult:
        with closing(Connection(endpoint, ends_at)) as connection:
            try:
                await connection.connect(timeout_seconds=60)
                await connection.send(MUCH)
            except TimeoutError:
                return CallResult(endpoint, "", 0.0, error_type="timeout")
        return CallResult(endpoint, "", 0.0)

    return calling.make(call())


def test_more_than_fits_is_sent_as_the_other_side_reads() -> None:
    received: list[int] = []

    def read() -> None:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(1024 * 1024):
                received.append(len(data))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader = threading.Thread(target=read)
        reader.start()
        assert send(listener, time.monotonic() + 60).error_type is None
        reader.join()
    assert sum(received) == len(MUCH)


def test_sending_to_one_who_does_not_read_ends_when_the_time_is_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        assert send(listener, time.monotonic() + 0.2).error_type == "timeout"


def test_no_wait_begins_when_the_time_is_up() -> None:
    endpoint = Endpoint("127.0.0.1", 1)
    with (
        closing(Connection(endpoint, time.monotonic() - 1)) as connection,
        pytest.raises(TimeoutError),
    ):
        connection.receive().send(None)


def connect(to_do: Callable[[socket.socket], None]) -> str:
    """What came of a connection that nobody accepts at once; `to_do` is done while it waits."""

    async def call() -> CallResult:
        with closing(Connection(endpoint, time.monotonic() + 60)) as connection:
            try:
                await connection.connect(timeout_seconds=60)
            except OSError as error:
                return CallResult(endpoint, "", 0.0, error_message=error.strerror)
        return CallResult(endpoint, "", 0.0, error_message="connected")

    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        socket.create_connection(listener.getsockname()),  # which takes up the backlog
    ):
        endpoint = Endpoint(*listener.getsockname())
        calling.start(call())
        to_do(listener)
        return calling.ended().error_message or ""


def test_a_connection_that_takes_its_time_is_waited_for() -> None:
    assert connect(lambda listener: listener.accept()[0].close()) == "connected"


def test_a_connection_that_is_refused_after_a_wait_says_so() -> None:
    assert connect(lambda listener: listener.close()) == "Connection refused"


def test_a_read_that_fills_the_buffer_is_followed_by_a_wait_where_nothing_else_has_come() -> None:
    arrived, read_all = threading.Event(), threading.Event()

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"x" * RECEIVE_BYTES)
            while any(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))):
                pass  # not all of it has arrived
            arrived.set()
            read_all.wait(60)
            connection.sendall(b"y")

    async def call() -> CallResult:
        with closing(Connection(endpoint, time.monotonic() + 60)) as connection:
            await connection.connect(timeout_seconds=60)
            arrived.wait(60)
            assert len(await connection.receive()) == RECEIVE_BYTES
            threading.Timer(0.1, read_all.set).start()
            assert await connection.receive() == b"y"
        return CallResult(endpoint, "", 0.0)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint(*listener.getsockname())
        thread = threading.Thread(target=answer)
        thread.start()
        assert calling.make(call()).error_type is None
        thread.join()


def test_a_connection_is_waited_for_until_the_earlier_of_both_times() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        socket.create_connection(listener.getsockname()),  # which takes up the backlog
    ):
        endpoint, now = Endpoint(*listener.getsockname()), time.monotonic()
        with closing(Connection(endpoint, ends_at=now + 50)) as connection:
            assert connection.connect(timeout_seconds=60).send(None).ends_at == now + 50
        with closing(Connection(endpoint, ends_at=now + 500)) as connection:
            assert connection.connect(timeout_seconds=60).send(None).ends_at < now + 500


def test_what_has_arrived_is_read_to_its_end_though_the_time_is_up_by_then() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ends_at = time.monotonic() + 0.2
        endpoint = Endpoint(*listener.getsockname())
        with closing(Connection(endpoint, ends_at)) as connection:
            with pytest.raises(StopIteration):
                connection.connect(timeout_seconds=60).send(None)
            waiting = connection.receive()
            waiting.send(None)
            server, _ = listener.accept()
            with server:
                server.sendall(b"x" * 3 * RECEIVE_BYTES)
                while any(fcntl.ioctl(server, termios.TIOCOUTQ, bytes(4))):
                    pass  # not all of it has arrived
                while time.monotonic() < ends_at:
                    pass
                for each in (waiting, connection.receive(), connection.receive()):
                    with pytest.raises(StopIteration) as read:
                        each.send(None)
                    assert len(read.value.value) == RECEIVE_BYTES
                with pytest.raises(TimeoutError):
                    connection.receive().send(None)


def test_an_answer_counts_though_the_pod_resets_the_connection_while_the_request_is_sent() -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)  # the other side knows that it is connected
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            while any(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))):
                pass  # not all of it has arrived
            reset_when_closed = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_when_closed)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint(*listener.getsockname())
        exchange = Exchange(parsed("http://web/"), body=MUCH)
        thread = threading.Thread(target=answer)
        thread.start()
        result = calling.make(Caller(exchange, "0" * 32, tls_context).call(endpoint, "0" * 16))
        thread.join()
    assert (result.error_type, result.status_code) == (None, 200)
