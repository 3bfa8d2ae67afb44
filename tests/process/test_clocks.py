"""Each endpoint is called at its own time: nobody waits for the slowest."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.loopback.nameserver import Nameserver, Query
from tests.loopback.pods import Pods, reply
from tests.loopback.program import Worker, stable
from tests.process.conftest import Run
from tests.process.logbook import WEB, check_log, failed, resolved, succeeded
from tests.process.test_failures import check_the_end
from worker.report.outcome import EXIT_SIGNAL_BASE


def config(port: int, more: str = "") -> str:
    return f"- name: clear\n  url: http://web:{port}/\n{more}"


def test_a_pod_that_says_when_to_come_again_keeps_no_other_waiting(
    run: Run, three_pods: Pods
) -> None:
    patient, hasty, _ = three_pods.addresses
    three_pods[patient].script(reply(503, headers=["Retry-After: 4"]), reply())
    three_pods[hasty].script(reply(503), reply())
    finished = run(config(three_pods.port, "  backoff: {initial: 200ms}\n"))
    assert finished.exit_code == 0
    waits = {e["endpoint"]: e["retry_in_seconds"] for e in finished.events("call.failed")}
    first, second, _ = three_pods.endpoints
    assert waits == {first: 4.0, second: 0.2}
    assert three_pods.order[3:] == [hasty, patient]


def test_a_pod_that_hangs_keeps_no_newcomer_and_no_other_call_waiting(
    tmp_path: Path, nameserver: Nameserver, three_pods: Pods
) -> None:
    hangs, fails, comes = three_pods.addresses
    nameserver.set(WEB, hangs, fails)
    gate = three_pods.gate()
    three_pods[hangs].script(reply(after=gate))
    three_pods[fails].script(reply(503), reply())

    def become_ready(_: Query) -> None:
        if three_pods[fails].requests:
            nameserver.set(WEB, *three_pods.addresses)

    nameserver.on_query = become_ready
    text = config(three_pods.port, "  timeout: 1h\n  deadline: 2h\n  settle: 8s\n")
    with Worker(tmp_path, text, nameserver=nameserver) as worker:
        worker.wait_for_event("call.succeeded", 2)
        assert three_pods.in_flight == 1
        gate.open()
        finished = worker.finish()
    endpoints = dict(zip(three_pods.addresses, three_pods.endpoints, strict=True))
    by_endpoint = {e["endpoint"]: e for e in finished.events("call.succeeded")}
    assert by_endpoint[endpoints[hangs]]["round"] == 1
    assert by_endpoint[endpoints[fails]]["attempt"] == 2
    assert by_endpoint[endpoints[fails]]["round"] > 1
    assert by_endpoint[endpoints[comes]]["round"] > 1
    last = finished.only("broadcast.finished")
    assert (last["outcome"], last["confirmed"], last["acknowledged"]) == ("complete", True, 3)
    # The answer that confirms was asked for after the last call had ended.
    names = [entry["event"] for entry in finished.entries]
    assert names.index("endpoints.resolved", names.index("call.succeeded")) > 0
    assert names[::-1].index("endpoints.resolved") < names[::-1].index("call.succeeded")


def test_a_pod_that_became_unready_before_its_first_call_is_called(
    tmp_path: Path, nameserver: Nameserver, three_pods: Pods
) -> None:
    """The only place is taken by a pod that hangs; meanwhile DNS no longer lists another."""
    hangs, leaves, _ = three_pods.addresses
    gate = three_pods.gate()
    three_pods[hangs].script(reply(after=gate))

    def leave(_: Query) -> None:
        if three_pods[hangs].requests:
            nameserver.set(WEB, hangs, three_pods.addresses[2])

    nameserver.on_query = leave
    text = config(three_pods.port, "  concurrency: 1\n  timeout: 1h\n  deadline: 2h\n")
    with Worker(tmp_path, text, nameserver=nameserver) as worker:
        worker.wait_for_event("endpoints.resolved", 2)
        gate.open()
        finished = worker.finish()
    assert finished.exit_code == 0
    assert three_pods.requests[leaves] == 1


def test_a_broadcast_with_much_to_do_leaves_another_its_turn(run: Run) -> None:
    """One place for both. The first has calls for a minute, the second needs two calls a pod."""
    with Nameserver() as nameserver, Pods(30) as slow, Pods(3) as healthy:
        nameserver.set("slow.default.svc.cluster.local", *slow.addresses)
        nameserver.set("healthy.default.svc.cluster.local", *healthy.addresses)
        for address in slow.addresses:
            slow[address].script(reply(503, seconds=0.2))
        for address in healthy.addresses:
            healthy[address].script(reply(503), reply())
        text = f"""\
defaults: {{concurrency: 1, backoff: {{initial: 100ms, max: 100ms}}}}
broadcasts:
  - {{name: slow, url: "http://slow:{slow.port}/", attempts: 10, deadline: 25s}}
  - {{name: healthy, url: "http://healthy:{healthy.port}/", deadline: 20s}}
