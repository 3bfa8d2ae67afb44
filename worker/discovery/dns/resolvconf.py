"""resolv.conf -> which servers to ask, and for which names. Pure: `resolver` asks them.

Options and limits are those of resolv.conf(5), of which dnspython supports only a part.
"""

from __future__ import annotations

from typing import NamedTuple

from worker.model import Endpoint

MAX_NAMESERVERS = 3  # MAXNS
MAX_NDOTS = 15
MAX_TIMEOUT_SECONDS = 30
MAX_ATTEMPTS = 5
DNS_PORT = 53


class Nameserver(NamedTuple):
    """A numeric IP address and a port."""

    address: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        return str(Endpoint(self.address, self.port))


class ResolvConf(NamedTuple):
    """What a resolv.conf says. The defaults apply to what it does not mention."""

    nameservers: tuple[Nameserver, ...] = (Nameserver("127.0.0.1"),)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout_seconds: int = 5
    attempts: int = 2
    rotate: bool = False
    use_tcp: bool = False  # use-vc


def parse(text: str) -> ResolvConf:
    """Reads the text of a resolv.conf. Ignores what it does not know, as the C library does."""
    nameservers: list[Nameserver] = []
    conf = ResolvConf()
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if not values or keyword[0] in "#;":
            continue
        if keyword == "nameserver":
            nameservers.append(Nameserver(values[0]))
        elif keyword == "domain":
            conf = conf._replace(search=_suffixes(values[:1]))
        elif keyword == "search":  # the last of search and domain wins
            conf = conf._replace(search=_suffixes(values))
        elif keyword == "options":
            for option in values:
                conf = _with_option(conf, option)
    if nameservers:
        conf = conf._replace(nameservers=tuple(nameservers[:MAX_NAMESERVERS]))
    return conf


def _suffixes(values: list[str]) -> tuple[str, ...]:
    return tuple(value.strip(".").lower() for value in values)


def _with_option(conf: ResolvConf, option: str) -> ResolvConf:
    name, _, value = option.partition(":")
    if option == "rotate":
        return conf._replace(rotate=True)
    if option == "use-vc":
        return conf._replace(use_tcp=True)
    if not (value.isascii() and value.isdigit()):
        return conf
    number = int(value[:6])
    if name == "ndots":
        return conf._replace(ndots=min(number, MAX_NDOTS))
    if name == "timeout":
        return conf._replace(timeout_seconds=min(max(number, 1), MAX_TIMEOUT_SECONDS))
    if name == "attempts":
        return conf._replace(attempts=min(max(number, 1), MAX_ATTEMPTS))
    return conf


def candidates(host: str, conf: ResolvConf) -> tuple[str, ...]:
    """Returns the absolute names to try for `host`, in order, each with its trailing dot.

    If the search list contains a suffix `svc.ZONE`, only names inside ZONE are tried: when a
    Service has no pods, its name must not be completed to one that belongs to somebody else.
    https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
    """
    if host.endswith("."):
        return (host.lower(),)
    host = host.lower()
    as_it_is = [host]
    searched = [f"{host}.{suffix}" for suffix in conf.search if suffix]
    names = as_it_is + searched if host.count(".") >= conf.ndots else searched + as_it_is
    zone = next((s.removeprefix("svc.") for s in conf.search if s.startswith("svc.")), None)
    inside = [name for name in names if zone is None or name.endswith(f".{zone}")]
    return tuple(f"{name}." for name in dict.fromkeys(inside))
