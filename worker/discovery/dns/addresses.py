"""IP addresses: which ones a nameserver can be asked at, and which ones no pod has.

This is not ipaddress, which takes 12 ms to import and 7 us for each address.
"""

from __future__ import annotations

import socket

MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, IPv4 addresses in IPv6 (RFC 4291, 2.5.5.2)


def fault_of(address: str) -> str | None:
    """Why a nameserver cannot be asked at the address, as the C library reads it. None: it can."""
    try:
        # Bytes: a text would load the tables of internationalized names, which takes 1 ms.
        socket.getaddrinfo(address.encode(), None, flags=socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        numeric, percent, _ = address.partition("%")
        if percent and not fault_of(numeric):
            return "whose network interface is not there"
        return "which is not an IP address"
    return None


def packed(address: str) -> bytes:
    """A numeric address as 4 or 16 bytes."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def foreign_kind(address: bytes) -> str | None:
    """Which kind of address it is if no pod can have it (RFC 6890), else None."""
    if len(address) == 16 and not address.startswith(MAPPED):
        if address[:15] == bytes(15) and address[15] < 2:
            return "a loopback" if address[15] else "an unspecified"
        if address[0] == 0xFE and address[1] & 0xC0 == 0x80:
            return "a link-local"
        return "a multicast" if address[0] == 0xFF else None
    address = address.removeprefix(MAPPED)
    if address == b"\xff\xff\xff\xff":
        return "a broadcast"
    if address[:2] == b"\xa9\xfe":  # 169.254
        return "a link-local"
    if 224 <= address[0] < 240:
        return "a multicast"
    return {0: "an unspecified", 127: "a loopback"}.get(address[0])
