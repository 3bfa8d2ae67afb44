"""Pods: HTTP servers on distinct loopback addresses and one port, that do what a test scripts.

What a pod does with a connection is a Behaviour: `reply`, `raw`, `reset`, `silent`, `endless`, or
any coroutine over an Exchange. What came in is in `Pod.requests`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import resource
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from tests.loopback.serving import Gate, Server

MAX_HEAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None


class Exchange:
    """One connection to a pod."""

    def __init__(
        self, pods: Pods, pod: Pod, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.pods, self.pod, self.reader, self.writer = pods, pod, reader, writer
        self._in_flight = False

    async def read_request(self) -> None:
        """Reads a whole request and notes it."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")[:-2]
        method, target, version = first.split(" ", 2)
        headers = tuple((line.split(": ", 1)[0], line.split(": ", 1)[1]) for line in lines)
        length = next((v for k, v in headers if k.lower() == "content-length"), "0")
        body = await self.reader.readexactly(int(length))
        self._in_flight = True
        with self.pods.changed:
            self.pod.requests.append(Request(method, target, version, headers, body))
            self.pods.order.append(self.pod.address)
            self.pods.in_flight += 1
            self.pods.max_in_flight = max(self.pods.max_in_flight, self.pods.in_flight)
            self.pods.changed.notify_all()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def over(self) -> None:
        """Notes that the request is no longer in flight: called before its last byte is sent."""
        if self._in_flight:
            self._in_flight = False
            with self.pods.changed:
                self.pods.in_flight -= 1
                self.pods.changed.notify_all()


Behaviour = Callable[[Exchange], Awaitable[None]]


def reply(
    status: int = 200,
    body: bytes = b"ok",
    headers: Sequence[str] = (),
    after: Gate | None = None,
    seconds: float = 0.0,
) -> Behaviour:
    """A whole response, once the gate is open, so many seconds later."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *headers]
    if status not in {204, 304}:
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join([*lines, "Connection: close", "\r\n"]).encode("latin-1")
    return raw(
        *([after] if after else []), seconds, head + (body if status not in {204, 304} else b"")
    )


def raw(*parts: bytes | float | Gate) -> Behaviour:
    """After the request: these bytes; a number is a pause in seconds, a gate is waited for."""

    async def behave(exchange: Exchange) -> None:
        await exchange.read_request()
        for number, part in enumerate(parts):
            if isinstance(part, Gate):
                await part.passed()
            elif isinstance(part, float):
                await asyncio.sleep(part)
            else:
                if number == len(parts) - 1:
                    exchange.over()
                await exchange.send(part)

    return behave


def reset(after_request: bool = True, head: bytes = b"") -> Behaviour:
    """A RST instead of an answer."""

    async def behave(exchange: Exchange) -> None:
        if after_request:
            await exchange.read_request()
        if head:
            await exchange.send(head)
        sock: socket.socket = exchange.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        exchange.writer.transport.abort()

    return behave


async def silent(exchange: Exchange) -> None:
    """Takes the request, and says nothing until the worker hangs up."""
    await exchange.read_request()
    await exchange.reader.read()


def endless(head: bytes, chunk: bytes, pause_seconds: float = 0.0) -> Behaviour:
    """After the head the same bytes again and again."""

    async def behave(exchange: Exchange) -> None:
        await exchange.read_request()
        await exchange.send(head)
        while True:
            await exchange.send(chunk)
            await asyncio.sleep(pause_seconds)

    return behave


@dataclass(slots=True)
class Pod:
    """One pod: what it is to do, and what came in."""

    address: str
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    _script: list[Behaviour] = field(default_factory=lambda: [reply()])

    def script(self, *behaviours: Behaviour) -> None:
        """What to do with the next connections; the last is for all that follow."""
        self._script = list(behaviours)

    def next_behaviour(self) -> Behaviour:
        return self._script.pop(0) if len(self._script) > 1 else self._script[0]


class Pods(Server):
    """Pods on one port: so many on addresses nobody else uses, or on these addresses."""

    def __init__(
        self,
        addresses: int | Sequence[str],
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__()
        self._by_address = {a: Pod(a) for a in _addresses(addresses)}
        self._listeners: dict[str, asyncio.Server] = {}
        self._held: list[socket.socket] = []
        self._tls = tls
        self.port = port
        self.order: list[str] = []  # of requests
        self.in_flight = 0
        self.max_in_flight = 0
        self.server_names: list[str] = []  # that TLS clients asked for
        if tls:
            tls.sni_callback = lambda _object, name, _context: self.server_names.append(name)

    def __getitem__(self, which: int | str) -> Pod:
        return self._by_address[self.addresses[which] if isinstance(which, int) else which]

    @property
    def addresses(self) -> list[str]:
        return list(self._by_address)

    @property
    def endpoints(self) -> list[str]:
        return [f"{address}:{self.port}" for address in self._by_address]

    @property
    def requests(self) -> dict[str, int]:
        """How many came to each address."""
        return {address: len(pod.requests) for address, pod in self._by_address.items()}

    def die(self, *addresses: str) -> None:
        """Connections to them are refused from now on."""
        for address in addresses:
            self.call(self._shut(address))

    def revive(self, *addresses: str) -> None:
        for address in addresses:
            self.call(self._listen(self._by_address[address]))

    def blackhole(self, address: str) -> None:
        """Connections to it hang, unanswered: its queue is full and nobody accepts."""
        self.die(address)
        listener = socket.socket(socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, self.port))
        listener.listen(0)
        self._held.append(listener)
        for _ in range(2):
            waiting = socket.socket(socket.AF_INET)
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect((address, self.port))
            self._held.append(waiting)

    async def _open(self) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        for pod in self._by_address.values():
            await self._listen(pod)

    async def _close(self) -> None:
        for address in self.addresses:
            await self._shut(address)
        for sock in self._held:
            sock.close()

    async def _listen(self, pod: Pod) -> None:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with self.changed:
                pod.connections += 1
                self.changed.notify_all()
            self.start(_serve(Exchange(self, pod, reader, writer), pod.next_behaviour()))

        listener = await asyncio.start_server(
            connected,
            pod.address,
            self.port,
            ssl=self._tls,
            limit=MAX_HEAD_BYTES,
            backlog=512,
            ssl_handshake_timeout=None,
        )
        self.port = listener.sockets[0].getsockname()[1]
        self._listeners[pod.address] = listener

    async def _shut(self, address: str) -> None:
        if address in self._listeners:
            self._listeners.pop(address).close()


async def _serve(exchange: Exchange, behave: Behaviour) -> None:
    try:
        await behave(exchange)
    except (OSError, EOFError, asyncio.LimitOverrunError):
        pass  # the worker hung up
    finally:
        exchange.over()
        exchange.writer.close()


def _addresses(wanted: int | Sequence[str]) -> list[str]:
    if not isinstance(wanted, int):
        return list(wanted)
    # At random, so that suites that run beside each other do not meet.
    first = ipaddress.IPv4Address("127.16.0.1") + random.randrange(0xD00) * 0x1000
    return [str(first + number) for number in range(wanted)]
