"""Hints from records alone: what is alike, and what only the records can show.

Each sentence is asserted whole where the program provokes it, in tests/process/test_hints.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from worker.model import (
    Auth,
    Broadcast,
    BroadcastReport,
    CallError,
    CallResult,
    Endpoint,
    EndpointReport,
    Tls,
)
from worker.report.hints import hint

BROADCAST = Broadcast(
    name="clear",
    url="http://web.shop:8080/clear",
    https=False,
    host="web.shop",
    port=8080,
    method="PURGE",
)
HTTPS = BROADCAST._replace(url="https://web.shop:8080/clear", https=True)
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
        "does the app check the Host header? set headers.Host to the name that it expects"
    )


def test_at_the_deadline_calls_that_failed_alike_say_more_than_the_deadline() -> None:
    late = failed("status", status_code=401)._replace(error_type="deadline")
    assert hint(BROADCAST, report(late, reason="deadline")) == (
        "the pods want credentials: set auth"
    )
    uncalled = EndpointReport(Endpoint("10.0.0.2", 8080), "failed", 0, "deadline")
    assert hint(BROADCAST, report(late, uncalled, reason="deadline")) == (
        "300 s were over with 2 of 2 endpoints still owed: "
        "raise deadline or concurrency, or lower timeout and stagger"
    )


@pytest.mark.parametrize("host", ["web", "web.shop", "web.shop.svc.cluster.local.", "web."])
def test_no_pods_names_the_namespace_that_the_url_has(host: str) -> None:
    namespace = " -n shop" if "shop" in host else ""
    text = hint(BROADCAST._replace(host=host), report(reason="no_pods"))
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
            "no route to the pods: is this pod in the cluster's network? with two address "
            "families, set ip_family to the one that it has",
        ),
        (
            BROADCAST,
            failed("redirect"),
            "redirects lead away from the pod: list their status in expect.status to accept them",
        ),
        (
            BROADCAST._replace(headers=(("authorization", "x"),)),
            failed("status", status_code=401),
            "the pods refuse these credentials: compare the Secret with what the app expects",
        ),
        (
            BROADCAST._replace(auth=Auth(bearer="x")),
            failed("status", status_code=403),
            "may this account PURGE here? give it that right in the app",
        ),
        (
            HTTPS._replace(tls=Tls(cert_file="/crt.pem")),
            failed("tls", error_message="TLSV1_ALERT_UNKNOWN_CA"),
            "the pods do not accept tls.cert_file: show one of a CA that they trust",
        ),
        (
            HTTPS,
            failed("tls", error_message="NO_PROTOCOLS_AVAILABLE"),
            "the TLS versions or ciphers do not meet: see what the pods offer with "
            "openssl s_client -connect POD:8080",
        ),
    ],
)
def test_hints_that_need_more_than_loopback(
    broadcast: Broadcast, endpoint: EndpointReport, expected: str
) -> None:
    assert hint(broadcast, report(endpoint)) == expected
