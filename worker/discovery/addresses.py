"""IP addresses: those at which a nameserver can be asked, and those that no pod has."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network

LOOPBACK = ip_network("127.0.0.0/8"), ip_network("::1/128")
THIS_NETWORK = ip_network("0.0.0.0/8")
BROADCAST = ip_address("255.255.255.255")
# The first bytes of all addresses that no pod has, of both versions.
UNLIKELY = frozenset({0, 127, 169, *range(224, 240), 254, 255})


def fault_of(address: str) -> str | None:
    """The reason why the C library could ask no nameserver at the address, or None if it could."""
    try:
        # Bytes: of a text, IDNA would take digits of other scripts for an address.
        socket.getaddrinfo(address.encode(), None, flags=socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        numeric, percent, _ = address.partition("%")
        if percent and not fault_of(numeric):
            return "whose network interface is not there"
        return "which is not an IP address"
    return None


def packed(address: str) -> bytes:
    """A numeric address as 4 or 16 bytes. Raises ValueError if it is none."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError:
        raise ValueError(f"{address!r} is not an IP address") from None


def is_loopback(address: str) -> bool:
    """True of a numeric address on loopback. One mapped into IPv6 is none, as for older Pythons."""
    return any(ip_address(address) in network for network in LOOPBACK)


def foreign_kind(data: bytes, on_loopback: bool) -> str | None:
    """The kind of an address that no pod can have (RFC 6890), as in "a loopback"; else None.

    `data`: the address, packed. `on_loopback`: who lists it is on loopback itself, and so may the
    pods be.
    """
    if data[0] not in UNLIKELY:  # a list may have 150,000 addresses
        return None
    ip = ip_address(data)
    ip = getattr(ip, "ipv4_mapped", None) or ip  # RFC 4291, 2.5.5.2
    if ip.is_loopback:
        return None if on_loopback else "a loopback"
    kinds = {
        "a link-local": ip.is_link_local,
        "a multicast": ip.is_multicast,
        "a broadcast": ip == BROADCAST,
        "an unspecified": ip.is_unspecified or ip in THIS_NETWORK,
    }
    return next((kind for kind, applies in kinds.items() if applies), None)