"""
        finished = run(text, nameserver=nameserver)
    outcomes = {e["broadcast"]: e["outcome"] for e in finished.events("broadcast.finished")}
    assert outcomes == {"slow": "failed", "healthy": "complete"}


def test_a_nameserver_that_is_silent_is_waited_for_once_and_not_by_each_broadcast(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    count = 40
    text = "".join(
        f"- {{name: b{number}, url: 'http://web:{three_pods.port}/'}}\n" for number in range(count)
    )
    with Nameserver() as silent:
        silent.fault("silence")
        servers = ("--nameserver", str(silent), "--nameserver", str(nameserver))
        finished = run(text, *servers, nameserver=None, options="ndots:5 timeout:2 attempts:2")
        assert finished.exit_code == 0
        assert finished.entries[-1]["broadcasts_complete"] == count
        # Those that began before it was known: one a second.
        assert 0 < silent.asked() < 10
    assert set(three_pods.requests.values()) == {count}


def test_answers_that_came_while_the_worker_was_stopped_are_not_late(
    tmp_path: Path, nameserver: Nameserver, three_pods: Pods
) -> None:
    gate = three_pods.gate()
    for number in range(3):
        three_pods[number].script(reply(after=gate))
    text = config(three_pods.port, "  timeout: 2s\n  attempts: 1\n")
    with Worker(tmp_path, text, nameserver=nameserver) as worker:
        three_pods.wait_for("three requests", lambda: three_pods.in_flight == 3)
        worker.signal(signal.SIGSTOP)
        gate.open()
        three_pods.wait_for("three answers", lambda: three_pods.in_flight == 0)
        threading.Event().wait(2.5)  # for longer than their time-out: only a clock tells that
        worker.signal(signal.SIGCONT)
        finished = worker.finish()
    check_log(
        finished,
        f"http://web:{three_pods.port}/",
        [resolved(1, 3, newcomers=3), *map(succeeded, three_pods.endpoints), resolved(2, 3)],
    )
    assert list(three_pods.requests.values()) == [1, 1, 1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("what", ["configuration", "resolv.conf"])
def test_a_stop_signal_ends_a_run_whose_files_hang(
    what: str, number: signal.Signals, tmp_path: Path, nameserver: Nameserver
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text: str | Path = config(80)
    arguments: tuple[str, ...] = ()
    if what == "configuration":
        text = pipe
    else:
        arguments = ("--resolv-conf", str(pipe))
    # The pipe is open when the worker has opened it, too.
    with Worker(tmp_path, text, *arguments, nameserver=nameserver) as worker, pipe.open("wb"):
        worker.signal(number)
        finished = worker.finish()
    check_the_end(finished)
    assert finished.exit_code == EXIT_SIGNAL_BASE + number
    assert [stable(entry) for entry in finished.entries] == [
        {"level": "warning", "event": "shutdown.requested", "signal": number.name},
        {
            "level": "error",
            "event": "run.finished",
            "outcome": "failed",
            "exit_code": EXIT_SIGNAL_BASE + number,
            "error_message": "stopped before the configuration was read",
        },
    ]


@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_stop_signal_ends_a_command_whose_configuration_hangs(
    command: str, tmp_path: Path, nameserver: Nameserver
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    worker = Worker(tmp_path, pipe, nameserver=nameserver, command=command)
    with worker, pipe.open("wb"):
        worker.signal(signal.SIGTERM)
        assert worker.process.wait(60) == 143


def test_a_plan_asks_about_all_broadcasts_at_once(tmp_path: Path, nameserver: Nameserver) -> None:
    nameserver.fault("silence")
    text = "".join(f"- {{name: {name}, url: 'http://{name}/'}}\n" for name in ("a", "b", "c"))
    with Worker(
        tmp_path, text, command="plan", nameserver=nameserver, options="timeout:30"
    ) as plan:
        nameserver.wait_for(
            "three questions", lambda: len({query.qname for query in nameserver.queries}) == 3
        )
        plan.signal(signal.SIGTERM)
        assert plan.process.wait(60) == 143


def test_a_retry_that_failed_is_announced_only_where_dns_lists_the_pod(
    tmp_path: Path, nameserver: Nameserver, three_pods: Pods
) -> None:
    leaves = three_pods.addresses[0]
    gate = three_pods.gate()
    three_pods[leaves].script(reply(503, after=gate))
    with Worker(
        tmp_path, config(three_pods.port, "  settle: 3s\n"), nameserver=nameserver
    ) as worker:
        worker.wait_for_event("call.succeeded", 2)
        nameserver.set(WEB, *three_pods.addresses[1:])
        worker.wait_for_event("endpoints.resolved", 2)
        gate.open()
        finished = worker.finish()
    assert stable(finished.only("call.failed")) == failed(
        three_pods.endpoints[0], "status", "answered 503 Service Unavailable", status_code=503
    )
    assert finished.exit_code == 3
