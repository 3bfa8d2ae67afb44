"""The whole program against every kind of DNS answer, good and broken."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.loopback.nameserver import FaultKind, Nameserver, Query
from tests.loopback.pods import Pods, reply
from tests.loopback.program import Entry, Finished
from tests.process.conftest import Run
from tests.process.logbook import (
    WEB,
    check_log,
    failed,
    missed,
    no_answer,
    reached,
    resolved,
    succeeded,
)

IMPATIENT = "  settle: 0s\n"
NXDOMAIN = "NXDOMAIN: no ready pods, or no such Service"
NODATA = "NODATA: no ready pods, or no such Service"

DOUBTED = "NXDOMAIN: no endpoint is listed any more; this counts once a newer answer says the same"


def config(port: int, more: str = "  settle: 3s\n", host: str = "web") -> str:
    return f"- name: clear\n  url: http://{host}:{port}/\n{more}"


def url(pods: Pods, host: str = "web") -> str:
    return f"http://{host}:{pods.port}/"


def unanswered(finished: Finished, error_type: str, error_message: str) -> list[Entry]:
    """The log entries of failed questions, as many as there were; the last one is an error."""
    count = len(finished.events("resolution.failed"))
    assert count > 0
    return [
        no_answer(number, error_type, error_message, last=number == count)
        for number in range(1, count + 1)
    ]


# --- DNS that is broken -------------------------------------------------------------------------


TRUNCATED = "{} truncated its answer over TCP as well: the records do not fit in 64 KiB"
FAULTS: dict[str, tuple[FaultKind, str, str]] = {
    "SERVFAIL": ("servfail", "dns_servfail", "{} answered SERVFAIL"),
    "REFUSED": ("refused", "dns_refused", "{} answered REFUSED"),
    "FORMERR": ("formerr", "dns_servfail", "{} answered FORMERR"),
    "NOTIMP": ("notimp", "dns_servfail", "{} answered NOTIMP"),
    "silence": ("silence", "dns_timeout", "{} did not answer in time"),
    "truncation over TCP": (
        "truncate",
        "dns_truncated",
        TRUNCATED,
    ),
    "garbage": ("garbage", "dns_servfail", "{} sent a malformed answer: {malformed}"),
    "a wrong id": ("wrong_id", "dns_timeout", "{} did not answer in time"),
    "another question": ("wrong_question", "dns_servfail", "{} answered a different question"),
}
MALFORMED = "A DNS compression pointer points forward instead of backward."  # in dnspython's words


@pytest.mark.parametrize("what", FAULTS)
def test_dns_that_only_ever_answers_with(
    what: str, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    kind, error_type, error_message = FAULTS[what]
    nameserver.fault(kind)
    # Of those that wait, the shorter time-out; the others answer within the usual one.
    options = "ndots:5 timeout:1 attempts:1" if error_type == "dns_timeout" else "ndots:5"
    finished = run(config(three_pods.port), options=options)
    text = error_message.format(nameserver, malformed=MALFORMED)
    happened = unanswered(finished, error_type, text)
    check_log(finished, url(three_pods), happened, reason=error_type, confirmed=False)
    assert finished.exit_code == 4
    assert [three_pods[number].connections for number in range(3)] == [0, 0, 0]


def test_dns_where_nobody_listens_is_a_timeout(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    with Nameserver() as ended:
        pass
    arguments = ("--nameserver", str(ended))
    finished = run(config(three_pods.port, IMPATIENT), *arguments, nameserver=None)
    happened = unanswered(finished, "dns_timeout", f"{ended}: Connection refused")
    check_log(finished, url(three_pods), happened, reason="dns_timeout", confirmed=False)
    assert nameserver.queries == []


def test_dns_that_recovers_in_time_harms_nobody(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.fault("servfail", times=3)  # both tries of the first question, one of the second
    finished = run(config(three_pods.port, "  settle: 8s\n"))
    first, *others = reached(three_pods.endpoints)
    answered = itertools.count(2)
    check_log(
        finished,
        url(three_pods),
        [
            no_answer(1, "dns_servfail", f"{nameserver} answered SERVFAIL"),
            first | {"round": next(answered)},
            *(entry | {"round": 2} for entry in others[:-1]),
            others[-1] | {"round": next(answered)},
        ],
    )
    assert list(three_pods.requests.values()) == [1, 1, 1]


Breaker = Callable[[Nameserver], None]
RECOVERIES: dict[str, Breaker] = {
    "one SERVFAIL": lambda server: server.fault("servfail", times=1),
    "one lost datagram": lambda server: server.fault("silence", times=1),
    "one answer with a wrong id": lambda server: server.fault("wrong_id", times=1),
    "one malformed answer": lambda server: server.fault("garbage", times=1),
    "truncation over UDP": lambda server: server.fault("truncate", transport="udp"),
}


@pytest.mark.parametrize("what", RECOVERIES)
def test_within_one_question_the_resolver_gets_over(
    what: str, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    RECOVERIES[what](nameserver)
    finished = run(config(three_pods.port), options="ndots:5 timeout:1 attempts:5")
    check_log(finished, url(three_pods), reached(three_pods.endpoints))
    assert list(three_pods.requests.values()) == [1, 1, 1]
    transports = {query.transport for query in nameserver.queries}
    assert transports == ({"udp", "tcp"} if what == "truncation over UDP" else {"udp"})


def test_when_only_the_second_nameserver_answers_everybody_is_reached(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    with Nameserver() as silent:
        silent.fault("silence")
        finished = run(
            config(three_pods.port),
            *("--nameserver", str(silent), "--nameserver", str(nameserver)),
            nameserver=None,
            options="ndots:5 timeout:1 attempts:5",
        )
        check_log(finished, url(three_pods), reached(three_pods.endpoints))
        assert silent.asked() > 0
    assert list(three_pods.requests.values()) == [1, 1, 1]


@pytest.mark.parametrize("fault", ["servfail", "refused"])
def test_a_failure_on_a_candidate_ends_the_search(
    fault: FaultKind, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    """The next candidate must not answer instead: it may be another team's Service."""
    nameserver.set("web.svc.cluster.local", *three_pods.addresses)
    nameserver.fault(fault, name=WEB)
    finished = run(config(three_pods.port, IMPATIENT))
    error_type = f"dns_{fault}"
    happened = unanswered(finished, error_type, f"{nameserver} answered {fault.upper()}")
    check_log(finished, url(three_pods), happened, reason=error_type, confirmed=False)
    assert list(three_pods.requests.values()) == [0, 0, 0]


