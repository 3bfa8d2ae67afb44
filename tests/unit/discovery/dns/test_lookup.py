"""A Service's name is asked of a nameserver on loopback."""

from __future__ import annotations

import time

from tests.loopback.nameserver import Nameserver
from worker.discovery.dns.lookup import Lookup
from worker.discovery.dns.resolvconf import Nameserver as Server
from worker.discovery.dns.resolvconf import ResolvConf
from worker.model import Answer, Endpoint, ResolutionFailure

NAME = "web.example."


def lookup(nameserver: Nameserver) -> Lookup:
    server = Server(nameserver.address, nameserver.port)
    return Lookup(NAME, 8080, "auto", ResolvConf((server,), timeout_seconds=1, attempts=1))


def ask(asked: Lookup) -> Answer | ResolutionFailure:
    return asked.ask(time.monotonic() + 5)


def test_endpoints_are_in_numerical_order_and_the_bounds_of_expiry_span_the_exchange(
    nameserver: Nameserver,
) -> None:
    before = time.monotonic()
    answer = ask(lookup(nameserver))
    after = time.monotonic()
    assert isinstance(answer, Answer)
    assert answer.qname == "web.example"
    assert answer.endpoints == (Endpoint("127.0.0.9", 8080), Endpoint("127.0.0.10", 8080))
    assert answer.ttl_seconds == 7
    assert before + 7 <= answer.expires_earliest_at <= answer.expires_latest_at <= after + 7


def test_the_first_record_type_that_answers_is_the_only_one_asked_for_from_then_on(
    nameserver: Nameserver,
) -> None:
    nameserver.set("web.example", "::2", "::1")
    asked = lookup(nameserver)
    expected = (Endpoint("::1", 8080), Endpoint("::2", 8080))
    for _ in range(2):
        answer = ask(asked)
        assert isinstance(answer, Answer)
        assert answer.endpoints == expected
    assert [query.rdtype for query in nameserver.queries] == ["A", "AAAA", "AAAA"]


def test_a_negative_answer_without_a_soa_must_not_be_cached(nameserver: Nameserver) -> None:
    nameserver.negative_ttl_seconds = None
    nameserver.remove("web.example")
    answer = ask(lookup(nameserver))
    assert isinstance(answer, Answer)
    assert (answer.endpoints, answer.rcode, answer.ttl_seconds) == ((), "NXDOMAIN", 0)


def test_a_failure_names_what_was_asked_for(nameserver: Nameserver) -> None:
    nameserver.fault("servfail")
    message = f"{nameserver} answered SERVFAIL"
    failure = ResolutionFailure("web.example", "dns_servfail", message)
    assert ask(lookup(nameserver)) == failure
