"""What the last lines say, from records alone."""

from __future__ import annotations

import json
from typing import Any

from tests.records import broadcast
from tests.unit.report.test_outcome import (
    ACKNOWLEDGED,
    CANCELLED,
    FAILED,
    GONE,
    broadcast_report,
    endpoint,
)
from worker.log.events import BY_NAME
from worker.log.masking import Masker
from worker.log.setup import MAX_TERMINATION_MESSAGE_BYTES, summary_line
from worker.model import Endpoint, Target
from worker.report.records import BroadcastReport, EndpointReport, RunReport
from worker.report.summary import joined, of_broadcast, of_endpoint, of_run

COMPLETE = broadcast_report(ACKNOWLEDGED, outcome="complete", reason=None)


def summary(*reports: BroadcastReport) -> dict[str, Any]:
    return of_run(RunReport(reports, 7.5), [broadcast(name=report.name) for report in reports])


def sentence(*reports: BroadcastReport) -> str:
    return BY_NAME["run.finished"].message(summary(*reports))


def status(number: int, code: int = 503, attempts: int = 5, pod: str = "") -> EndpointReport:
    message = f"answered {code} Oops"
    report = endpoint(number, "failed", "status", status_code=code, error_message=message)
    target = Target(pod, "node-1", "") if pod else None
    return report._replace(attempts=attempts, target=target)


def test_the_worst_broadcast_is_in_the_last_line_and_the_others_behind_it() -> None:
    bad = broadcast_report(status(2), FAILED, name="purge", reason="all_calls_failed")
    partial = broadcast_report(
        ACKNOWLEDGED, FAILED, GONE, CANCELLED, outcome="partial", reason="some_calls_failed"
    )
    empty = broadcast_report(name="warm", reason="no_pods")
    assert summary(COMPLETE, partial, bad, empty) == {
        "outcome": "failed",
        "exit_code": 4,
        "broadcasts_complete": 1,
        "broadcasts_partial": 1,
        "broadcasts_failed": 2,
        "seen": 7,
        "acknowledged": 2,
        "failed": 3,
        "gone": 1,
        "cancelled": 1,
        "duration_seconds": 7.5,
        "worst_broadcast": "purge",
        "reason": "all_calls_failed",
        "hint": None,
        "missed_endpoints": (
            "10.0.0.2:8080 status 503 after 5 calls, 10.0.0.2:8080 timeout after 1 call"
        ),
        "other_broadcasts": "warm failed (no_pods), clear partial (some_calls_failed)",
    }
    assert sentence(COMPLETE, partial, bad, empty) == (
        "failed, exit code 4: 1 of 4 broadcasts complete; purge: all_calls_failed. "
        "Missed: 10.0.0.2:8080 status 503 after 5 calls, 10.0.0.2:8080 timeout after 1 call. "
        "Others: warm failed (no_pods), clear partial (some_calls_failed)"
    )


def test_a_failed_run_never_says_that_all_endpoints_acknowledged() -> None:
    nobody = broadcast_report(name="warm", reason="no_pods", ending="settle")
    hint = summary(COMPLETE, nobody)["hint"]
    assert sentence(COMPLETE, nobody) == (
        f"failed, exit code 4: 1 of 2 broadcasts complete; warm: no_pods. Hint: {hint}"
    )


def test_a_complete_run_names_no_broadcast() -> None:
    assert sentence(COMPLETE, COMPLETE) == ("complete, exit code 0: 2 of 2 endpoints acknowledged")
    assert "worst_broadcast" not in summary(COMPLETE)


def test_who_was_cancelled_is_behind_who_failed() -> None:
    report = broadcast_report(CANCELLED._replace(attempts=0), FAILED, reason="cancelled")
    assert summary(report)["missed_endpoints"] == (
        "10.0.0.2:8080 timeout after 1 call, 10.0.0.4:8080 cancelled without a call"
    )
    assert sentence(report).startswith(
        "failed, exit code 4: 0 of 2 endpoints acknowledged, 1 failed, 1 cancelled; "
        "clear: cancelled. "
    )


def test_pods_are_named() -> None:
    failed = status(2, 500, pod="web-1")
    not_ready = {Endpoint("10.0.0.9", 8080): Target("web-2", "node-1", "")}
    report = broadcast_report(failed, not_ready=not_ready)
    fields = of_broadcast(broadcast(discovery="endpointslices"), report)
    assert fields["failed_endpoints"] == "web-1 (10.0.0.2:8080) status 500 after 5 calls"
    assert (fields["not_ready"], fields["not_ready_endpoints"]) == (1, "web-2 (10.0.0.9:8080)")


def test_a_failed_endpoint_says_what_was_answered() -> None:
    assert of_endpoint(status(2, 500)) == {
        "error_type": "status",
        "status_code": 500,
        "error_message": "answered 500 Oops",
        "listed": True,
    }
    line = BY_NAME["endpoint.failed"].message
    fields = {"endpoint": "10.0.0.2:8080", "attempts": 5}
    assert line(fields | of_endpoint(status(2, 500))) == (
        "10.0.0.2:8080 was missed after 5 calls: status: answered 500 Oops"
    )
    late = status(2, 500)._replace(error_type="deadline")
    assert line(fields | of_endpoint(late)) == (
        "10.0.0.2:8080 was missed after 5 calls: deadline: answered 500 Oops"
    )
    never = EndpointReport(Endpoint("10.0.0.2", 8080), "failed", 0, "deadline")
    assert line({"endpoint": "10.0.0.2:8080", "attempts": 0} | of_endpoint(never)) == (
        "10.0.0.2:8080 was missed without a call: deadline"
    )


def test_a_list_ends_with_a_whole_entry_and_says_how_many_more_there_are() -> None:
    entries = [f"10.0.0.{number}:80" for number in range(1, 10)]
    assert joined([], 100) is None
    assert joined(entries, 1000) == ", ".join(entries)
    whole = ", ".join(entries)
    assert joined(entries, len(whole)) == whole
    assert joined(entries, len(whole) - 1) == ", ".join([*entries[:8], "and 1 more"])
    assert joined(entries, 40) == "10.0.0.1:80, 10.0.0.2:80, and 7 more"
    assert joined(["é" * 10, "b"], 21) == "and 2 more"
    for limit in range(10, len(whole)):
        text = joined(entries, limit)
        assert text is not None
        assert len(text) <= limit
        *shown, more = text.split(", ")
        assert shown == entries[: len(shown)]
        assert more == f"and {9 - len(shown)} more"


def test_the_termination_message_of_a_large_run_has_whole_entries() -> None:
    reports = [
        broadcast_report(
            *(status(number, pod="web-7d4b9c6f5-x2x7k") for number in range(200)),
            name=f"purge-the-cache-of-shop-{number}",
        )
        for number in range(300)
    ]
    line = summary_line(summary(*reports) | {"run_id": "0" * 32}, Masker())
    assert 3000 < len(line) <= MAX_TERMINATION_MESSAGE_BYTES
    message = json.loads(line)
    *shown, more = message["missed_endpoints"].split(", ")
    assert len(shown) > 25
    assert more == f"and {200 - len(shown)} more"
    assert shown[-1] == (
        f"web-7d4b9c6f5-x2x7k (10.0.0.{len(shown) - 1}:8080) status 503 after 5 calls"
    )
    *shown, more = message["other_broadcasts"].split(", ")
    assert more == f"and {299 - len(shown)} more"
    assert shown[0] == "purge-the-cache-of-shop-1 failed (all_calls_failed)"
    assert json.loads(line)["worst_broadcast"] == "purge-the-cache-of-shop-0"
