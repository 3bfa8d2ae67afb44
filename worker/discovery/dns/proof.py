"""One address of a Service's name -> whether DNS shows that it is a pod's.

A headless Service with one pod and an ordinary Service, whose one virtual address leads to any of
its pods, look alike. https://github.com/kubernetes/dns/blob/master/docs/specification.md has the
records that tell them apart: 2.3 those of an ordinary Service, 2.4 those of a headless one.
"""

from __future__ import annotations

from collections.abc import Callable

import dns.name
import dns.rdatatype
import dns.reversename

from worker.discovery.dns.resolver import Fault, Reply
from worker.model import ResolutionFailure

NO_PODS_LABEL = b"no-pod-has-this-name"
MAX_TARGETS = 3  # of SRV records: the pod whose address it is, and others that have just come

Query = Callable[[dns.name.Name, dns.rdatatype.RdataType], Reply]  # raises Fault


def is_service(name: dns.name.Name, zone: dns.name.Name) -> bool:
    """True if it is of the form service.namespace.svc.ZONE."""
    return _has_form(name, zone, labels=3)


def is_pod(name: dns.name.Name, zone: dns.name.Name) -> bool:
    """True if it is of the form hostname.service.namespace.svc.ZONE."""
    return _has_form(name, zone, labels=4)


def _has_form(name: dns.name.Name, zone: dns.name.Name, labels: int) -> bool:
    if len(name) != labels + len(zone) or not name.is_subdomain(zone):
        return False
    return name.labels[labels - 1].lower() == b"svc"


def doubt(
    reply: Reply, rdtype: dns.rdatatype.RdataType, zone: dns.name.Name, query: Query
) -> ResolutionFailure | None:
    """The reason not to call the one address in `reply`, or None if nothing speaks against it.

    `rdtype` is the address's. Blocks for at most seven queries, one after another.
    """
    names = (reply.qname, *reply.aliases)
    services = [name for name in names if is_service(name, zone)]
    host = is_pod(names[-1], zone) or not names[-1].is_subdomain(zone)
    if host or not services:
        return None  # no Service's name, whatever it is
    address, service = reply.values[0], services[-1]
    qname = text(reply.qname)
    findings = _Findings(query)
    for name, asked in (
        (dns.reversename.from_address(address), dns.rdatatype.PTR),
        (service, dns.rdatatype.SRV),
    ):
        values = dict.fromkeys(findings.ask(name, asked))  # one SRV record for each port
        named = [dns.name.from_text(value) for value in values]
        if any(name in services for name in named):
            return ResolutionFailure(
                qname,
                "not_headless",
                f"{qname} resolves to one virtual address, {address}, which leads to "
                "only one of the pods: the Service needs clusterIP: None",
            )
        below = [name for name in named if any(name.is_subdomain(s) for s in services)]
        if below and asked == dns.rdatatype.PTR:
            return None
        if any(address in findings.ask(name, rdtype) for name in below[:MAX_TARGETS]):
            return None
    # CoreDNS's name for an endpoint that has no hostname. A wildcard has an answer to every name.
    label = address.replace(".", "-").replace(":", "-").encode()
    own, no_pods = (dns.name.Name((name, *service.labels)) for name in (label, NO_PODS_LABEL))
    if address in findings.ask(own, rdtype) and not findings.ask(no_pods, rdtype):
        return None
    return ResolutionFailure(
        qname,
        "unproven",
        f"{qname} resolves to one address, {address}, and DNS does not show whether it is a pod's "
        f"or the Service's own: {'; '.join(findings.texts)}",
    )


class _Findings:
    """Asks questions, and notes in `texts` what came of each."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self.texts: list[str] = []

    def ask(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> tuple[str, ...]:
        """The values of the answer; empty if there is none."""
        values: tuple[str, ...] = ()
        try:
            reply = self._query(name, rdtype)
        except Fault as fault:
            found = str(fault)
        else:
            values = reply.values
            found = ", ".join(value.removesuffix(".") for value in values) or reply.absence
        self.texts.append(f"{dns.rdatatype.to_text(rdtype)} {text(name)}: {found}")
        return values


def text(name: dns.name.Name) -> str:
    """The name as people write it, without the final dot."""
    return name.to_text(omit_final_dot=True)
