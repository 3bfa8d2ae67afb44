"""A Service's name -> Answer. The only module that knows dnspython.

"No ready pods, or no such Service" is an Answer without addresses; broken DNS is a
ResolutionFailure. Whether to ask again, and when, is decided in `ledger`.
"""

from __future__ import annotations

import math
import os
import select
import socket
import struct
import time
from typing import NamedTuple

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename

from worker.discovery.dns.resolvconf import Nameserver, ResolvConf, candidates
from worker.model import Answer, IpFamily, ResolutionError, ResolutionFailure

EDNS_PAYLOAD_BYTES = 1232  # no fragments on any usual path (DNS flag day 2020)
MAX_MESSAGE_BYTES = 65535
HEADER_BYTES = 12
QR, TC = 0x80, 0x02  # in the header's third byte (RFC 1035, 4.1.1)
PTR_SECONDS = 1.0

RDTYPES: dict[IpFamily, tuple[dns.rdatatype.RdataType, ...]] = {
    "auto": (dns.rdatatype.A, dns.rdatatype.AAAA),
    "ipv4": (dns.rdatatype.A,),
    "ipv6": (dns.rdatatype.AAAA,),
}
# Of several servers' failures the one that says most is reported.
INFORMATIVE: tuple[ResolutionError, ...] = (
    "dns_timeout",
    "dns_refused",
    "dns_servfail",
    "dns_truncated",
)


