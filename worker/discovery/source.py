"""The witness that is asked for a broadcast's endpoints. The rounds know it only as a Source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from worker.discovery.api import Api
from worker.discovery.dns.lookup import Lookup
from worker.discovery.dns.resolvconf import ResolvConf
from worker.discovery.dns.resolver import Resolver
from worker.model import Answer, Broadcast, ResolutionFailure

# Blocks until a time (monotonic clock) at most. Returns an answer, or the reason for none.
Source = Callable[[float], Answer | ResolutionFailure]


class Witnesses(NamedTuple):
    """How to reach them; None for one that no broadcast asks."""

    conf: ResolvConf | None
    api: Api | None


def sources(broadcasts: Sequence[Broadcast], witnesses: Witnesses) -> list[Source]:
    """The source of each broadcast. All share what one of them learns of a nameserver."""
    conf, api = witnesses
    resolver = Resolver(conf) if conf else None
    found: list[Source] = []
    for each in broadcasts:
        if each.discovery == "dns":
            assert conf
            assert resolver
            url = each.exchange.url
            found.append(Lookup(url.host, url.port, each.ip_family, conf, resolver).ask)
        else:
            from worker.discovery.endpointslices import EndpointSlices  # a run by DNS needs none

            assert api
            found.append(EndpointSlices(each, api).ask)
    return found
