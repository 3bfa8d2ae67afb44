"""One question is asked of nameservers on loopback."""

from __future__ import annotations

import contextlib
import socket
import time

import dns.name
import dns.rdatatype
import pytest

from tests.loopback.nameserver import FaultKind, Nameserver, Query
from worker.discovery.dns.resolvconf import Nameserver as Server
from worker.discovery.dns.resolvconf import ResolvConf
from worker.discovery.dns.resolver import Fault, Reply, Resolver
from worker.words import ResolutionError

NAME = dns.name.from_text("web.example.")


def server_of(nameserver: Nameserver) -> Server:
    return Server(nameserver.address, nameserver.port)


def resolver(*servers: Server, rotate: bool = False, use_tcp: bool = False) -> Resolver:
    return Resolver(
        ResolvConf(servers, timeout_seconds=5, attempts=1, rotate=rotate, use_tcp=use_tcp)
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


def test_a_query_that_comes_back_over_udp_is_ignored(nameserver: Nameserver) -> None:
    nameserver.mangle = lambda wire: wire[:2] + bytes([wire[2] & 0x7F]) + wire[3:]
    message = f"{nameserver} did not answer in time"
    check_fault(resolver(server_of(nameserver)), "dns_timeout", message, seconds=0.2)


def test_another_id_over_tcp_is_the_answer_to_a_different_question(
    nameserver: Nameserver,
) -> None:
    nameserver.fault("wrong_id")
    message = f"{nameserver} answered a different question"
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


def test_a_server_that_has_never_answered_is_asked_last(nameserver: Nameserver) -> None:
    with Nameserver() as silent:
        silent.set("web.example", "127.0.0.10", "127.0.0.9")
        silent.fault("silence", times=2)
        asked = Resolver(
            ResolvConf((server_of(silent), server_of(nameserver)), timeout_seconds=1, attempts=5)
        )
        for times in (1, 2, 2):
            ask(asked)
            assert silent.asked() == times
        nameserver.fault("silence", times=1)
        ask(asked)  # of this one, and then of the first, which answers
        ask(asked)
        assert silent.asked() == 4


def test_a_server_that_has_answered_keeps_its_place_whatever_is_lost(
    nameserver: Nameserver,
) -> None:
    with Nameserver() as ignorant:
        asked = Resolver(
            ResolvConf((server_of(nameserver), server_of(ignorant)), timeout_seconds=1, attempts=5)
        )
        ask(asked)
        for _ in range(3):
            nameserver.fault("silence", times=1)
            assert ask(asked).values == ()
        assert len(ask(asked).values) == 2


def test_a_server_that_has_answered_with_a_failure_keeps_its_place_too(
    nameserver: Nameserver,
) -> None:
    with Nameserver() as second:
        second.set("web.example", "127.0.0.10")
        asked = Resolver(
            ResolvConf((server_of(nameserver), server_of(second)), timeout_seconds=1, attempts=1)
        )
        nameserver.fault("servfail", times=1)
        ask(asked)
        nameserver.fault("silence", times=2)
        ask(asked)
        ask(asked)
        assert len(ask(asked).values) == 2  # of the first


def test_where_the_records_do_not_fit_no_other_server_is_asked(nameserver: Nameserver) -> None:
    with Nameserver() as second:
        second.set("web.example", "127.0.0.10")
        nameserver.fault("truncate")
        asked = resolver(server_of(nameserver), server_of(second))
        with pytest.raises(Fault) as caught:
            ask(asked)
        assert caught.value.error_type == "dns_truncated"
        assert second.queries == []


def test_a_connection_that_is_not_accepted_ends_when_the_time_is_up() -> None:
    """The queue of a server that accepts nobody is full: what comes now is dropped."""
    with socket.socket() as server, contextlib.ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        asked = resolver(Server(*server.getsockname()), use_tcp=True)
        message = f"127.0.0.1:{server.getsockname()[1]} did not answer in time"
        check_fault(asked, "dns_timeout", message, seconds=0.2)


def test_of_several_failures_the_one_that_says_most_is_reported(
    nameserver: Nameserver, nobody: Server
) -> None:
    nameserver.fault("refused")
    asked = resolver(server_of(nameserver), nobody)
    check_fault(asked, "dns_refused", f"{nameserver} answered REFUSED")


@pytest.mark.parametrize("use_tcp", [False, True])
@pytest.mark.parametrize("kind", ["formerr", "notimp", "badvers"])
def test_a_server_that_does_not_know_edns_is_asked_once_more_without_it(
    kind: FaultKind, use_tcp: bool, nameserver: Nameserver
) -> None:
    nameserver.fault(kind, only_edns=True)
    reply = ask(resolver(server_of(nameserver), use_tcp=use_tcp))
    assert len(reply.values) == 2
    assert [query.payload for query in nameserver.queries] == [1232, 0]


def test_without_edns_an_answer_that_does_not_fit_is_asked_for_over_tcp(
    nameserver: Nameserver,
) -> None:
    nameserver.set("web.example", *(f"127.0.1.{number}" for number in range(1, 101)))
    nameserver.fault("formerr", only_edns=True)
    assert len(ask(resolver(server_of(nameserver))).values) == 100
    assert [(query.transport, query.payload) for query in nameserver.queries] == [
        ("udp", 1232),
        ("udp", 0),
        ("tcp", 0),
    ]


@pytest.mark.parametrize("use_tcp", [False, True])
def test_bytes_after_the_message_are_ignored(use_tcp: bool, nameserver: Nameserver) -> None:
    nameserver.mangle = lambda wire: wire + b"more"
    assert len(ask(resolver(server_of(nameserver), use_tcp=use_tcp)).values) == 2


@pytest.mark.parametrize("use_tcp", [False, True])
def test_an_answer_that_does_not_repeat_the_question_is_the_answer(
    use_tcp: bool, nameserver: Nameserver
) -> None:
    nameserver.fault("no_question")
    assert len(ask(resolver(server_of(nameserver), use_tcp=use_tcp)).values) == 2


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("referral", "{} referred to other servers instead of answering"),
        ("other_owner", "{} answered with records that were not asked for"),
    ],
)
def test_an_answer_about_something_else_does_not_say_nobody(
    kind: FaultKind, message: str, nameserver: Nameserver
) -> None:
    nameserver.fault(kind)
    check_fault(resolver(server_of(nameserver)), "dns_servfail", message.format(nameserver))