class _Fault(Exception):
    """One server gave no answer."""

    def __init__(self, error_type: ResolutionError, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class _Reply(NamedTuple):
    """An answer to one question, positive or negative."""

    qname: dns.name.Name
    canonical_name: dns.name.Name
    exists: bool
    values: tuple[str, ...]
    ttl_seconds: int
    sent_at: float
    arrived_at: float


class Lookup:
    """One broadcast's Service. What first answered, name and record type, is kept for the run."""

    def __init__(self, host: str, ip_family: IpFamily, conf: ResolvConf) -> None:
        self._names = [dns.name.from_text(name) for name in candidates(host, conf)]
        self._host = host
        self._rdtypes = RDTYPES[ip_family]
        self._resolver = _Resolver(conf)
        self._answered = False

    def ask(self, ends_at: float) -> Answer | ResolutionFailure:
        """One answer, or why there is none by `ends_at`. Raises Stopped."""
        misses: list[_Reply] = []
        for name in self._names:
            for rdtype in self._rdtypes:
                try:
                    reply = self._resolver.query(name, rdtype, ends_at)
                except _Fault as fault:
                    return ResolutionFailure(_text(name), fault.error_type, str(fault))
                if reply.values:
                    return self._keep(reply, rdtype, ends_at)
                misses.append(reply)
                if not reply.exists:
                    break  # then it has no records of the other type either
        return self._nobody(misses)

    def _keep(
        self, reply: _Reply, rdtype: dns.rdatatype.RdataType, ends_at: float
    ) -> Answer | ResolutionFailure:
        if not self._answered:
            self._answered = True
            self._names, self._rdtypes = [reply.qname], (rdtype,)
            if len(reply.values) == 1 and self._is_virtual(reply, ends_at):
                return ResolutionFailure(
                    _text(reply.qname),
                    "not_headless",
                    f"{_text(reply.qname)} is one virtual address, {reply.values[0]}, that leads "
                    "to some pod: the Service needs clusterIP: None",
                )
        addresses = sorted(set(reply.values), key=_packed)
        return _answer(tuple(addresses), reply, [reply])

    def _is_virtual(self, reply: _Reply, ends_at: float) -> bool:
        """Whether the address belongs to the Service itself: a pod's PTR names the pod.

        https://github.com/kubernetes/dns/blob/master/docs/specification.md, 2.3.3 and 2.4.2
        """
        pointer = dns.reversename.from_address(reply.values[0])
        try:
            ends_at = min(ends_at, time.monotonic() + PTR_SECONDS)
            names = self._resolver.query(pointer, dns.rdatatype.PTR, ends_at).values
        except _Fault:
            return False
        own = {reply.qname, reply.canonical_name}
        return any(dns.name.from_text(name) in own for name in names)

    def _nobody(self, misses: list[_Reply]) -> Answer:
        """The negative answers for all candidates as one: newer when each of them is."""
        best = next((miss for miss in misses if miss.exists), misses[0])
        return _answer((), best, misses)


def _answer(addresses: tuple[str, ...], reply: _Reply, replies: list[_Reply]) -> Answer:
    return Answer(
        qname=_text(reply.qname),
        addresses=addresses,
        ttl_seconds=min(r.ttl_seconds for r in replies),
        expires_earliest_at=min(r.sent_at + r.ttl_seconds for r in replies),
        expires_latest_at=max(r.arrived_at + r.ttl_seconds for r in replies),
        rcode="NOERROR" if reply.exists else "NXDOMAIN",
    )


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


class _Resolver:
    """A stub resolver that a stop signal interrupts."""

    def __init__(self, conf: ResolvConf) -> None:
        self._conf = conf
        self._turn = 0

    def query(
        self, qname: dns.name.Name, rdtype: dns.rdatatype.RdataType, ends_at: float
    ) -> _Reply:
        """Asks the servers in turn. Raises _Fault when none of them answers, and Stopped."""
        faults: list[_Fault] = []
        servers = self._servers()
        for server in servers * self._conf.attempts:
            seconds = min(self._conf.timeout_seconds, ends_at - time.monotonic())
            if faults and seconds <= 0:
                break
            try:
                return self._ask(server, qname, rdtype, seconds)
            except _Fault as fault:
                if fault.error_type == "dns_truncated":
                    raise
                faults.append(fault)
        raise max(faults, key=lambda fault: INFORMATIVE.index(fault.error_type))

    def _servers(self) -> list[Nameserver]:
        servers = list(self._conf.nameservers)
        if self._conf.rotate:
            self._turn = (self._turn + 1) % len(servers)
            servers = servers[self._turn :] + servers[: self._turn]
        return servers

    def _ask(
        self,
        server: Nameserver,
        qname: dns.name.Name,
        rdtype: dns.rdatatype.RdataType,
        seconds: float,
    ) -> _Reply:
        query = dns.message.make_query(qname, rdtype, use_edns=0, payload=EDNS_PAYLOAD_BYTES)
        exchange = _Exchange(server, query, time.monotonic() + seconds)
        try:
            wire = exchange.over_tcp() if self._conf.use_tcp else exchange.over_udp()
            if _is_truncated(wire) and not self._conf.use_tcp:
                wire = exchange.over_tcp()
            arrived_at = time.monotonic()
            if _is_truncated(wire):
                raise _Fault(
                    "dns_truncated",
                    f"{server} cut its answer short over TCP too: more records than fit in 64 KiB",
                )
            return _read(wire, query, server, exchange.sent_at, arrived_at)
        except TimeoutError:
            raise _Fault("dns_timeout", f"{server} did not answer in time") from None
        except OSError as error:
            raise _Fault("dns_timeout", f"{server}: {error.strerror or error}") from None
        except dns.exception.DNSException as error:
            raise _Fault("dns_servfail", f"{server} sent a malformed answer: {error}") from None


def _is_truncated(wire: bytes) -> bool:
    return bool(wire[2] & TC)


class _Exchange:
    """One query to one server, of which every wait ends in time or at a stop signal."""

    def __init__(self, server: Nameserver, query: dns.message.QueryMessage, ends_at: float) -> None:
        self._query = query
        self._id = struct.pack("!H", query.id)
        self._ends_at = ends_at
        info = socket.getaddrinfo(server.address, server.port, flags=socket.AI_NUMERICHOST)
        self._family, self._address = info[0][0], info[0][4]
        self.sent_at = 0.0

    def over_udp(self) -> bytes:
        with socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(self._address)  # then only this server's datagrams arrive
            self.sent_at = time.monotonic()
            sock.send(self._query.to_wire())
            while True:
                self._wait(sock, select.POLLIN)
                wire = sock.recv(MAX_MESSAGE_BYTES)
                if self._answers(wire):
                    return wire

    def over_tcp(self) -> bytes:
        with socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.connect(self._address)
            except BlockingIOError:
                self._wait(sock, select.POLLOUT)
                if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(error, os.strerror(error)) from None
            self.sent_at = time.monotonic()
            wire = self._query.to_wire()
            sock.send(struct.pack("!H", len(wire)) + wire)  # fits into an empty socket buffer
            while True:
                (length,) = struct.unpack("!H", self._receive(sock, 2))
                wire = self._receive(sock, length)
                if self._answers(wire):
                    return wire

    def _receive(self, sock: socket.socket, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._wait(sock, select.POLLIN)
            chunk = sock.recv(size - len(data))
            if not chunk:
                raise ConnectionResetError("closed before a whole answer")
            data += chunk
        return bytes(data)

    def _answers(self, wire: bytes) -> bool:
        """Whether this is a response with the query's id; others are not for us (RFC 5452, 9)."""
        return len(wire) >= HEADER_BYTES and wire[:2] == self._id and bool(wire[2] & QR)

    def _wait(self, sock: socket.socket, event: int) -> None:
        poll = select.poll()
        poll.register(sock, event)
        left = self._ends_at - time.monotonic()
        ready = poll.poll(math.ceil(left * 1000)) if left > 0 else []
        if not ready:
            raise TimeoutError


def _read(
    wire: bytes,
    query: dns.message.QueryMessage,
    server: Nameserver,
    sent_at: float,
    arrived_at: float,
) -> _Reply:
    """What the response says. Raises _Fault for what is no answer, and DNSException."""
    response = dns.message.from_wire(wire)
    rcode = response.rcode()
    if rcode == dns.rcode.REFUSED:
        raise _Fault("dns_refused", f"{server} answered REFUSED")
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise _Fault("dns_servfail", f"{server} answered {dns.rcode.to_text(rcode)}")
    if not query.is_response(response) or not isinstance(response, dns.message.QueryMessage):
        raise _Fault("dns_servfail", f"{server} answered another question")
    chain = response.resolve_chaining()
    ttl_seconds = chain.minimum_ttl
    if not chain.answer and not any(r.rdtype == dns.rdatatype.SOA for r in response.authority):
        ttl_seconds = 0  # nothing says how long it holds: it is not to be cached (RFC 2308, 5)
    return _Reply(
        qname=query.question[0].name,
        canonical_name=chain.canonical_name,
        exists=rcode == dns.rcode.NOERROR,
        values=tuple(rdata.to_text() for rdata in chain.answer or ()),
        ttl_seconds=ttl_seconds,
        sent_at=sent_at,
        arrived_at=arrived_at,
    )
