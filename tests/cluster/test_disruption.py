"""The worker's pod is evicted in the middle of a run."""

from __future__ import annotations

import json

import pytest

from tests.cluster.conftest import Examples
from tests.cluster.example import Example
from tests.cluster.kubernetes import condition, kubectl
from tests.overlays import Object

# Waits for a pod that is not there yet.
PATIENT = """\
- name: clear
  url: http://web-server-headless:8080/clear-caches
  min_pods: 4
  settle: 4m
"""


@pytest.fixture(scope="module")
def example(examples: Examples) -> Example:
    return examples("disruption")


def evict(example: Example, pod: str) -> None:
    """As `kubectl drain` does it."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": example.namespace},
    }
    path = f"/api/v1/namespaces/{example.namespace}/pods/{pod}/eviction"
    kubectl("create", "--raw", path, "--filename", "-", stdin=json.dumps(eviction))


def test_an_evicted_run_ends_in_143_and_is_run_again_without_counting(example: Example) -> None:
    example.start("evicted", PATIENT)
    first = example.run("evicted")
    first.wait_for_event("resolution.waiting", reason="min_pods")
    evict(example, first.pod)
    finished = first.finish()
    assert finished.exit_code == 143, finished.stdout
    last = finished.entries[-1]
    assert (last["event"], last["exit_code"]) == ("run.finished", 143)
    assert (last["seen"], last["acknowledged"], last["cancelled"]) == (3, 3, 0)
    assert json.loads(first.terminated()["message"])["exit_code"] == 143

    def disruption(pods: list[Object]) -> object:
        (pod,) = (found for found in pods if found["metadata"]["name"] == first.pod)
        return condition(pod, "DisruptionTarget")

    disrupted = example.pods.wait_for("the pod says why it ended", disruption)
    assert isinstance(disrupted, dict)
    assert disrupted["reason"] == "EvictionByEvictionAPI"

    second = example.run("evicted", 2)
    assert second.pod != first.pod
    example.scale(4)
    finished = second.finish()
    assert finished.exit_code == 0, finished.stdout
    assert finished.entries[-1]["acknowledged"] == 4
    ended = example.ended("evicted")
    assert condition(ended, "Complete")
    assert ended["status"].get("failed", 0) == 0
    assert list(example.recorded(finished.entries[-1]["run_id"]).values()) == [1] * 4
