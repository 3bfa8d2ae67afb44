"""A Service's name -> Answer: which names to ask for, and what their replies mean together.

"No ready pods, or no such Service" is an Answer without endpoints; broken DNS is a
ResolutionFailure, and so is an answer that must not be believed. Whether to ask again, and when,
is decided in `rounds.ledger`.
"""

from __future__ import annotations

from functools import partial

import dns.name
import dns.rdatatype

from worker.discovery.addresses import foreign_kind, is_loopback, packed
from worker.discovery.dns.proof import doubt, is_pod, is_service, text
from worker.discovery.dns.resolvconf import ResolvConf, candidates, zone_of
from worker.discovery.dns.resolver import Fault, Reply, Resolver
from worker.model import Answer, Endpoint, IpFamily, ResolutionFailure
from worker.words import ResolutionError

KUBE_DNS_CAP = 1000  # kube-dns answers with so many addresses at most, and does not say so

RDTYPES: dict[IpFamily, tuple[dns.rdatatype.RdataType, ...]] = {
    "auto": (dns.rdatatype.A, dns.rdatatype.AAAA),
    "ipv4": (dns.rdatatype.A,),
    "ipv6": (dns.rdatatype.AAAA,),
}
NO_SUFFIX = "resolv.conf has no search suffix svc.ZONE, as a pod's has"
# Failures that a nameserver outside the cluster would give for a name in it.
DOUBTED: tuple[ResolutionError, ...] = ("no_pods", "dns_timeout", "dns_refused", "dns_servfail")


class Lookup:
    """Resolves one broadcast's Service, at most one question at a time.

    `host` is the Service's name as the URL spells it, and `port` is that of its endpoints.
    `resolver` asks the servers of `conf`, for other broadcasts as well. The first name and record
    type that have addresses are the only ones asked for from then on.
    """

    def __init__(
        self, host: str, port: int, ip_family: IpFamily, conf: ResolvConf, resolver: Resolver
    ) -> None:
        self._host = host
        self._names = [dns.name.from_text(name) for name in candidates(host, conf)]
        zone = zone_of(host, conf)
        self._zone = dns.name.from_text(zone) if zone else None  # None: the name is outside it
        self._port = port
        self._rdtypes = RDTYPES[ip_family]
        self._conf = conf
        self._resolver = resolver
        self._pods: set[str] = set()  # addresses that need no proof any more

    def ask(self, ends_at: float) -> Answer | ResolutionFailure:
        """Returns an answer, or the reason why there is none by `ends_at` (monotonic clock).

        Blocks until then at most. After a failure no other name is tried: it may be that of
        another team's Service.
        """
        if not self._names:
            why = "no search suffix of resolv.conf makes it a name that is short enough"
            message = f"{self._host}: {why if self._conf.zone else NO_SUFFIX}"
            return ResolutionFailure(self._host, "no_cluster_suffix", message)
        return self._with_doubt_about_the_file(self._ask(ends_at))

    def _ask(self, ends_at: float) -> Answer | ResolutionFailure:
        misses: list[Reply] = []
        for name in self._names:
            aliased: Reply | None = None
            for rdtype in self._rdtypes:
                try:
                    reply = self._resolver.query(name, rdtype, ends_at)
                except Fault as fault:
                    return ResolutionFailure(text(name), fault.error_type, str(fault))
                if outside := self._leads_outside(reply):
                    return outside
                if reply.values:
                    return self._found(reply, rdtype, ends_at)
                aliased = reply if reply.aliases else aliased
                misses.append(reply)
            if aliased:
                qname, target = text(aliased.qname), text(aliased.aliases[-1])
                message = f"{qname} is an alias of {target}, of which DNS lists no address"
                return ResolutionFailure(qname, "dns_servfail", message)
        # Together, the negative answers are newer only if each of them is.
        return _answer(max(misses, key=self._tells), misses)

    def _leads_outside(self, reply: Reply) -> ResolutionFailure | None:
        """An alias must not lead out of the cluster's zone, unless the name ends with a dot.

        A Service of type ExternalName is such an alias, and CoreDNS with autopath makes one of a
        name that it completes with the node's suffixes.
        """
        if self._zone is None or self._host.endswith("."):
            return None
        for target in reply.aliases:
            if not target.is_subdomain(self._zone):
                qname, zone = text(reply.qname), text(self._zone)
                message = f"{qname} is an alias of {text(target)}, which is not in {zone}"
                return ResolutionFailure(qname, "outside_cluster", message)
        return None

    def _found(
        self, reply: Reply, rdtype: dns.rdatatype.RdataType, ends_at: float
    ) -> Answer | ResolutionFailure:
        addresses = sorted(set(reply.values), key=packed)
        on_loopback = is_loopback(reply.server.address)
        for address in addresses:
            if address not in self._pods and (kind := foreign_kind(packed(address), on_loopback)):
                qname = text(reply.qname)
                message = f"{qname} resolves to {address}: no pod has {kind} address"
                return ResolutionFailure(qname, "outside_cluster", message)
        self._names, self._rdtypes = [reply.qname], (rdtype,)
        if self._zone and len(addresses) == 1 and addresses[0] not in self._pods:
            doubts = doubt(
                reply, rdtype, self._zone, partial(self._resolver.query, ends_at=ends_at)
            )
            if doubts:
                return doubts
        self._pods.update(addresses)
        endpoints = tuple(Endpoint(address, self._port) for address in addresses)
        capped = self._zone is not None and len(endpoints) == KUBE_DNS_CAP
        return _answer(reply, [reply], endpoints, capped)

    def _tells(self, miss: Reply) -> tuple[int, bool]:
        """The rank of a name without records: the miss of a Service's name says most."""
        rank = 0
        if self._zone:
            rank = 2 * is_service(miss.qname, self._zone) or int(is_pod(miss.qname, self._zone))
        return rank, miss.exists

    def _with_doubt_about_the_file(
        self, outcome: Answer | ResolutionFailure
    ) -> Answer | ResolutionFailure:
        """The outcome, with a doubt where nothing was found and resolv.conf is not a pod's.

        A nameserver that may not know the cluster cannot say that a Service has no pods.
        """
        if isinstance(outcome, Answer) and outcome.endpoints:
            return outcome
        failure = outcome.nobody() if isinstance(outcome, Answer) else outcome
        doubted = failure._replace(error_message=f"{failure.error_message}; {NO_SUFFIX}")
        if not self._pods and "." not in self._host and not self._conf.zone:
            return doubted._replace(qname=self._host, error_type="no_cluster_suffix")
        if self._conf.zone or self._conf.chosen or not self._zone:
            return outcome
        return doubted if failure.error_type in DOUBTED else outcome


def _answer(
    reply: Reply, replies: list[Reply], endpoints: tuple[Endpoint, ...] = (), capped: bool = False
) -> Answer:
    """The answer in `reply`, with bounds of its expiry that hold for each of the `replies`."""
    return Answer(
        qname=text(reply.qname),
        endpoints=endpoints,
        ttl_seconds=min(r.ttl_seconds for r in replies),
        expires_earliest_at=min(r.sent_at + r.ttl_seconds for r in replies),
        expires_latest_at=max(r.arrived_at + r.ttl_seconds for r in replies),
        absence=reply.absence,
        stale=any(r.stale for r in replies),
        capped=capped,
    )
