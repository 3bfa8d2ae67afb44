"""Hints from records alone: what is alike, and what only the records can show.

Each sentence is asserted whole where the program provokes it, in tests/process/test_hints.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.records import broadcast, changed
from worker.model import Auth, Broadcast, CallResult, Endpoint, Tls
from worker.report.hints import HINTS, hint
from worker.report.records import BroadcastReport, EndpointReport
from worker.words import CallError, Ending

BROADCAST = broadcast("http://web.shop:8080/clear", method="PURGE")
HTTPS = broadcast("https://web.shop:8080/clear", method="PURGE")
ACKNOWLEDGED = EndpointReport(Endpoint("10.0.0.9", 8080), "acknowledged", 1)


def failed(error_type: CallError, **last: Any) -> EndpointReport:
    address = Endpoint("10.0.0.1", 8080)
    call = CallResult(address, "0" * 16, 0.1, error_type=error_type, **last)
    return EndpointReport(address, "failed", 1, error_type, last=call)


def report(*endpoints: EndpointReport, **changes: Any) -> BroadcastReport:
    fields: dict[str, Any] = {
        "name": "clear",
        "outcome": "failed",
        "reason": "all_calls_failed",
        "endpoints": endpoints,
        "rounds": 2,
        "calls": 3,
        "confirmed": True,
        "duration_seconds": 1.5,
    }
    return BroadcastReport(**fields | changes)


@pytest.mark.parametrize(
    "endpoints",
    [
        [failed("timeout"), failed("connect_refused")],
        [failed("status", status_code=400), failed("status", status_code=404)],
        [failed("tls", error_message="a"), failed("tls", error_message="b")],
        [failed("timeout"), EndpointReport(Endpoint("10.0.0.2", 8080), "failed", 0, "deadline")],
        [failed("status", status_code=409)],
    ],
)
def test_failures_that_are_not_alike_or_say_nothing_have_no_hint(
    endpoints: list[EndpointReport],
) -> None:
    assert hint(BROADCAST, report(*endpoints)) is None


def test_a_confirmed_complete_broadcast_has_no_hint() -> None:
    done = report(ACKNOWLEDGED, outcome="complete", reason=None)
    assert hint(BROADCAST, done) is None


def test_400_and_421_are_alike() -> None:
    both = [failed("status", status_code=code) for code in (421, 400)]
    assert hint(BROADCAST, report(*both)) == (
        "the app may check the Host header: set headers.Host to the name that it expects"
    )


def test_at_the_deadline_calls_that_failed_alike_say_more_than_the_deadline() -> None:
    late = failed("status", status_code=401)._replace(error_type="deadline")
    assert hint(BROADCAST, report(late, reason="deadline")) == (
        "the pods require credentials: set auth"
    )
    uncalled = EndpointReport(Endpoint("10.0.0.2", 8080), "failed", 0, "deadline")
    mixed = report(late, uncalled, reason="deadline", duration_seconds=300.0)
    assert hint(BROADCAST, mixed) == OWN_DEADLINE.replace("MISSED", "2 of 2")


OWN_DEADLINE = (
    "the deadline of 300 s passed before MISSED endpoints had acknowledged: raise deadline"
)
RUN_DEADLINE = (
    "the run's deadline passed before MISSED endpoints had acknowledged: "
    "raise --deadline, or select fewer broadcasts for a run"
)


@pytest.mark.parametrize(
    ("by_run", "seconds", "expected"),
    [
        (True, 299.9, RUN_DEADLINE),
        (True, 300.4, RUN_DEADLINE),  # reported late
        (False, 300.0, OWN_DEADLINE),
        (False, 300.4, OWN_DEADLINE),
    ],
)
@pytest.mark.parametrize(
    "cut", [failed("deadline"), EndpointReport(Endpoint("10.0.0.2", 8080), "failed", 0, "deadline")]
)
def test_the_ledger_says_whose_deadline_it_was(
    cut: EndpointReport, by_run: bool, seconds: float, expected: str
) -> None:
    deadline: dict[str, Any] = {"duration_seconds": seconds, "ended_by_run": by_run}
    ended = report(ACKNOWLEDGED, cut, reason="deadline", **deadline)
    assert hint(BROADCAST, ended) == expected.replace("MISSED", "1 of 2")


UNCONFIRMED = "before a newer answer could confirm the result: "


@pytest.mark.parametrize(
    ("ending", "seconds", "expected"),
    [
        ("stopped", 1.5, f"the run was stopped {UNCONFIRMED}run it again"),
        (
            "deadline",
            1.5,
            f"the run's deadline passed {UNCONFIRMED}"
            "raise --deadline, or select fewer broadcasts for a run",
        ),
        ("deadline", 300.0, f"the deadline of 300 s passed {UNCONFIRMED}raise deadline"),
        (
            "settle",
            40.1,
            "DNS gave no newer answer within 40 s: "
            "set settle to more than the TTL of the DNS cache (40s for the usual 30s)",
        ),
    ],
)
def test_what_ended_the_wait_for_a_newer_answer_is_named(
    ending: Ending, seconds: float, expected: str
) -> None:
    fields: dict[str, Any] = {"outcome": "complete", "reason": None, "confirmed": False}
    fields |= {"ended_by_run": seconds < BROADCAST.deadline_seconds}
    ended = report(ACKNOWLEDGED, **fields, ending=ending, duration_seconds=seconds)
    assert hint(BROADCAST, ended) == expected


def test_a_deadline_that_came_before_anybody_was_known() -> None:
    ended = report(reason="deadline", duration_seconds=300.0)
    assert hint(BROADCAST, ended) == "the deadline of 300 s passed: raise deadline"


@pytest.mark.parametrize(
    ("concurrency", "stagger_seconds", "remedies"),
    [
        (2, 0.0, "raise deadline"),
        (1, 0.0, "raise deadline or concurrency"),
        (2, 0.5, "raise deadline, or lower stagger"),
        (1, 0.5, "raise deadline or concurrency, or lower stagger"),
    ],
)
def test_the_hint_of_a_deadline_proposes_only_what_held_the_calls_up(
    concurrency: int, stagger_seconds: float, remedies: str
) -> None:
    broadcast = BROADCAST._replace(concurrency=concurrency, stagger_seconds=stagger_seconds)
    ended = report(ACKNOWLEDGED, failed("deadline"), reason="deadline", duration_seconds=300.0)
    assert str(hint(broadcast, ended)).endswith(f" endpoints had acknowledged: {remedies}")


def test_after_a_stop_signal_calls_that_failed_alike_do_not_count() -> None:
    both = failed("timeout"), EndpointReport(Endpoint("10.0.0.2", 8080), "cancelled", 0)
    assert hint(BROADCAST, report(*both, reason="cancelled")) == (
        "the run was stopped before it was done: run it again "
        "(if Kubernetes stopped it, kubectl describe job and pod say why)"
    )


def test_no_hint_proposes_to_trust_anybody() -> None:
    assert not [text for text in HINTS.values() if "insecure" in text]


@pytest.mark.parametrize("host", ["web", "web.shop", "web.shop.svc.cluster.local.", "web."])
def test_no_pods_names_the_namespace_that_the_url_has(host: str) -> None:
    namespace = " -n shop" if "shop" in host else ""
    text = hint(broadcast(f"http://{host}/"), report(reason="no_pods"))
    assert text == (
        "does the Service's selector match pods, are they ready, is the name right? "
        f"kubectl get endpointslices{namespace} -l kubernetes.io/service-name=web"
    )


@pytest.mark.parametrize(
    ("broadcast", "endpoint", "expected"),
    [
        (
            BROADCAST,
            failed("unreachable"),
            "there is no route to the pods: is this pod in the cluster's network? "
            "in a cluster with IPv4 and IPv6, set ip_family to the one that this pod has",
        ),
        (
            BROADCAST,
            failed("redirect"),
            "the pods redirect, which leads away from them: "
            "to accept that, list the status code in expect.status",
        ),
        (
            changed(BROADCAST, headers=(("authorization", "x"),)),
            failed("status", status_code=401),
            "the pods reject these credentials: compare the Secret with what the app expects",
        ),
        (
            changed(BROADCAST, auth=Auth(bearer="x")),
            failed("status", status_code=403),
            "this account is not allowed to PURGE here: give it that right in the app",
        ),
        (
            changed(HTTPS, tls=Tls(cert_file="/crt.pem")),
            failed("tls", error_message="TLSV1_ALERT_UNKNOWN_CA"),
            "the pods do not accept tls.cert_file: use a certificate of a CA that they trust",
        ),
        (
            HTTPS,
            failed("tls", error_message="NO_PROTOCOLS_AVAILABLE"),
            "no TLS version or cipher in common: see what the pods offer with "
            "openssl s_client -connect POD:8080",
        ),
    ],
)
def test_hints_that_need_more_than_loopback(
    broadcast: Broadcast, endpoint: EndpointReport, expected: str
) -> None:
    assert hint(broadcast, report(endpoint)) == expected
