"""Pods that come and go during a run: the log, held against what each pod itself recorded."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.cluster.conftest import Examples
from tests.cluster.example import PORT, Example
from tests.cluster.kubernetes import condition
from tests.loopback.program import Entry, Finished

PODS = 30
URL = "http://web-server-headless:8080/clear-caches"
UNTIL_ALL = f"- {{name: clear, url: '{URL}', min_pods: {PODS}, settle: 1m}}\n"
# Longer than the rollout takes.
SLOWLY = f"- {{name: clear, url: '{URL}', concurrency: 1, stagger: 500ms, attempts: 3}}\n"
# Between a pod's being ready and DNS's listing it.
DNS_DELAY = timedelta(seconds=5)


@pytest.fixture(scope="module")
def example(examples: Examples) -> Example:
    return examples("rollout")


def endpoints(entries: list[Entry]) -> set[str]:
    return {entry["endpoint"] for entry in entries}


def ready_before(example: Example, moment: datetime) -> set[str]:
    """The endpoints of the pods that were ready by then, and still are."""
    found = set()
    for pod in example.web_servers():
        ready = condition(pod, "Ready")
        if ready and datetime.fromisoformat(ready["lastTransitionTime"]) < moment:
            found.add(f"{pod['status']['podIP']}:{PORT}")
    return found


def check_what_the_log_says(example: Example, finished: Finished) -> None:
    """Whatever happened to each pod, the log says so, and the exit code too."""
    last = finished.entries[-1]
    succeeded = endpoints(finished.events("call.succeeded"))
    called = succeeded | endpoints(finished.events("call.failed"))
    failed = endpoints(finished.events("endpoint.failed"))
    gone = endpoints(finished.events("endpoint.gone"))
    recorded = example.recorded(last["run_id"])
    # Who acknowledged has the request, and nobody has one that the log does not know of.
    assert succeeded <= recorded.keys() <= called
    # Who is gone never accepted a connection; who failed did not acknowledge.
    assert not gone & recorded.keys()
    assert not (failed | gone) & succeeded
    assert succeeded | failed | gone == called
    assert (last["acknowledged"], last["failed"], last["gone"]) == (
        len(succeeded),
        len(failed),
        len(gone),
    )
    assert last["exit_code"] == finished.exit_code == (3 if failed else 0)
    # Who was ready before the last question was called, or the exit code says otherwise.
    asked_at = datetime.fromisoformat(finished.events("endpoints.resolved")[-1]["timestamp"])
    assert ready_before(example, asked_at - DNS_DELAY) <= succeeded | failed


def test_pods_that_a_scale_up_adds_during_the_run_are_called(example: Example) -> None:
    example.start("scale", UNTIL_ALL)
    run = example.run("scale")
    run.wait_for_event("call.succeeded", 3)
    example.scale(PODS)
    finished = run.finish()
    assert finished.exit_code == 0, finished.stdout
    assert condition(example.ended("scale"), "Complete")
    last = finished.entries[-1]
    assert (last["seen"], last["acknowledged"]) == (PODS, PODS)
    newcomers = [entry["newcomers"] for entry in finished.events("endpoints.resolved")]
    assert (newcomers[0], sum(newcomers)) == (3, PODS)
    assert list(example.recorded(last["run_id"]).values()) == [1] * PODS
    check_what_the_log_says(example, finished)


def test_a_rollout_during_the_run_ends_in_the_right_outcome_for_each_pod(example: Example) -> None:
    example.scale(PODS)
    example.kubectl("rollout", "status", "deployment/web-server", "--timeout=120s")
    before = {pod["status"].get("podIP") for pod in example.web_servers()}
    example.start("rollout", SLOWLY)
    run = example.run("rollout")
    run.wait_for_event("call.succeeded")
    example.kubectl("rollout", "restart", "deployment/web-server")
    finished = run.finish()
    example.kubectl("rollout", "status", "deployment/web-server", "--timeout=120s")
    newcomers = endpoints(finished.events("call.succeeded")) - {f"{ip}:{PORT}" for ip in before}
    assert newcomers, "the rollout came after the run"
    check_what_the_log_says(example, finished)
