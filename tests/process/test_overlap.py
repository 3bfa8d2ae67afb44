"""Several broadcasts in one run: their order, what overlaps, and deadlines that cut calls."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods, reply, silent
from tests.loopback.program import Entry, Finished, Worker, run_worker, stable
from tests.process.conftest import Run
from tests.process.logbook import failed, missed, resolved, succeeded
from tests.process.test_failures import check_the_end

TWO = """\
- name: first
  url: http://web:{port}/first
  {first}
- name: second
  url: http://web:{port}/second
"""
GUARD_SECONDS = 25.0  # less than the timeout of a call that is to be cut


def two(pods: Pods, first: str = "method: POST") -> str:
    return TWO.format(port=pods.port, first=first)


def events(finished: Finished, *names: str) -> list[tuple[str, str]]:
    """What happened to which broadcast, of these events, in order."""
    return [(e["event"], e["broadcast"]) for e in finished.entries if e["event"] in names]


def test_a_broadcast_begins_when_the_one_before_has_made_its_first_calls(
    tmp_path: Path, nameserver: Nameserver, three_pods: Pods
) -> None:
    gate = three_pods.gate()
    three_pods[2].script(reply(after=gate))
    with Worker(tmp_path, two(three_pods), nameserver=nameserver) as worker:
        worker.wait_for_event("call.succeeded", 2)
        gate.open()
        finished = worker.finish()
    check_the_end(finished)
    assert finished.exit_code == 0
    assert events(finished, "broadcast.started", "call.succeeded") == [
        ("broadcast.started", "first"),
        *[("call.succeeded", "first")] * 3,
        ("broadcast.started", "second"),
        *[("call.succeeded", "second")] * 3,
    ]


def test_the_wait_of_one_broadcast_holds_no_other_up(run: Run, three_pods: Pods) -> None:
    three_pods[0].script(reply(503), reply())
    slow = "backoff: {initial: 3s}"
    finished = run(two(three_pods, slow))
    assert finished.exit_code == 0
    assert events(finished, "broadcast.finished") == [
        ("broadcast.finished", "second"),
        ("broadcast.finished", "first"),
    ]


def test_sequential_finishes_each_broadcast_before_the_next_begins(
    run: Run, three_pods: Pods
) -> None:
    for finished in (
        run(two(three_pods), "--sequential"),
        run(two(three_pods), environment={"BROADCAST_SEQUENTIAL": "true"}),
    ):
        assert finished.exit_code == 0
        assert events(finished, "broadcast.started", "broadcast.finished") == [
            ("broadcast.started", "first"),
            ("broadcast.finished", "first"),
            ("broadcast.started", "second"),
            ("broadcast.finished", "second"),
        ]


def test_a_broadcast_without_an_answer_lets_the_next_begin(
    tmp_path: Path, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.fault("servfail", name="nowhere.default.svc.cluster.local")
    config = two(three_pods).replace("web", "nowhere", 1)
    with Worker(tmp_path, config, nameserver=nameserver) as worker:
        assert worker.wait_for_event("broadcast.finished")["broadcast"] == "second"
        worker.signal(signal.SIGTERM)
        finished = worker.finish()
    outcomes = {e["broadcast"]: e["outcome"] for e in finished.events("broadcast.finished")}
    assert outcomes == {"first": "failed", "second": "complete"}


def test_no_more_calls_are_in_flight_than_the_largest_broadcast_may_have(run: Run) -> None:
    with Nameserver() as nameserver, Pods(8) as pods:
        nameserver.set("web.default.svc.cluster.local", *pods.addresses)
        for address in pods.addresses:  # the retries of the first meet the calls of the second
            pods[address].script(reply(503), reply(seconds=0.05))
        first = "backoff: {initial: 10ms}\n  concurrency: 3"
        config = two(pods, first) + "  concurrency: 4\n  backoff: {initial: 10ms}\n"
        finished = run(config, nameserver=nameserver)
    assert finished.exit_code == 0
    assert pods.max_in_flight == 4


def test_a_slow_broadcast_does_not_take_every_free_place_from_a_healthy_one(
    tmp_path: Path,
) -> None:
    """The first has work for its whole deadline; the second needs two turns of two calls."""
    with Nameserver() as nameserver, Pods(16) as slow, Pods(4) as healthy:
        nameserver.set("slow.default.svc.cluster.local", *slow.addresses)
        nameserver.set("healthy.default.svc.cluster.local", *healthy.addresses)
        for address in slow.addresses:
            slow[address].script(silent)
        for address in healthy.addresses:
            healthy[address].script(reply(seconds=0.3))
        config = f"""\
