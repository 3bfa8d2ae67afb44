"""One DNS question -> one reply, asking the servers of resolv.conf in turn.

dnspython sends, receives and parses. This is plain blocking code, for a thread of its own.
Which names to ask for, and what an answer means for a broadcast, is decided in `lookup`.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from typing import NamedTuple

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from worker.discovery.dns.resolvconf import Nameserver, ResolvConf
from worker.words import ResolutionError

EDNS_PAYLOAD_BYTES = 1232  # no fragments on any usual path (DNS flag day 2020)
# The answers of servers that do not know EDNS, or of a middlebox before them (RFC 6891, 7).
WITHOUT_EDNS = frozenset({dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS})
# "Stale Answer" and "Stale NXDOMAIN Answer" (RFC 8914, 4.4 and 4.20).
STALE = frozenset({dns.edns.EDECode.STALE_ANSWER, dns.edns.EDECode.STALE_NXDOMAIN_ANSWER})

MIN_SILENCES = 2  # one lost datagram proves nothing
# When several servers fail, the error furthest down this list is reported: it says most.
INFORMATIVE: tuple[ResolutionError, ...] = (
    "dns_timeout",
    "dns_refused",
    "dns_servfail",
    "dns_truncated",
)


class Fault(Exception):
    """A server gave no usable answer. The message says which server, and why."""

    def __init__(self, error_type: ResolutionError, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class Reply(NamedTuple):
    """The answer to one question: the addresses, or the names of a PTR or SRV one, in `values`.

    Without `values` there are no such records: NXDOMAIN if the name does not `exist`, else NODATA.
    `aliases` are the names to which CNAME records lead from `qname`, one after another. `stale`:
    the server may have kept the answer beyond its time. The query was sent at `sent_at`, and the
    answer had been read at `arrived_at`, both in seconds of the monotonic clock.
    """

    server: Nameserver
    qname: dns.name.Name
    aliases: tuple[dns.name.Name, ...]
    exists: bool
    values: tuple[str, ...]
    ttl_seconds: int
    stale: bool
    sent_at: float
    arrived_at: float

    @property
    def absence(self) -> str:
        """The word for an answer without `values`."""
        return "NODATA" if self.exists else "NXDOMAIN"


class Resolver:
    """Asks the servers of one resolv.conf, with its timeout, attempts, rotate and use-vc.

    One for all broadcasts of a run, which ask in threads of their own. A server that was silent
    twice and has never answered is asked after the others, until it does. One that has answered
    keeps its place: the next one may know less, and a lost datagram is no reason to believe it.
    """

    def __init__(self, conf: ResolvConf) -> None:
        self._conf = conf
        self._turn = 0
        self._answered: set[Nameserver] = set()
        self._silences: Counter[Nameserver] = Counter()

    def query(self, qname: dns.name.Name, rdtype: dns.rdatatype.RdataType, ends_at: float) -> Reply:
        """Returns the first reply that a server gives.

        Blocks until `ends_at` (monotonic clock) at most. Raises Fault when no server replied.
        """
        faults: list[Fault] = []
        for server in self._servers() * self._conf.attempts:
            try:
                reply = self._ask(server, qname, rdtype, ends_at)
                self._answered.add(server)
                return reply
            except Fault as fault:
                if fault.error_type == "dns_timeout":
                    self._silences[server] += 1
                else:
                    self._answered.add(server)
                if fault.error_type == "dns_truncated":
                    raise  # the records do not fit, whichever server is asked
                faults.append(fault)
        raise max(faults, key=lambda fault: INFORMATIVE.index(fault.error_type))

    def _servers(self) -> list[Nameserver]:
        servers = list(self._conf.nameservers)
        if self._conf.rotate:
            self._turn = (self._turn + 1) % len(servers)
            servers = servers[self._turn :] + servers[: self._turn]
        return sorted(servers, key=self._is_silent)

    def _is_silent(self, server: Nameserver) -> bool:
        return server not in self._answered and self._silences[server] >= MIN_SILENCES

    def _ask(
        self,
        server: Nameserver,
        qname: dns.name.Name,
        rdtype: dns.rdatatype.RdataType,
        ends_at: float,
    ) -> Reply:
        query = dns.message.make_query(qname, rdtype, use_edns=0, payload=EDNS_PAYLOAD_BYTES)
        ends_at = min(ends_at, time.monotonic() + self._conf.timeout_seconds)
        try:
            exchange = _ask_in_full(query, server, self._conf.use_tcp, ends_at)
            if exchange.response.rcode() in WITHOUT_EDNS:
                query.use_edns(False)
                exchange = _ask_in_full(query, server, self._conf.use_tcp, ends_at)
            return _read(exchange, query, server)
        except (TimeoutError, dns.exception.Timeout):
            raise Fault("dns_timeout", f"{server} did not answer in time") from None
        except EOFError:
            message = f"{server} closed the connection before its answer was complete"
            raise Fault("dns_timeout", message) from None
        except OSError as error:
            raise Fault("dns_timeout", f"{server}: {error.strerror or error}") from None
        except dns.exception.DNSException as error:
            raise Fault("dns_servfail", f"{server} sent a malformed answer: {error}") from None


class _Exchange(NamedTuple):
    """A response, and when its query was sent and when it had been read."""

    response: dns.message.Message
    sent_at: float
    arrived_at: float

    @property
    def is_truncated(self) -> bool:
        return bool(self.response.flags & dns.flags.TC)


def _ask_in_full(
    query: dns.message.QueryMessage, server: Nameserver, use_tcp: bool, ends_at: float
) -> _Exchange:
    """As `_exchange`, and over TCP if the response does not fit in a datagram."""
    exchange = _exchange(query, server, use_tcp, ends_at)
    if exchange.is_truncated and not use_tcp:
        exchange = _exchange(query, server, True, ends_at)
    return exchange


def _exchange(
    query: dns.message.QueryMessage, server: Nameserver, use_tcp: bool, ends_at: float
) -> _Exchange:
    """Sends the query to the server, and waits for the response until `ends_at`.

    Raises TimeoutError, OSError, EOFError and DNSException.
    """
    kind = socket.SOCK_STREAM if use_tcp else socket.SOCK_DGRAM
    address = server.address.encode()
    info = socket.getaddrinfo(address, server.port, flags=socket.AI_NUMERICHOST)
    with socket.socket(info[0][0], kind) as connected:
        # A connected UDP socket receives only what this server sends, and its ICMP errors.
        connected.settimeout(_seconds_until(ends_at))
        connected.connect(info[0][4])
        connected.setblocking(False)  # as dns.query wants it
        # dnspython measures time with the wall clock.
        expiration = time.time() + _seconds_until(ends_at)
        sent_at = time.monotonic()
        response = (_over_tcp if use_tcp else _over_udp)(connected, query, expiration)
        return _Exchange(response, sent_at, time.monotonic())


def _seconds_until(ends_at: float) -> float:
    """A number greater than 0. Raises TimeoutError when the time is up."""
    seconds = ends_at - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


# dns.query.udp and dns.query.tcp would refuse responses without a question, and udp either fails
# on another id, or ignores malformed responses and those to a different question as well; here
# both are errors with a message of their own. What follows a message is ignored, as glibc has it.


def _over_tcp(
    connected: socket.socket, query: dns.message.QueryMessage, expiration: float
) -> dns.message.Message:
    """Returns the response, whatever its id."""
    # Imported in the thread that asks: it takes 3.3 ms, and not every command asks DNS.
    import dns.query

    dns.query.send_tcp(connected, query, expiration)
    return dns.query.receive_tcp(connected, expiration, ignore_trailing=True)[0]


def _over_udp(
    connected: socket.socket, query: dns.message.QueryMessage, expiration: float
) -> dns.message.Message:
    """Returns the response with the query's id. Others may be forged: ignored (RFC 5452, 9.1)."""
    import dns.query

    dns.query.send_udp(connected, query, None, expiration)
    while True:
        try:
            response: dns.message.Message = dns.query.receive_udp(
                connected, None, expiration, ignore_trailing=True, raise_on_truncation=True
            )[0]
        except dns.message.Truncated as truncated:  # a record may be cut in half
            response = truncated.message()  # type: ignore[no-untyped-call]
        if response.id == query.id and response.flags & dns.flags.QR:
            return response


