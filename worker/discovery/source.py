"""The witness that is asked for a broadcast's endpoints. The rounds know it only as a Source."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker.discovery.dns.lookup import Lookup
from worker.discovery.dns.resolvconf import ResolvConf
from worker.discovery.dns.resolver import Resolver
from worker.model import Answer, Broadcast, ResolutionFailure

# Blocks until a time (monotonic clock) at most. Returns an answer, or the reason for none.
Source = Callable[[float], Answer | ResolutionFailure]


def sources(broadcasts: Sequence[Broadcast], conf: ResolvConf) -> list[Source]:
    """The source of each broadcast. All share what one of them learns of a nameserver."""
    resolver = Resolver(conf)
    return [
        Lookup(b.exchange.url.host, b.exchange.url.port, b.ip_family, conf, resolver).ask
        for b in broadcasts
    ]
