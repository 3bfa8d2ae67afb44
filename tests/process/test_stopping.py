"""SIGTERM and SIGINT: who is owed a call is reported, and the exit code says so."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods, reply, silent
from tests.loopback.program import Worker, stable
from worker.report import EXIT_SIGNAL_BASE

STOPS = [signal.SIGTERM, signal.SIGINT]


def config(port: int, more: str = "") -> str:
    return f"- name: clear\n  url: http://web:{port}/\n  concurrency: 1\n{more}"


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_signal_lets_the_call_in_flight_end_and_reports_the_others_as_cancelled(
    number: signal.Signals, tmp_path: Path, nameserver: Nameserver, three_pods: Pods
) -> None:
    gate = three_pods.gate()
    three_pods[0].script(reply(after=gate))
    with Worker(tmp_path, config(three_pods.port), nameserver=nameserver) as worker:
        three_pods.wait_for("a request", lambda: three_pods.in_flight == 1)
        worker.signal(number)
        worker.wait_for_event("shutdown.requested")
        gate.open()
        finished = worker.finish()
    assert finished.exit_code == EXIT_SIGNAL_BASE + number
    assert list(three_pods.requests.values()) == [1, 0, 0]
    assert stable(finished.only("shutdown.requested")) == {
        "level": "warning",
        "event": "shutdown.requested",
        "signal": number.name,
    }
    assert [stable(entry) for entry in finished.events("endpoint.cancelled")] == [
        {
            "level": "error",
            "event": "endpoint.cancelled",
            "broadcast": "clear",
            "endpoint": endpoint,
            "attempts": 0,
        }
        for endpoint in three_pods.endpoints[1:]
    ]
    assert stable(finished.entries[-1]) == {
        "level": "error",
        "event": "run.finished",
        "outcome": "partial",
        "exit_code": EXIT_SIGNAL_BASE + number,
        "broadcasts_complete": 0,
        "broadcasts_partial": 1,
        "broadcasts_failed": 0,
        "seen": 3,
        "acknowledged": 1,
        "failed": 0,
        "gone": 0,
        "cancelled": 2,
    }


@pytest.mark.parametrize("signals", [1, 2])
def test_a_call_that_outlasts_the_grace_period_or_a_second_signal_is_cut_off(
    signals: int, tmp_path: Path, nameserver: Nameserver, three_pods: Pods
) -> None:
    three_pods[0].script(silent)
    patient = config(three_pods.port, "  timeout: 1h\n")
    grace = "200ms" if signals == 1 else "1h"
    with Worker(tmp_path, patient, "--grace", grace, nameserver=nameserver) as worker:
        three_pods.wait_for("a request", lambda: three_pods.in_flight == 1)
        worker.signal(signal.SIGTERM)
        worker.wait_for_event("shutdown.requested")
        if signals == 2:
            worker.signal(signal.SIGTERM)
        finished = worker.finish(timeout=10)
    assert finished.exit_code == 143
    assert finished.only("call.failed")["error_type"] == "cancelled"
    assert len(finished.events("endpoint.cancelled")) == 3
    assert finished.entries[-1]["event"] == "run.finished"


def test_a_stop_signal_while_dns_is_silent_ends_the_run_at_once(
    tmp_path: Path, nameserver: Nameserver
) -> None:
    nameserver.fault("silence")
    two = config(80) + "- name: second\n  url: http://web:80/\n"
    with Worker(tmp_path, two, nameserver=nameserver, options="timeout:30") as worker:
        nameserver.wait_for("a question", lambda: nameserver.asked() > 0)
        worker.signal(signal.SIGTERM)
        finished = worker.finish(timeout=10)
    assert finished.exit_code == 143
    done = [stable(entry) for entry in finished.events("broadcast.finished")]
    counts = {"seen": 0, "acknowledged": 0, "failed": 0, "gone": 0, "cancelled": 0}
    common = {
        **counts,
        "level": "error",
        "event": "broadcast.finished",
        "outcome": "failed",
        "exit_code": 4,
        "reason": "cancelled",
        "calls": 0,
        "rounds": 0,
        "confirmed": False,
    }
    assert done == [common | {"broadcast": name} for name in ("clear", "second")]


def test_a_stop_signal_while_waiting_for_a_newer_answer_keeps_what_was_acknowledged(
    tmp_path: Path, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.caching_seconds = 60
    nameserver.set("web.default.svc.cluster.local", *three_pods.addresses, ttl=60)
    with Worker(tmp_path, config(three_pods.port), nameserver=nameserver) as worker:
        worker.wait_for_event("resolution.waiting", 2)
        worker.signal(signal.SIGINT)
        finished = worker.finish(timeout=10)
    assert finished.exit_code == 130
    done = finished.only("broadcast.finished")
    assert (done["outcome"], done["acknowledged"], done["confirmed"]) == ("complete", 3, False)
