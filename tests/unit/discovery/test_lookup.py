"""One question to a nameserver on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.loopback.nameserver import Nameserver
from worker.discovery.dns.lookup import Lookup
from worker.discovery.dns.resolvconf import Nameserver as Server
from worker.discovery.dns.resolvconf import ResolvConf
from worker.model import Answer, ResolutionFailure
from worker.stop import Stop


@pytest.fixture
def nameserver() -> Iterator[Nameserver]:
    with Nameserver() as server:
        server.set("web.example", "127.0.0.10", "127.0.0.9", ttl=7)
        yield server


def ask(
    *servers: Server, use_tcp: bool = False, seconds: float = 5.0
) -> Answer | ResolutionFailure:
    conf = ResolvConf(nameservers=servers, timeout_seconds=1, attempts=1, use_tcp=use_tcp)
    return Lookup("web.example.", "auto", conf, Stop()).ask(time.monotonic() + seconds)


def server_of(nameserver: Nameserver) -> Server:
    return Server(nameserver.address, nameserver.port)


@pytest.fixture
def nobody() -> Iterator[Server]:
    """A port that refuses TCP connections and datagrams."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Server("127.0.0.1", taken.getsockname()[1])


def test_addresses_are_sorted_by_number_and_the_bounds_span_the_exchange(
    nameserver: Nameserver,
) -> None:
    before = time.monotonic()
    answer = ask(server_of(nameserver))
    after = time.monotonic()
    assert isinstance(answer, Answer)
    assert (answer.qname, answer.addresses) == ("web.example", ("127.0.0.9", "127.0.0.10"))
    assert answer.ttl_seconds == 7
    assert before + 7 <= answer.expires_earliest_at <= answer.expires_latest_at <= after + 7


@pytest.mark.parametrize("use_tcp", [False, True])
def test_use_vc_is_tcp(use_tcp: bool, nameserver: Nameserver) -> None:
    assert isinstance(ask(server_of(nameserver), use_tcp=use_tcp), Answer)
    assert nameserver.queries[0].transport == ("tcp" if use_tcp else "udp")
    assert nameserver.queries[0].payload == 1232


def test_an_answer_that_says_not_how_long_it_holds_is_not_cached(nameserver: Nameserver) -> None:
    nameserver.negative_ttl_seconds = None
    nameserver.remove("web.example")
    answer = ask(server_of(nameserver))
    assert isinstance(answer, Answer)
    assert (answer.addresses, answer.rcode, answer.ttl_seconds) == ((), "NXDOMAIN", 0)


@pytest.mark.parametrize("use_tcp", [False, True])
def test_a_server_that_is_not_there(use_tcp: bool, nobody: Server) -> None:
    assert ask(nobody, use_tcp=use_tcp) == ResolutionFailure(
        "web.example", "dns_timeout", f"{nobody}: Connection refused"
    )


def test_a_server_that_closes_its_connection(nameserver: Nameserver) -> None:
    nameserver.fault("close", transport="tcp")
    server = server_of(nameserver)
    assert ask(server, use_tcp=True) == ResolutionFailure(
        "web.example", "dns_timeout", f"{server}: closed before a whole answer"
    )


def test_another_questions_answer_over_tcp_is_waited_past(nameserver: Nameserver) -> None:
    nameserver.fault("wrong_id", transport="tcp")
    server = server_of(nameserver)
    assert ask(server, use_tcp=True, seconds=0.2) == ResolutionFailure(
        "web.example", "dns_timeout", f"{server} did not answer in time"
    )


def test_rotate_begins_with_another_server_each_time(nameserver: Nameserver) -> None:
    with Nameserver() as second:
        second.set("web.example", "127.0.0.1", "127.0.0.2")
        servers = (server_of(nameserver), server_of(second))
        conf = ResolvConf(nameservers=servers, timeout_seconds=1, attempts=1, rotate=True)
        lookup = Lookup("web.example.", "ipv4", conf, Stop())
        for _ in range(4):
            assert isinstance(lookup.ask(time.monotonic() + 5), Answer)
        assert (nameserver.asked(rdtype="A"), second.asked(rdtype="A")) == (2, 2)


def test_of_several_failures_the_one_that_says_most_is_reported(
    nameserver: Nameserver, nobody: Server
) -> None:
    nameserver.fault("refused")
    failure = ask(server_of(nameserver), nobody)
    assert isinstance(failure, ResolutionFailure)
    assert failure.error_type == "dns_refused"
