"""One question is asked of nameservers on loopback."""

from __future__ import annotations

import time

import dns.name
import dns.rdatatype
import pytest

from tests.loopback.nameserver import Nameserver, Query
from worker.discovery.dns.resolvconf import Nameserver as Server
from worker.discovery.dns.resolvconf import ResolvConf
from worker.discovery.dns.resolver import Fault, Reply, Resolver
from worker.model import ResolutionError

NAME = dns.name.from_text("web.example.")


def server_of(nameserver: Nameserver) -> Server:
    return Server(nameserver.address, nameserver.port)


def resolver(*servers: Server, rotate: bool = False, use_tcp: bool = False) -> Resolver:
    return Resolver(
        ResolvConf(servers, timeout_seconds=1, attempts=1, rotate=rotate, use_tcp=use_tcp)
    )


def ask(asked: Resolver, seconds: float = 5.0) -> Reply:
    return asked.query(NAME, dns.rdatatype.A, time.monotonic() + seconds)


def check_fault(
    asked: Resolver, error_type: ResolutionError, message: str, seconds: float = 5.0
) -> None:
    with pytest.raises(Fault) as caught:
        ask(asked, seconds)
    assert (caught.value.error_type, str(caught.value)) == (error_type, message)


@pytest.mark.parametrize("use_tcp", [False, True])
def test_use_vc_is_tcp(use_tcp: bool, nameserver: Nameserver) -> None:
    reply = ask(resolver(server_of(nameserver), use_tcp=use_tcp))
    assert sorted(reply.values) == ["127.0.0.10", "127.0.0.9"]
    assert [(query.transport, query.payload) for query in nameserver.queries] == [
        ("tcp" if use_tcp else "udp", 1232)
    ]


def test_of_a_truncated_answer_the_exchange_over_tcp_is_timed(nameserver: Nameserver) -> None:
    nameserver.fault("truncate", transport="udp")
    asked_at: dict[str, float] = {}

    def note(query: Query) -> None:
        asked_at[query.transport] = time.monotonic()

    nameserver.on_query = note
    reply = ask(resolver(server_of(nameserver)))
    assert asked_at["udp"] < reply.sent_at < asked_at["tcp"] < reply.arrived_at


def test_an_answer_that_is_cut_in_the_middle_of_a_record_is_asked_for_over_tcp(
    nameserver: Nameserver,
) -> None:
    cut: list[bytes] = []

    def cut_once(wire: bytes) -> bytes:
        if cut:
            return wire
        cut.append(wire)
        return wire[:2] + bytes([wire[2] | 0x02]) + wire[3:50]  # with the TC bit

    nameserver.mangle = cut_once
    assert len(ask(resolver(server_of(nameserver))).values) == 2
    assert [query.transport for query in nameserver.queries] == ["udp", "tcp"]


@pytest.mark.parametrize("use_tcp", [False, True])
def test_a_server_that_is_not_there(use_tcp: bool, nobody: Server) -> None:
    asked = resolver(nobody, use_tcp=use_tcp)
    check_fault(asked, "dns_timeout", f"{nobody}: Connection refused")


def test_a_server_that_closes_its_connection(nameserver: Nameserver) -> None:
    nameserver.fault("close")
    message = f"{nameserver} closed the connection before its answer was complete"
    check_fault(resolver(server_of(nameserver), use_tcp=True), "dns_timeout", message)


def test_another_id_over_udp_is_ignored(nameserver: Nameserver) -> None:
    """It may be forged, and the answer may still come (RFC 5452, 9.1)."""
    nameserver.fault("wrong_id")
    message = f"{nameserver} did not answer in time"
    check_fault(resolver(server_of(nameserver)), "dns_timeout", message, seconds=0.2)


def test_another_id_over_tcp_is_a_malformed_answer(nameserver: Nameserver) -> None:
    nameserver.fault("wrong_id")
    message = (
        f"{nameserver} sent a malformed answer: "
        "A DNS query response does not respond to the question asked."
    )
    check_fault(resolver(server_of(nameserver), use_tcp=True), "dns_servfail", message)


@pytest.mark.parametrize("use_tcp", [False, True])
def test_silence_ends_when_the_time_is_up(use_tcp: bool, nameserver: Nameserver) -> None:
    nameserver.fault("silence")
    message = f"{nameserver} did not answer in time"
    asked = resolver(server_of(nameserver), use_tcp=use_tcp)
    check_fault(asked, "dns_timeout", message, seconds=0.2)
    assert len(nameserver.queries) == 1


def test_when_the_time_is_up_no_server_is_asked(nameserver: Nameserver) -> None:
    message = f"{nameserver} did not answer in time"
    check_fault(resolver(server_of(nameserver)), "dns_timeout", message, seconds=0)
    assert nameserver.queries == []


def test_rotate_begins_with_another_server_each_time(nameserver: Nameserver) -> None:
    with Nameserver() as second:
        asked = resolver(server_of(nameserver), server_of(second), rotate=True)
        for _ in range(4):
            ask(asked)
        assert (nameserver.asked(), second.asked()) == (2, 2)


def test_of_several_failures_the_one_that_says_most_is_reported(
    nameserver: Nameserver, nobody: Server
) -> None:
    nameserver.fault("refused")
    asked = resolver(server_of(nameserver), nobody)
    check_fault(asked, "dns_refused", f"{nameserver} answered REFUSED")
