"""A Service's name -> Answer: which names to ask for, and what their replies mean together.

"No ready pods, or no such Service" is an Answer without endpoints; broken DNS is a
ResolutionFailure. Whether to ask again, and when, is decided in `rounds.ledger`.
"""

from __future__ import annotations

import socket
import time
from functools import partial

import dns.name
import dns.rdatatype
import dns.reversename

from worker.discovery.dns.resolvconf import ResolvConf, candidates
from worker.discovery.dns.resolver import Fault, Reply, Resolver
from worker.model import Answer, Endpoint, IpFamily, ResolutionFailure

PTR_SECONDS = 1.0

RDTYPES: dict[IpFamily, tuple[dns.rdatatype.RdataType, ...]] = {
    "auto": (dns.rdatatype.A, dns.rdatatype.AAAA),
    "ipv4": (dns.rdatatype.A,),
    "ipv6": (dns.rdatatype.AAAA,),
}


class Lookup:
    """Resolves one broadcast's Service, at most one question at a time.

    `host` is the Service's name as the URL spells it, and `port` is that of its endpoints. The
    first name and record type that have addresses are the only ones asked for from then on.
    """

    def __init__(self, host: str, port: int, ip_family: IpFamily, conf: ResolvConf) -> None:
        self._names = [dns.name.from_text(name) for name in candidates(host, conf)]
        self._port = port
        self._rdtypes = RDTYPES[ip_family]
        self._resolver = Resolver(conf)
        self._answered = False

    def ask(self, ends_at: float) -> Answer | ResolutionFailure:
        """Returns an answer, or why there is none by `ends_at` (monotonic clock).

        Blocks until then at most. After a failure no other name is tried: what answers to it may
        be another team's Service.
        """
        misses: list[Reply] = []
        for name in self._names:
            for rdtype in self._rdtypes:
                try:
                    reply = self._resolver.query(name, rdtype, ends_at)
                except Fault as fault:
                    return ResolutionFailure(_text(name), fault.error_type, str(fault))
                if reply.values:
                    return self._found(reply, rdtype, ends_at)
                misses.append(reply)
                if not reply.exists:
                    break  # NXDOMAIN: there are no records of the other type either
        # Only if each of the negative answers is newer, are they newer together.
        return _answer(next((miss for miss in misses if miss.exists), misses[0]), (), misses)

    def _found(
        self, reply: Reply, rdtype: dns.rdatatype.RdataType, ends_at: float
    ) -> Answer | ResolutionFailure:
        if not self._answered:
            self._answered = True
            self._names, self._rdtypes = [reply.qname], (rdtype,)
            if len(reply.values) == 1 and self._is_virtual(reply, ends_at):
                qname = _text(reply.qname)
                return ResolutionFailure(
                    qname,
                    "not_headless",
                    f"{qname} resolves to one virtual address, {reply.values[0]}, which leads to "
                    "only one of the pods: the Service needs clusterIP: None",
                )
        family = socket.AF_INET6 if rdtype == dns.rdatatype.AAAA else socket.AF_INET
        addresses = sorted(set(reply.values), key=partial(socket.inet_pton, family))
        endpoints = tuple(Endpoint(address, self._port) for address in addresses)
        return _answer(reply, endpoints, [reply])

    def _is_virtual(self, reply: Reply, ends_at: float) -> bool:
        """Whether the address belongs to the Service itself: a pod's PTR record names the pod.

        https://github.com/kubernetes/dns/blob/master/docs/specification.md, 2.3.3 and 2.4.2
        """
        pointer = dns.reversename.from_address(reply.values[0])
        ends_at = min(ends_at, time.monotonic() + PTR_SECONDS)
        try:
            names = self._resolver.query(pointer, dns.rdatatype.PTR, ends_at).values
        except Fault:
            return False
        own = {reply.qname, *reply.aliases}
        return any(dns.name.from_text(name) in own for name in names)


def _answer(reply: Reply, endpoints: tuple[Endpoint, ...], replies: list[Reply]) -> Answer:
    """What `reply` says, for as short or as long as each of the `replies` holds."""
    return Answer(
        qname=_text(reply.qname),
        endpoints=endpoints,
        ttl_seconds=min(r.ttl_seconds for r in replies),
        expires_earliest_at=min(r.sent_at + r.ttl_seconds for r in replies),
        expires_latest_at=max(r.arrived_at + r.ttl_seconds for r in replies),
        rcode="NOERROR" if reply.exists else "NXDOMAIN",
    )


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