- name: slow
  url: http://slow:{slow.port}/
  concurrency: 2
  timeout: 2s
  attempts: 99
  backoff: {{initial: 10ms, max: 10ms}}
  deadline: 30s
- name: healthy
  url: http://healthy:{healthy.port}/
  concurrency: 2
  timeout: 2s
  deadline: 8s
"""
        finished = run_worker(tmp_path, config, nameserver=nameserver)
    done = {e["broadcast"]: e for e in finished.events("broadcast.finished")}
    assert (done["healthy"]["outcome"], done["healthy"]["acknowledged"]) == ("complete", 4)


# --- deadlines --------------------------------------------------------------------------------


def cut_off(endpoint: str) -> Entry:
    return failed(endpoint, "deadline", "cut off at the deadline")


def test_at_the_deadline_calls_in_flight_are_cut_whatever_their_timeout(
    run: Run, three_pods: Pods
) -> None:
    three_pods[1].script(silent)
    config = f"- {{name: clear, url: 'http://web:{three_pods.port}/', deadline: 1s, timeout: 30s}}"
    began_at = time.monotonic()
    finished = run(config)
    assert time.monotonic() - began_at < GUARD_SECONDS
    check_the_end(finished)
    assert finished.exit_code == 3
    first, second, third = three_pods.endpoints
    happened = [stable(e) for e in finished.entries if e.get("endpoint") or "qname" in e]
    assert sorted(happened, key=str) == sorted(
        [
            resolved(1, 3, newcomers=3),
            succeeded(first),
            succeeded(third),
            cut_off(second),
            missed(second, "deadline", 1) | {"error_message": "cut off at the deadline"},
        ],
        key=str,
    )
    done = finished.only("broadcast.finished")
    assert (done["outcome"], done["reason"]) == ("partial", "deadline")
    assert done["duration_seconds"] >= 1


def test_the_runs_deadline_ends_all_broadcasts_and_those_that_never_began(
    run: Run, three_pods: Pods
) -> None:
    three_pods[1].script(silent)
    began_at = time.monotonic()
    for arguments in ({"environment": {"BROADCAST_DEADLINE": "5s"}}, {}):
        options = [] if arguments else ["--deadline", "5s"]
        finished = run(two(three_pods, "timeout: 30s"), *options, **arguments)
        check_the_end(finished)
        assert finished.exit_code == 4
        assert finished.only("call.failed")["error_type"] == "deadline"
        until_deadline = [e["deadline_seconds"] for e in finished.events("broadcast.started")]
        assert 0 < until_deadline[0] < 5
        assert until_deadline[1] == 0.0
        done = {e["broadcast"]: e for e in finished.events("broadcast.finished")}
        assert [
            (done[name]["outcome"], done[name]["reason"], done[name]["calls"])
            for name in ("first", "second")
        ] == [
            ("partial", "deadline", 3),
            ("failed", "deadline", 0),
        ]
        assert done["second"]["message"].startswith(
            "failed: nobody was called before the deadline passed. Hint: the run's deadline passed"
        )
        last = finished.entries[-1]
        assert (last["event"], last["outcome"], last["exit_code"]) == ("run.finished", "failed", 4)
    assert time.monotonic() - began_at < GUARD_SECONDS


def test_no_next_call_is_announced_that_the_deadline_forbids(run: Run, three_pods: Pods) -> None:
    three_pods[0].script(reply(503))
    config = (
        f"- name: clear\n  url: http://web:{three_pods.port}/\n  deadline: 5s\n"
        "  backoff: {initial: 3s, max: 3s}\n"
    )
    finished = run(config)
    calls = finished.events("call.failed")
    assert [(e["attempt"], e.get("retry_in_seconds")) for e in calls] == [(1, 3.0), (2, None)]
    assert len(three_pods[0].requests) == 2


def test_a_deadline_that_leaves_no_time_for_a_newer_answer_is_named(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.caching_seconds = 30
    nameserver.set("web.default.svc.cluster.local", *three_pods.addresses, ttl=30)
    config = f"- {{name: clear, url: 'http://web:{three_pods.port}/', deadline: 1s}}"
    own, of_run = run(config), run(config.replace("1s", "5m"), "--deadline", "3s")
    assert (own.exit_code, of_run.exit_code) == (0, 0)
    assert own.only("broadcast.finished")["hint"] == (
        "the deadline of 1 s passed before a newer answer could confirm the result: raise deadline"
    )
    assert of_run.only("broadcast.finished")["hint"] == (
        "the run's deadline passed before a newer answer could confirm the result: "
        "raise --deadline, or select fewer broadcasts for a run"
    )
