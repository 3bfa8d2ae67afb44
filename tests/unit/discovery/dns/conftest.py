"""A nameserver on loopback, and a port where there is none."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.loopback.nameserver import Nameserver
from worker.discovery.dns.resolvconf import Nameserver as Server


@pytest.fixture
def nameserver() -> Iterator[Nameserver]:
    with Nameserver() as server:
        server.set("web.example", "127.0.0.10", "127.0.0.9", ttl=7)
        yield server


@pytest.fixture
def nobody() -> Iterator[Server]:
    """A port that refuses TCP connections and datagrams."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Server("127.0.0.1", taken.getsockname()[1])