def test_a_failed_a_query_never_falls_through_to_aaaa(run: Run, nameserver: Nameserver) -> None:
    with Pods(["::1"]) as pods:
        nameserver.set(WEB, "::1")
        nameserver.fault("servfail", rdtype="A")
        finished = run(config(pods.port, IMPATIENT))
        happened = unanswered(finished, "dns_servfail", f"{nameserver} answered SERVFAIL")
        check_log(finished, url(pods), happened, reason="dns_servfail", confirmed=False)
        assert nameserver.asked(rdtype="AAAA") == 0
        assert pods.requests == {"::1": 0}


# --- nobody there -------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [NXDOMAIN, NODATA])
def test_a_service_without_pods_is_told_from_broken_dns(
    message: str, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.remove(WEB)
    if message == NODATA:
        nameserver.set(WEB)
    finished = run(config(three_pods.port))
    happened = unanswered(finished, "no_pods", message)
    check_log(finished, url(three_pods), happened, reason="no_pods")
    assert [three_pods[number].connections for number in range(3)] == [0, 0, 0]


def test_a_service_that_vanishes_after_everybody_acknowledged_is_complete(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    def vanish(_: Query) -> None:
        if nameserver.asked(WEB):
            nameserver.remove(WEB)

    nameserver.on_query = vanish
    finished = run(config(three_pods.port))
    everybody = reached(three_pods.endpoints)[:-1]
    nobody = [no_answer(2, "no_pods", DOUBTED), resolved(3, 0, left=3)]
    check_log(finished, url(three_pods), [*everybody, *nobody])
    assert list(three_pods.requests.values()) == [1, 1, 1]


def test_a_service_that_vanishes_between_rounds_leaves_who_failed_failed(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    three_pods[1].script(reply(503))

    def vanish(_: Query) -> None:
        if three_pods[1].requests:
            nameserver.remove(WEB)

    nameserver.on_query = vanish
    finished = run(config(three_pods.port))
    first, second, third = three_pods.endpoints
    gave_503 = failed(second, "status", "answered 503 Service Unavailable", status_code=503)
    check_log(
        finished,
        url(three_pods),
        [
            resolved(1, 3, newcomers=3),
            succeeded(first),
            gave_503 | {"level": "warning", "retry_in_seconds": 1.0},
            succeeded(third),
            no_answer(2, "no_pods", DOUBTED),
            *(
                resolved(3 + number, 0, left=3 if not number else 0)
                for number in range(rounds(finished) - 1)
            ),
            missed(second, "status", 1, listed=False),
        ],
        reason="some_calls_failed",
    )
    assert list(three_pods.requests.values()) == [1, 1, 1]


def rounds(finished: Finished) -> int:
    return len(finished.events("endpoints.resolved"))


# --- shapes of an answer ------------------------------------------------------------------------


def test_a_dual_stack_pod_is_called_once(run: Run, nameserver: Nameserver) -> None:
    with Pods(["127.66.0.1", "::1"]) as pods:
        nameserver.set(WEB, "127.66.0.1", "::1")
        first, second = f"127.66.0.1:{pods.port}", f"[::1]:{pods.port}"
        check_log(run(config(pods.port)), url(pods), reached([first]))
        assert pods.requests == {"127.66.0.1": 1, "::1": 0}
        assert nameserver.asked(rdtype="AAAA") == 0
        finished = run(config(pods.port, "  settle: 3s\n  ip_family: ipv6\n"))
        check_log(finished, url(pods), reached([second]))
        assert pods.requests == {"127.66.0.1": 1, "::1": 1}


def test_ipv6_pods_are_called_when_there_is_no_a_record(run: Run, nameserver: Nameserver) -> None:
    with Pods(["::1"]) as pods:
        nameserver.set(WEB, "::1")
        finished = run(config(pods.port))
        check_log(finished, url(pods), reached([f"[::1]:{pods.port}"]))
        assert pods.requests == {"::1": 1}


def test_a_cname_is_followed_and_the_qname_is_the_name_asked_for(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.remove(WEB)
    nameserver.set_cname(WEB, "Other.shop.svc.cluster.local")
    nameserver.set("other.shop.svc.cluster.local", *three_pods.addresses)
    finished = run(config(three_pods.port))
    check_log(finished, url(three_pods), reached(three_pods.endpoints))
    assert list(three_pods.requests.values()) == [1, 1, 1]


def test_duplicate_records_and_mixed_case_are_one_endpoint(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.set(WEB.upper(), *three_pods.addresses, *three_pods.addresses)
    finished = run(config(three_pods.port, host="WEB"))
    check_log(finished, url(three_pods, "WEB"), reached(three_pods.endpoints))
    assert list(three_pods.requests.values()) == [1, 1, 1]


def test_without_a_cache_ttl_0_is_not_confirmed(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    """A cache that cannot reach its upstream serves old copies so (RFC 8767)."""
    nameserver.set(WEB, *three_pods.addresses, ttl=0)
    finished = run(config(three_pods.port))
    ended = finished.only("broadcast.finished")
    assert (ended["outcome"], ended["confirmed"], ended["level"]) == ("complete", False, "warning")
    assert not any(entry.get("newer") for entry in finished.events("endpoints.resolved"))
    assert list(three_pods.requests.values()) == [1, 1, 1]


@pytest.mark.parametrize("ttl", [1, 5, 86400])
def test_without_a_cache_any_ttl_is_confirmed(
    ttl: int, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.set(WEB, *three_pods.addresses, ttl=ttl)
    finished = run(config(three_pods.port))
    check_log(finished, url(three_pods), reached(three_pods.endpoints, ttl_seconds=ttl))
    assert list(three_pods.requests.values()) == [1, 1, 1]


def test_an_answer_of_a_cache_that_counts_down_is_not_taken_for_a_newer_one(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    first, *others = three_pods.addresses
    nameserver.caching_seconds = 3
    nameserver.set(WEB, first, ttl=30)

    def ready_meanwhile(query: Query) -> None:
        if query.qname == WEB and nameserver.asked(WEB) == 1:
            nameserver.set(WEB, first, *others, ttl=30)

    nameserver.on_query = ready_meanwhile
    finished = run(config(three_pods.port, "  settle: 10s\n"))
    for entry in (answers := finished.events("endpoints.resolved")):
        assert 0 <= entry["ttl_seconds"] <= 3
    endpoints = [entry["endpoints"] for entry in answers]
    newcomers = [entry["newcomers"] for entry in answers]
    late = endpoints.index(3)
    assert late > 1, "a cached copy came first"
    happened = [
        resolved(number, count, newcomers=new, ttl_seconds=entry["ttl_seconds"])
        for number, (entry, count, new) in enumerate(
            zip(answers, endpoints, newcomers, strict=True), 1
        )
    ]
    assert newcomers == [1] + [0] * (late - 1) + [2] + [0] * (len(answers) - late - 1)
    one, two, three = three_pods.endpoints
    happened.insert(late + 1, succeeded(three, late + 1))
    happened.insert(late + 1, succeeded(two, late + 1))
    happened.insert(1, succeeded(one))
    check_log(finished, url(three_pods), happened)
    assert list(three_pods.requests.values()) == [1, 1, 1]


def test_an_outcome_that_no_newer_answer_confirms_says_so(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.set(WEB, *three_pods.addresses, ttl=60)
    nameserver.caching_seconds = 60
    finished = run(config(three_pods.port, "  settle: 2s\n"))
    answers = finished.events("endpoints.resolved")
    ttls = [entry["ttl_seconds"] for entry in answers]
    assert ttls == sorted(ttls, reverse=True)
    first, *calls, _ = reached(three_pods.endpoints, ttl_seconds=ttls[0])
    later = [resolved(number, 3, ttl_seconds=ttl) for number, ttl in enumerate(ttls[1:], 2)]
    check_log(finished, url(three_pods), [first, *calls, *later], confirmed=False)
    assert list(three_pods.requests.values()) == [1, 1, 1]


PATIENT = "ndots:5 timeout:30"  # the nameserver of the tests takes a while for so many records
MANY = [f"127.67.{number // 250}.{number % 250 + 1}" for number in range(4200)]


def in_one_round(finished: Finished) -> Finished:
    """A busy machine asks once more before everybody has been called, who then has its number."""
    entries = [
        entry | ({"round": 1} if entry["event"] == "call.failed" else {})
        for entry in finished.entries
    ]
    return replace(finished, stdout="\n".join(map(json.dumps, entries)))


def test_4000_a_records_are_all_called(run: Run, nameserver: Nameserver) -> None:
    endpoints = [f"{address}:1" for address in MANY[:4000]]  # where nobody listens
    nameserver.set(WEB, *MANY[:4000])
    more = "  settle: 0s\n  attempts: 1\n  concurrency: 64\n"
    finished = run(config(1, more), options=PATIENT)
    refused = "connect_refused"
    check_log(
        in_one_round(finished),
        "http://web:1/",
        [
            resolved(1, 4000, newcomers=4000),
            *(failed(endpoint, refused, "Connection refused") for endpoint in endpoints),
            *(missed(endpoint, refused, 1) for endpoint in endpoints),
        ],
        reason="all_calls_failed",
        confirmed=False,
        concurrency=64,
    )
    assert {query.transport for query in nameserver.queries} == {"udp", "tcp"}


def test_more_a_records_than_fit_are_an_error_and_nobody_is_called(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.set(WEB, *three_pods.addresses, *MANY)
    finished = run(config(three_pods.port, IMPATIENT), options=PATIENT)
    message = TRUNCATED.format(nameserver)
    happened = unanswered(finished, "dns_truncated", message)
    check_log(finished, url(three_pods), happened, reason="dns_truncated", confirmed=False)
    assert [three_pods[number].connections for number in range(3)] == [0, 0, 0]


# --- the search list ----------------------------------------------------------------------------


def test_a_wildcard_outside_the_cluster_gets_no_connection_and_no_credentials(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.remove(WEB)
    for name in ("web.corp.example.com", "web"):
        nameserver.set(name, *three_pods.addresses)
    finished = run(
        config(three_pods.port, "  settle: 0s\n  auth: {bearer: {env: TOKEN}}\n"),
        search=("default.svc.cluster.local", "svc.cluster.local", "corp.example.com"),
        environment={"TOKEN": "s3cret"},
    )
    happened = unanswered(finished, "no_pods", NXDOMAIN)
    check_log(finished, url(three_pods), happened, reason="no_pods", confirmed=False)
    assert [three_pods[number].connections for number in range(3)] == [0, 0, 0]
    assert {query.qname for query in nameserver.queries} == {WEB, "web.svc.cluster.local"}


def test_a_name_outside_the_cluster_needs_a_trailing_dot(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    name = "web.corp.example.com"
    nameserver.set(name, *three_pods.addresses)
    finished = run(config(three_pods.port, host=f"{name}."))
    check_log(finished, url(three_pods, f"{name}."), reached(three_pods.endpoints, qname=name))
    for number in range(3):
        (request,) = three_pods[number].requests
        assert request.header("Host") == f"{name}:{three_pods.port}"
