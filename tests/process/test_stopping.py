"""SIGTERM and SIGINT: who is owed a call is reported, and the exit code says so."""

from __future__ import annotations

import os
import random
import select
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods, raw, reply, silent
from tests.loopback.program import Entry, Worker, stable
from tests.loopback.serving import HANG_SECONDS
from tests.process.test_failures import check_the_end
from tests.turns import turn
from worker.report.outcome import EXIT_SIGNAL_BASE

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
            "reason": "cancelled",
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
        "worst_broadcast": "clear",
        "reason": "cancelled",
        "hint": finished.only("broadcast.finished")["hint"],
        "missed_endpoints": ", ".join(
            f"{endpoint} cancelled without a call" for endpoint in three_pods.endpoints[1:]
        ),
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
        "hint": "the run was stopped before it was done: run it again "
        "(if Kubernetes stopped it, kubectl describe job and pod say why)",
    }
    assert done == [common | {"broadcast": name} for name in ("clear", "second")]
    for entry in finished.events("broadcast.finished"):
        assert entry["message"] == (
            f"failed: nobody was called before the run was stopped. Hint: {entry['hint']}"
        )


GRACE_SECONDS = 0.2
# 200 moments in ten groups, of which the three whose turn it is are tried.
GROUPS, GROUP = 10, 20
TURNS = [(turn(GROUPS) + number) % GROUPS for number in range(3)]


@pytest.fixture(scope="module")
def busy_cluster() -> Iterator[tuple[Nameserver, Pods]]:
    """Pods of every mood behind `busy`, and one that answers behind `calm`, which DNS caches."""
    with Nameserver() as nameserver, Pods(5) as pods:
        nameserver.caching_seconds = 600
        nameserver.set("busy.default.svc.cluster.local", *pods.addresses, ttl=600)
        nameserver.set("calm.default.svc.cluster.local", pods.addresses[0], ttl=600)
        pods[1].script(reply(503))
        pods[2].script(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 0.3, b"n"))
        pods[3].script(silent)
        pods.die(pods.addresses[4])
        yield nameserver, pods


def stop_at_some_moment(seed: int, folder: Path, nameserver: Nameserver, port: int) -> None:
    moment = random.Random(seed)
    service, number = moment.choice(["busy", "busy", "calm"]), moment.choice(STOPS)
    early = seed % 4 == 0
    if early:  # of SIGINT Python makes an exception then, which whatever runs may swallow
        number = signal.SIGTERM
    patient = (
        f"- name: clear\n  url: http://{service}:{port}/\n  attempts: 999\n  timeout: 400ms\n"
        "  backoff: {initial: 20ms, max: 100ms}\n  concurrency: 3\n  stagger: 5ms\n"
    )
    directory = folder / str(seed)
    directory.mkdir()
    grace = f"{GRACE_SECONDS}s"
    with Worker(directory, patient, "--grace", grace, nameserver=nameserver) as worker:
        if not early:
            worker.wait_for_event("run.started")
        threading.Event().wait(moment.uniform(0, 0.8))
        sent_at, busy_before = time.time(), busy_seconds(worker)
        worker.signal(number)
        wait_for_exit(worker)
        busy = busy_seconds(worker) - busy_before
        finished = worker.finish()
    if finished.exit_code == -number:  # Python itself was not up yet
        assert (finished.stdout, early) == ("", True)
        return
    check_the_end(finished)
    assert finished.exit_code == EXIT_SIGNAL_BASE + number
    last = finished.entries[-1]
    # Of the time that it took, that on a CPU or in line for one is the machine's matter.
    assert timestamp(last) - sent_at - busy < GRACE_SECONDS + 1
    # It has no counts if the signal came before the configuration was read.
    assert len(finished.events("endpoint.cancelled")) == last.get("cancelled", 0)
    names = [entry["event"] for entry in finished.entries]
    after = finished.entries[names.index("shutdown.requested") + 1 :]
    stopped_at = timestamp(finished.only("shutdown.requested"))
    for call in after:
        if call["event"].startswith("call."):
            # A line is written when its thread gets a CPU, so the call began earlier than this.
            began_at = timestamp(call) - call["duration_seconds"]
            assert began_at < stopped_at + 0.05 + busy, call


def wait_for_exit(worker: Worker) -> None:
    """Without reaping it, so that what /proc says of it can be read."""
    descriptor = os.pidfd_open(worker.process.pid)
    try:
        ended, _, _ = select.select([descriptor], [], [], HANG_SECONDS)
    finally:
        os.close(descriptor)
    assert ended, "it hangs"


def busy_seconds(worker: Worker) -> float:
    """For how long its main thread was on a CPU or waited for one (Linux, sched-stats.rst)."""
    path = Path("/proc", str(worker.process.pid), "schedstat")
    on_a_cpu, in_line, _ = map(int, path.read_text().split())
    return (on_a_cpu + in_line) / 1e9


def timestamp(entry: Entry) -> float:
    return datetime.fromisoformat(entry["timestamp"]).timestamp()


@pytest.mark.parametrize("group", TURNS)
def test_a_stop_signal_at_any_moment_ends_in_a_whole_report(
    group: int, busy_cluster: tuple[Nameserver, Pods], tmp_path: Path
) -> None:
    nameserver, pods = busy_cluster
    with ThreadPoolExecutor(5) as pool:
        for future in [
            pool.submit(stop_at_some_moment, seed, tmp_path, nameserver, pods.port)
            for seed in range(group * GROUP, (group + 1) * GROUP)
        ]:
            future.result()


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
