"""The whole program against the shapes and faults that DNS answers come in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.loopback.nameserver import Nameserver, Query
from tests.loopback.pods import Pods
from tests.loopback.program import stable
from tests.process.conftest import Run
from tests.process.test_failures import check_the_end

WEB = "web.default.svc.cluster.local"


def config(port: int, more: str = "  settle: 3s\n", host: str = "web") -> str:
    return f"- name: clear\n  url: http://{host}:{port}/\n{more}"


def test_when_only_the_second_nameserver_answers_everybody_is_reached(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    with Nameserver() as silent:
        silent.fault("silence")
        finished = run(
            config(three_pods.port),
            *("--nameserver", str(silent), "--nameserver", str(nameserver)),
            nameserver=None,
            options="ndots:5 timeout:1 attempts:1",
        )
        check_the_end(finished)
        assert finished.exit_code == 0, finished.stdout
        assert silent.asked() > 0
    assert list(three_pods.requests.values()) == [1, 1, 1]


@pytest.mark.parametrize(("first", "second"), [("servfail", "dns_servfail"), ("refused", None)])
def test_a_failure_on_a_candidate_ends_the_search(
    first: str, second: str | None, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    """Another candidate must not answer in its place: it may be another team's Service."""
    nameserver.set("web.svc.cluster.local", *three_pods.addresses)
    nameserver.fault("servfail" if first == "servfail" else "refused", name=WEB)
    finished = run(config(three_pods.port, "  settle: 0s\n"))
    check_the_end(finished)
    assert finished.exit_code == 4
    assert finished.only("broadcast.finished")["reason"] == (second or "dns_refused")
    assert list(three_pods.requests.values()) == [0, 0, 0]


def test_a_failed_a_query_never_falls_through_to_aaaa(run: Run, nameserver: Nameserver) -> None:
    with Pods(["::1"]) as pods:
        nameserver.set(WEB, "::1")
        nameserver.fault("servfail", rdtype="A")
        finished = run(config(pods.port, "  settle: 0s\n"))
        assert finished.exit_code == 4
        assert nameserver.asked(rdtype="AAAA") == 0
        assert pods.requests == {"::1": 0}


def test_a_dual_stack_pod_is_called_once(run: Run, nameserver: Nameserver) -> None:
    with Pods(["127.66.0.1", "::1"]) as pods:
        nameserver.set(WEB, "127.66.0.1", "::1")
        finished = run(config(pods.port))
        assert finished.exit_code == 0, finished.stdout
        assert pods.requests == {"127.66.0.1": 1, "::1": 0}
        assert nameserver.asked(rdtype="AAAA") == 0
        finished = run(config(pods.port, "  settle: 3s\n  ip_family: ipv6\n"))
        assert finished.exit_code == 0, finished.stdout
        assert pods.requests == {"127.66.0.1": 1, "::1": 1}


