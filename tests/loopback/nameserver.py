"""An authoritative DNS server on loopback, over UDP and TCP.

A test sets its answers, TTLs and faults. If asked to, it acts as a cache that counts the TTL down.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from tests.loopback.serving import Server

Transport = Literal["udp", "tcp"]
FaultKind = Literal[
    "servfail",
    "refused",
    "formerr",
    "notimp",
    "nxdomain",
    "badvers",
    "referral",
    "other_owner",
    "no_question",
    "silence",
    "truncate",
    "garbage",
    "wrong_id",
    "wrong_question",
    "close",
]
RCODES = {
    "servfail": dns.rcode.SERVFAIL,
    "refused": dns.rcode.REFUSED,
    "formerr": dns.rcode.FORMERR,
    "notimp": dns.rcode.NOTIMP,
    "nxdomain": dns.rcode.NXDOMAIN,
    "badvers": dns.rcode.BADVERS,
}
TTL_SECONDS = 5  # as CoreDNS has it for a Service
MAX_CNAMES = 8


class Query(NamedTuple):
    """A question as it arrived. `qname` has no trailing dot.

    `payload` is that of EDNS in bytes, and 0 without EDNS or with a version that nobody speaks.
    """

    qname: str
    rdtype: str
    transport: Transport
    payload: int


@dataclass(slots=True)
class Fault:
    """What is wrong with the next `times` answers to matching questions; None matches any."""

    kind: FaultKind
    times: float
    transport: Transport | None
    rdtype: str | None
    name: str | None
    only_edns: bool

    def befalls(self, query: Query) -> bool:
        return (
            self.times > 0
            and self.transport in {None, query.transport}
            and self.rdtype in {None, query.rdtype}
            and self.name in {None, query.qname}
            and (query.payload > 0 or not self.only_edns)
        )


@dataclass(slots=True)
class _Cached:
    rrset: dns.rrset.RRset | None
    expires_at: float


@dataclass(slots=True)
class _Zone:
    records: dict[tuple[dns.name.Name, str], dns.rrset.RRset] = field(default_factory=dict)
    names: set[dns.name.Name] = field(default_factory=set)


class Nameserver(Server):
    """A name that was `set` exists, even without addresses (NODATA). All others are NXDOMAIN.

    Each name is a headless Service, of whose pods there are PTR records and records of their own,
    as CoreDNS has them, unless `shows_pods` is turned off.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__()
        self.address = address
        self.port = 0
        self.queries: list[Query] = []
        self.on_query: Callable[[Query], None] = lambda _: None  # before the answer is made
        self.negative_ttl_seconds: int | None = TTL_SECONDS  # None: no SOA record
        self.caching_seconds: float | None = None  # for so long at most; None: no cache
        self.delay_seconds = 0.0
        self.shows_pods = True
        self.refers = False  # every negative answer names the zone's servers
        self.extended_error: int | None = None  # in each answer (RFC 8914)
        self.shuffles = True  # puts the records of each answer in random order
        self.mangle: Callable[[bytes], bytes] = lambda wire: wire  # applied to each response
        self._zone = _Zone()
        self._cache: dict[tuple[dns.name.Name, str], _Cached] = {}
        self._faults: list[Fault] = []

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"

    # --- what it says ---------------------------------------------------------------------------

    def set(self, name: str, *addresses: str, ttl: int = TTL_SECONDS) -> None:
        """Gives the name exactly these addresses."""
        self.remove(name)
        owner = dns.name.from_text(name)
        self._zone.names.add(owner)
        for rdtype, values in (
            ("A", [a for a in addresses if ":" not in a]),
            ("AAAA", [a for a in addresses if ":" in a]),
        ):
            if values:
                self._put(owner, rdtype, values, ttl)

    def remove(self, name: str) -> None:
        owner = dns.name.from_text(name)
        self._zone.names.discard(owner)
        for rdtype in ("A", "AAAA", "CNAME"):
            self._zone.records.pop((owner, rdtype), None)

    def set_cname(self, name: str, target: str, ttl: int = TTL_SECONDS) -> None:
        self._put(dns.name.from_text(name), "CNAME", [f"{target}."], ttl)

    def set_srv(self, name: str, *targets: str) -> None:
        """Each is a name, or a port and a name."""
        records = [f"0 100 {t}." if " " in t else f"0 100 80 {t}." for t in targets]
        self._put(dns.name.from_text(name), "SRV", records, TTL_SECONDS)

    def set_ptr(self, address: str, name: str) -> None:
        self._put(dns.reversename.from_address(address), "PTR", [f"{name}."], TTL_SECONDS)

    def _put(self, owner: dns.name.Name, rdtype: str, values: list[str], ttl: int) -> None:
        self._zone.names.add(owner)
        self._zone.records[owner, rdtype] = dns.rrset.from_text_list(
            owner, ttl, "IN", rdtype, values
        )

    def fault(
        self,
        kind: FaultKind,
        times: float = math.inf,
        transport: Transport | None = None,
        rdtype: str | None = None,
        name: str | None = None,
        only_edns: bool = False,
    ) -> None:
        """Makes the next `times` answers to matching questions faulty."""
        self._faults.append(Fault(kind, times, transport, rdtype, name, only_edns))

    def heal(self) -> None:
        self._faults.clear()

    def asked(self, name: str | None = None, rdtype: str | None = None) -> int:
        """Returns how many such questions have arrived."""
        return sum(
            name in {None, query.qname} and rdtype in {None, query.rdtype}
            for query in list(self.queries)
        )

    # --- how it serves --------------------------------------------------------------------------

    async def _open(self) -> None:
        for _ in range(20):  # a port may be free for TCP and taken for UDP
            self._tcp = await asyncio.start_server(self._connected, self.address, 0)
            self.port = self._tcp.sockets[0].getsockname()[1]
            try:
                self._udp, _ = await self._loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), (self.address, self.port)
                )
            except OSError:
                self._tcp.close()
            else:
                return
        raise AssertionError("no port is free for both UDP and TCP")

    async def _close(self) -> None:
        self._tcp.close()
        self._udp.close()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.start(self._serve_tcp(reader, writer))

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                answer = await self.answer(await reader.readexactly(length), "tcp")
                if answer == b"":
                    return
                if answer:
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
        except (OSError, EOFError):
            pass  # the resolver hung up
        finally:
            writer.close()

    async def answer(self, wire: bytes, transport: Transport) -> bytes | None:
        """Returns the response. None means silence, b"" a closed connection."""
        message = dns.message.from_wire(wire)
        question = message.question[0]
        query = Query(
            question.name.to_text(omit_final_dot=True),
            dns.rdatatype.to_text(question.rdtype),
            transport,
            message.payload if message.edns == 0 else 0,
        )
        self.on_query(query)
        with self.changed:
            self.queries.append(query)
            self.changed.notify_all()
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        fault = next((fault for fault in self._faults if fault.befalls(query)), None)
        limit = 65535 if transport == "tcp" else max(512, message.payload)
        if fault is None:
            return self.mangle(_render(self._respond(message, query.rdtype), limit, self.shuffles))
        fault.times -= 1
        return self._faulty(fault.kind, message, query.rdtype, limit)

    def _faulty(
        self, kind: FaultKind, message: dns.message.Message, rdtype: str, limit: int
    ) -> bytes | None:
        if kind in {"silence", "close"}:
            return None if kind == "silence" else b""
        response = dns.message.make_response(message)
        if kind in RCODES:
            response.set_rcode(RCODES[kind])
        elif kind == "truncate":
            response = self._respond(message, rdtype)
            response.flags |= dns.flags.TC
        elif kind == "referral":
            response.authority.append(self._ns(message.question[0].name))
        elif kind == "other_owner":
            records = ["127.0.0.1" if rdtype == "A" else "::1"]
            response.answer.append(dns.rrset.from_text_list("other.", 5, "IN", rdtype, records))
        elif kind == "no_question":
            response = self._respond(message, rdtype)
            response.question.clear()
        elif kind == "wrong_id":
            response = self._respond(message, rdtype)
            response.id ^= 1
        elif kind == "wrong_question":
            other = dns.message.make_query("elsewhere.example", rdtype, id=message.id)
            response = dns.message.make_response(other)
        wire = _render(response, limit, self.shuffles)
        return wire[:12] + b"\xff" * 20 if kind == "garbage" else wire

    def _respond(self, message: dns.message.Message, rdtype: str) -> dns.message.Message:
        response = dns.message.make_response(message)
        response.flags |= dns.flags.AA | dns.flags.RA
        if self.extended_error is not None:
            code = dns.edns.EDECode(self.extended_error)
            response.use_edns(options=[dns.edns.EDEOption(code)])
        name = message.question[0].name
        for _ in range(MAX_CNAMES):
            alias = self._find(name, "CNAME")
            if alias is None:
                break
            response.answer.append(alias)
            name = alias[0].target
        rrset = self._find(name, rdtype)
        if rrset is not None:
            response.answer.append(rrset)
            return response
        if name not in self._zone.names:
            response.set_rcode(dns.rcode.NXDOMAIN)
        if self.negative_ttl_seconds is not None:
            response.authority.append(self._soa(name, self.negative_ttl_seconds))
        if self.refers:
            response.authority.append(self._ns(name))
        return response

    def _ns(self, name: dns.name.Name) -> dns.rrset.RRset:
        zone = dns.name.Name(name.labels[-3:])
        return dns.rrset.from_text(zone, TTL_SECONDS, "IN", "NS", f"ns.{zone}")

    def _soa(self, name: dns.name.Name, ttl: int) -> dns.rrset.RRset:
        zone = dns.name.Name(name.labels[-3:])
        text = f"ns.{zone} hostmaster.{zone} 1 7200 1800 86400 {ttl}"
        return dns.rrset.from_text(zone, ttl, "IN", "SOA", text)

    def _find(self, name: dns.name.Name, rdtype: str) -> dns.rrset.RRset | None:
        rrset = self._zone.records.get((name, rdtype)) or self._find_pod(name, rdtype)
        if self.caching_seconds is None or rdtype == "CNAME":
            return rrset
        now = time.monotonic()
        cached = self._cache.get((name, rdtype))
        if cached is None or now >= cached.expires_at:
            seconds = min(
                self.caching_seconds, rrset.ttl if rrset else self.negative_ttl_seconds or 0
            )
            cached = self._cache[name, rdtype] = _Cached(rrset, now + seconds)
        if cached.rrset is None:
            return None
        copy: dns.rrset.RRset = cached.rrset.copy()  # type: ignore[no-untyped-call]
        copy.ttl = int(cached.expires_at - now)
        return copy

    def _find_pod(self, name: dns.name.Name, rdtype: str) -> dns.rrset.RRset | None:
        """The PTR record of a pod's address, or the pod's own address."""
        if not self.shows_pods or not name.labels[0]:
            return None
        if rdtype in {"A", "AAAA"}:
            service = self._zone.records.get((name.parent(), rdtype)) or ()
            own = [a for a in map(str, service) if dashed(a).encode() == name.labels[0]]
            return dns.rrset.from_text_list(name, TTL_SECONDS, "IN", rdtype, own) if own else None
        if rdtype != "PTR":
            return None
        address = dns.reversename.to_address(name)
        pods = [
            f"{dashed(address)}.{owner}"
            for (owner, kind), rrset in self._zone.records.items()
            if kind in {"A", "AAAA"} and address in map(str, rrset)
        ]
        return dns.rrset.from_text_list(name, TTL_SECONDS, "IN", "PTR", pods) if pods else None


def dashed(address: str) -> str:
    """What CoreDNS calls a pod that has no hostname."""
    return address.replace(".", "-").replace(":", "-")


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Nameserver) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._server.start(self._answer(data, address))

    async def _answer(self, data: bytes, address: tuple[str, int]) -> None:
        answer = await self._server.answer(data, "udp")
        if answer:
            self._transport.sendto(answer, address)


def _render(response: dns.message.Message, limit: int, shuffles: bool) -> bytes:
    """Returns the response's bytes; without records and with the TC bit if it is too long."""
    try:
        return response.to_wire(max_size=limit, want_shuffle=shuffles)
    except dns.exception.TooBig:
        response.answer.clear()
        response.flags |= dns.flags.TC
        return response.to_wire(max_size=limit)
