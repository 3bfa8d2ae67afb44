"""Who is asked for the endpoints of a broadcast: the one place that knows which witness it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker.discovery.dns.lookup import Lookup
from worker.discovery.dns.resolvconf import ResolvConf
from worker.discovery.dns.resolver import Resolver
from worker.model import Answer, Broadcast, ResolutionFailure

# Answers until that time (monotonic clock), or says why there is no answer. Blocks until then.
Source = Callable[[float], Answer | ResolutionFailure]


def sources(broadcasts: Sequence[Broadcast], conf: ResolvConf) -> list[Source]:
    """The source of each broadcast. What one learns of a nameserver, the others know."""
    resolver = Resolver(conf)
    return [
        Lookup(b.exchange.url.host, b.exchange.url.port, b.ip_family, conf, resolver).ask
        for b in broadcasts
    ]