def test_a_cname_is_followed_and_the_qname_is_the_name_asked_for(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.remove(WEB)
    nameserver.set_cname(WEB, "Other.shop.svc.cluster.local")
    nameserver.set("other.shop.svc.cluster.local", *three_pods.addresses)
    finished = run(config(three_pods.port))
    assert finished.exit_code == 0, finished.stdout
    assert {entry["qname"] for entry in finished.events("endpoints.resolved")} == {WEB}


def test_duplicate_records_and_mixed_case_are_one_endpoint(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.set(WEB.upper(), *three_pods.addresses, *three_pods.addresses)
    finished = run(config(three_pods.port, host="WEB"))
    assert finished.exit_code == 0, finished.stdout
    assert list(three_pods.requests.values()) == [1, 1, 1]


@pytest.mark.parametrize("ttl", [0, 1, 5, 86400])
def test_without_a_cache_any_ttl_is_confirmed(
    ttl: int, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.set(WEB, *three_pods.addresses, ttl=ttl)
    finished = run(config(three_pods.port))
    assert finished.exit_code == 0, finished.stdout
    done = finished.only("broadcast.finished")
    assert (done["confirmed"], done["rounds"]) == (True, 2)


def test_a_service_that_vanishes_after_everybody_acknowledged_is_complete(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    def vanish(_: Query) -> None:
        if nameserver.asked(WEB):
            nameserver.remove(WEB)

    nameserver.on_query = vanish
    finished = run(config(three_pods.port))
    check_the_end(finished)
    assert finished.exit_code == 0, finished.stdout
    assert [entry["left"] for entry in finished.events("endpoints.resolved")] == [0, 3]


def test_a_ptr_that_never_answers_costs_a_second_and_nothing_else(
    run: Run, nameserver: Nameserver
) -> None:
    with Pods(1) as pods:
        nameserver.set(WEB, *pods.addresses)
        nameserver.fault("silence", rdtype="PTR")
        finished = run(config(pods.port))
        assert finished.exit_code == 0, finished.stdout
        assert nameserver.asked(rdtype="PTR") == 1
        assert list(pods.requests.values()) == [1]


def test_a_ptr_that_names_the_pod_is_no_virtual_address(run: Run, nameserver: Nameserver) -> None:
    with Pods(1) as pods:
        nameserver.set(WEB, *pods.addresses)
        nameserver.set_ptr(pods.addresses[0], f"10-0-0-1.{WEB}")
        assert run(config(pods.port)).exit_code == 0


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
    check_the_end(finished)
    assert finished.exit_code == 4
    assert [three_pods[number].connections for number in range(3)] == [0, 0, 0]


def test_a_name_outside_the_cluster_needs_a_trailing_dot(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.set("web.corp.example.com", *three_pods.addresses)
    finished = run(config(three_pods.port, host="web.corp.example.com."))
    assert finished.exit_code == 0, finished.stdout
    (request,) = three_pods[0].requests
    assert request.header("Host") == f"web.corp.example.com:{three_pods.port}"


MANY = [f"127.67.{number // 250}.{number % 250 + 1}" for number in range(4200)]


@pytest.mark.parametrize(("listed", "exit_code"), [(4000, 4), (4200, 4)])
def test_4000_a_records_are_all_called_and_more_than_fit_are_an_error(
    listed: int, exit_code: int, run: Run, nameserver: Nameserver
) -> None:
    nameserver.set(WEB, *MANY[:listed])
    finished = run(
        # Nobody listens: what counts is that all were called, or nobody.
        config(1, "  settle: 0s\n  attempts: 1\n  concurrency: 64\n"),
        "--log-level",
        "error",
    )
    check_the_end(finished)
    assert finished.exit_code == exit_code
    done = finished.only("broadcast.finished")
    if listed == 4000:
        assert (done["seen"], done["failed"], done["calls"]) == (4000, 4000, 4000)
    else:
        assert (done["seen"], done["reason"]) == (0, "dns_truncated")


Breaker = Callable[[Nameserver], None]
RECOVERIES: dict[str, Breaker] = {
    "one SERVFAIL": lambda server: server.fault("servfail", times=1),
    "one lost datagram": lambda server: server.fault("silence", times=1),
    "one answer with a wrong id": lambda server: server.fault("wrong_id", times=1),
    "one malformed answer": lambda server: server.fault("garbage", times=1),
}


@pytest.mark.parametrize("what", RECOVERIES)
def test_within_one_question_the_resolver_gets_over(
    what: str, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    RECOVERIES[what](nameserver)
    finished = run(config(three_pods.port), options="ndots:5 timeout:1 attempts:2")
    assert finished.exit_code == 0, finished.stdout
    assert finished.events("resolution.failed") == []


def test_the_last_resolution_failed_is_an_error_and_those_before_are_warnings(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.fault("refused")
    finished = run(config(three_pods.port, "  settle: 2s\n"))
    *before, last = (stable(entry) for entry in finished.events("resolution.failed"))
    assert {entry["level"] for entry in before} == {"warning"}
    assert last == {
        "level": "error",
        "event": "resolution.failed",
        "broadcast": "clear",
        "round": len(before) + 1,
        "qname": WEB,
        "error_type": "dns_refused",
        "error_message": f"{nameserver} answered REFUSED",
    }