def _read(exchange: _Exchange, query: dns.message.QueryMessage, server: Nameserver) -> Reply:
    """Returns what the response says. Raises Fault for an error code, and DNSException."""
    response = exchange.response
    rcode = response.rcode()
    if exchange.is_truncated:
        raise Fault(
            "dns_truncated",
            f"{server} truncated its answer over TCP as well: the records do not fit in 64 KiB",
        )
    if rcode == dns.rcode.REFUSED:
        raise Fault("dns_refused", f"{server} answered REFUSED")
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise Fault("dns_servfail", f"{server} answered {dns.rcode.to_text(rcode)}")
    # Some servers leave the question out. The id and the server are right, so it is this one's.
    response.question = response.question or query.question
    if not query.is_response(response) or not isinstance(response, dns.message.QueryMessage):
        raise Fault("dns_servfail", f"{server} answered a different question")
    chain = response.resolve_chaining()
    ttl_seconds = chain.minimum_ttl
    if not chain.answer:
        authority = {rrset.rdtype for rrset in response.authority}
        if not chain.cnames:
            _check_negative(response, authority, server)
        if dns.rdatatype.SOA not in authority:
            ttl_seconds = 0  # it must not be cached (RFC 2308, 5), but may be
    question = query.question[0]
    # Not to_text(): for 4,000 records it takes about a twentieth of the whole question.
    named = question.rdtype in (dns.rdatatype.PTR, dns.rdatatype.SRV)
    field = "target" if named else "address"
    return Reply(
        server=server,
        qname=question.name,
        aliases=tuple(cname[0].target for cname in chain.cnames),
        exists=rcode == dns.rcode.NOERROR,
        values=tuple(str(getattr(rdata, field)) for rdata in chain.answer or ()),
        ttl_seconds=ttl_seconds,
        stale=ttl_seconds == 0 or _says_stale(response),
        sent_at=exchange.sent_at,
        arrived_at=exchange.arrived_at,
    )


def _check_negative(
    response: dns.message.Message, authority: set[dns.rdatatype.RdataType], server: Nameserver
) -> None:
    """Raises Fault where a response without an answer is no NXDOMAIN or NODATA (RFC 2308, 2)."""
    if response.answer:
        message = f"{server} answered with records that were not asked for"
        raise Fault("dns_servfail", message)
    refers = dns.rdatatype.NS in authority and dns.rdatatype.SOA not in authority
    if refers and response.rcode() == dns.rcode.NOERROR:
        raise Fault("dns_servfail", f"{server} referred to other servers instead of answering")


def _says_stale(response: dns.message.Message) -> bool:
    """True if the response has an Extended DNS Error that says that it is stale."""
    return any(
        isinstance(option, dns.edns.EDEOption) and option.code in STALE
        for option in response.options
    )
