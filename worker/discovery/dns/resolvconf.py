"""resolv.conf -> which servers to ask, and for which names. Pure: `resolver` asks them.

Options and limits are those of resolv.conf(5), of which dnspython supports only a part.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from worker.model import Endpoint

MAX_NAMESERVERS = 3  # MAXNS; the next three are limits of resolv.conf(5), too
MAX_NDOTS = 15
MAX_TIMEOUT_SECONDS = 30
MAX_ATTEMPTS = 5
DNS_PORT = 53
MAX_NAME_CHARACTERS = 253  # without the final dot (RFC 1035, 3.1)
MAX_LABEL_CHARACTERS = 63  # RFC 1035, 3.1
MAX_QUOTED_CHARACTERS = 200  # of a line, in a warning


class Nameserver(NamedTuple):
    """A numeric IP address and a port."""

    address: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        return str(Endpoint(self.address, self.port))


class ResolvConf(NamedTuple):
    """The settings of a resolv.conf, with the defaults of those that it does not have.

    `warnings`: the number of each line of which a part was skipped, and the line, part and reason.
    `chosen`: the nameservers are the user's choice, not those of the file.
    """

    nameservers: tuple[Nameserver, ...] = (Nameserver("127.0.0.1"),)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout_seconds: int = 5
    attempts: int = 2
    rotate: bool = False
    use_tcp: bool = False  # use-vc
    warnings: tuple[tuple[int, str], ...] = ()
    chosen: bool = False

    @property
    def zone(self) -> str | None:
        """The cluster's, by the first suffix `svc.ZONE` or `NAMESPACE.svc.ZONE`; a pod has both."""
        found = (re.fullmatch(r"(?:[^.]+\.)?svc\.(.+)", suffix) for suffix in self.search)
        return next((match[1] for match in found if match), None)


def parse(text: str, fault_of: Callable[[str], str | None]) -> ResolvConf:
    """Reads the text of a resolv.conf. Ignores what it does not know, as the C library does.

    Addresses and suffixes that cannot be used are skipped as well, each line with a warning.
    `fault_of` says of an address why it cannot be used, as in "which is not an IP address".
    """
    nameservers: list[Nameserver] = []
    warnings: list[tuple[int, str]] = []
    conf = ResolvConf()
    for number, line in enumerate(text.split("\n"), 1):
        keyword, *values = line.split() or [""]
        if not values or keyword[0] in "#;":
            continue
        skipped = None
        if keyword == "nameserver":
            address = re.split("[#;]", values[0])[0]  # a comment may follow without a space
            if fault := fault_of(address):
                skipped = f"{address}, {fault}"
            else:
                nameservers.append(Nameserver(address))
        elif keyword in {"domain", "search"}:  # the last of them wins
            search, skipped = _suffixes(values if keyword == "search" else values[:1])
            conf = conf._replace(search=search)
        elif keyword == "options":
            for option in values:
                conf = _with_option(conf, option)
        if skipped:
            warnings.append((number, f"{_shortened(line.strip())}: skipped {_shortened(skipped)}"))
    if nameservers:
        conf = conf._replace(nameservers=tuple(nameservers[:MAX_NAMESERVERS]))
    return conf._replace(warnings=tuple(warnings))


def _suffixes(values: list[str]) -> tuple[tuple[str, ...], str | None]:
    """The suffixes that are domain names, and a text about the others, or None."""
    named = [value.strip(".").lower() for value in values]
    valid = tuple(suffix for suffix in named if _is_domain(suffix))
    invalid = [suffix for suffix in named if suffix and suffix not in valid]
    return valid, f"{', '.join(invalid)}, which is not a domain name" if invalid else None


def _is_domain(suffix: str) -> bool:
    """True if names can end with it. Escapes of master files, such as \\046, are refused."""
    plain = suffix.isascii() and suffix.isprintable() and "\\" not in suffix
    return plain and all(0 < len(label) <= MAX_LABEL_CHARACTERS for label in suffix.split("."))


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_QUOTED_CHARACTERS else f"{text[:MAX_QUOTED_CHARACTERS]}…"


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

    If the search list shows the cluster's zone, a name is completed only to one below `svc.ZONE`,
    and tried as it is only inside ZONE: when a Service has no pods, its name must not become one
    that belongs to somebody else. Names that are too long for DNS are left out.
    https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
    If it does not, nothing is appended, as no suffix leads to the cluster. Then web.shop is not
    tried either, since it may be a stranger's on the Internet. A name without a dot is tried:
    nobody on the Internet has it, and the DNS of Docker may.
    """
    host = host.lower()
    if host.endswith("."):
        return (host,)
    zone = conf.zone
    if zone is None:
        short = host.count(".") == 1 or host.endswith(".svc")
        return () if short else (f"{host}.",)
    as_it_is = [host]
    searched = [f"{host}.{suffix}" for suffix in conf.search]
    searched = [name for name in searched if name.endswith(f".svc.{zone}")]
    names = as_it_is + searched if host.count(".") >= conf.ndots else searched + as_it_is
    inside = [name for name in names if name.endswith(f".{zone}")]
    short_enough = [name for name in inside if len(name) <= MAX_NAME_CHARACTERS]
    return tuple(f"{name}." for name in dict.fromkeys(short_enough))


def zone_of(host: str, conf: ResolvConf) -> str | None:
    """The cluster's zone, if a name that is tried for `host` is in it.

    Where resolv.conf does not tell, it is what follows `.svc.` in the name itself.
    """
    name = host.lower().removesuffix(".")
    if conf.zone is None:
        return name.rpartition(".svc.")[2] if ".svc." in name else None
    return conf.zone if name == host.lower() or name.endswith(f".{conf.zone}") else None