@pytest.mark.parametrize(
    ("absence", "soa"), [("NXDOMAIN", True), ("NXDOMAIN", False), ("NODATA", True)]
)
def test_a_negative_answer_may_name_the_zones_servers(
    absence: str, soa: bool, nameserver: Nameserver
) -> None:
    """RFC 2308, 2.1 and 2.2: types 1 and 4 of NXDOMAIN, and type 1 of NODATA."""
    nameserver.negative_ttl_seconds = 5 if soa else None
    nameserver.remove("web.example")
    if absence == "NODATA":
        nameserver.set("web.example")
    nameserver.refers = True
    reply = ask(resolver(server_of(nameserver)))
    assert (reply.absence, reply.values) == (absence, ())


@pytest.mark.parametrize(
    ("ttl", "extended_error", "stale"),
    [(7, None, False), (0, None, True), (7, 3, True), (7, 19, True), (7, 4, False)],
)
def test_a_stale_answer_is_told_by_its_ttl_or_its_extended_error(
    ttl: int, extended_error: int | None, stale: bool, nameserver: Nameserver
) -> None:
    nameserver.set("web.example", "127.0.0.9", ttl=ttl)
    nameserver.extended_error = extended_error
    assert ask(resolver(server_of(nameserver))).stale is stale


@pytest.mark.parametrize(("negative_ttl", "stale"), [(5, False), (0, True), (None, True)])
def test_a_negative_answer_without_a_soa_may_be_stale(
    negative_ttl: int | None, stale: bool, nameserver: Nameserver
) -> None:
    nameserver.negative_ttl_seconds = negative_ttl
    nameserver.remove("web.example")
    assert ask(resolver(server_of(nameserver))).stale is stale


def test_after_a_server_that_cannot_be_asked_the_next_one_is(nameserver: Nameserver) -> None:
    gone = Server("fe80::1%eth9")
    assert len(ask(resolver(gone, server_of(nameserver))).values) == 2
    with pytest.raises(Fault, match="fe80::1%eth9"):
        ask(resolver(gone))
