"""A Service in a zone file, and a run of the worker that asks the servers of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dns.reversename
import pytest

from tests.loopback.program import Finished, run_worker

ZONE = "cluster.local"
WEB = f"web.default.svc.{ZONE}"
TTL_SECONDS = 5  # as CoreDNS has it for a Service

Run = Callable[..., Finished]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a configuration against these nameservers, which are asked in this order."""

    def run(config: str, *nameservers: object, **settings: Any) -> Finished:
        options = [text for each in nameservers for text in ("--nameserver", str(each))]
        return run_worker(tmp_path, config, *options, **settings)

    return run


def config(port: int, more: str = "  settle: 3s\n", host: str = "web") -> str:
    return f"- name: clear\n  url: http://{host}:{port}/\n{more}"


def zone(origin: str, *records: str, ttl: int = TTL_SECONDS) -> str:
    """The text of a zone file. A record is `name type value`; names without dot are inside."""
    soa = f"@ IN SOA ns.{origin}. hostmaster.{origin}. 1 7200 1800 86400 {ttl}"
    return "\n".join([f"$ORIGIN {origin}.", f"$TTL {ttl}", soa, "@ IN NS ns", *records, ""])


def addresses(name: str, values: Iterable[str]) -> list[str]:
    return [f"{name}. IN {'AAAA' if ':' in value else 'A'} {value}" for value in values]


def pointers(names: dict[str, str]) -> list[str]:
    """PTR records: for each address the name that it leads back to."""
    return [f"{dns.reversename.from_address(a)} IN PTR {name}." for a, name in names.items()]


def dashed(address: str) -> str:
    """The name that CoreDNS gives to an endpoint without a hostname."""
    return f"{address.replace('.', '-')}.{WEB}"
