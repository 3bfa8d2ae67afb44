"""A pod that hangs, and two deadlines. At the run's, the worker reports and its log stays; at the
Job's, Kubernetes deletes the pod with its log.
"""

from __future__ import annotations

import json

import pytest

from tests.cluster.conftest import Examples
from tests.cluster.example import PORT, REPLICAS, Example
from tests.cluster.kubernetes import condition
from tests.loopback.program import Entry
from tests.overlays import Object

# Each call waits longer than both deadlines below, and so does the broadcast.
PATIENT = """\
- name: clear
  url: http://web-server-headless:8080/clear-caches
  timeout: 4m
  deadline: 5m
"""
JOB_DEADLINE_SECONDS = 60
# Accepts every connection, and answers none.
HANGING = f"""
import socket
server, accepted = socket.create_server(("", {PORT})), []
while True:
    accepted.append(server.accept())
"""


@pytest.fixture(scope="module")
def example(examples: Examples) -> Example:
    """With a fourth web server, which hangs, and two Jobs under way that differ in the deadline of
    the run. `outlasted` starts last: when its Job's deadline passes, so has that of `reports`.
    """
    example = examples("deadline")
    deployment = json.loads(example.kubectl("get", "deployment", "web-server", "--output=json"))
    hanging: Object = {"apiVersion": "v1", "kind": "Pod", **deployment["spec"]["template"]}
    hanging["metadata"]["name"] = "hanging"
    (container,) = hanging["spec"]["containers"]
    container["command"] = ["python", "-c", HANGING]
    container["readinessProbe"] = {"tcpSocket": {"port": "http"}, "periodSeconds": 2}
    example.apply(hanging)
    example.kubectl("wait", "pod/hanging", "--for=condition=Ready", "--timeout=60s")
    example.wait_for_dns(REPLICAS + 1)
    for name, run_deadline in (("reports", "5s"), ("outlasted", "10m")):
        example.start(
            name, PATIENT, run_deadline=run_deadline, job_deadline_seconds=JOB_DEADLINE_SECONDS
        )
    return example


def kept_log(example: Example, job: str) -> list[Entry]:
    """What `kubectl logs` still finds after the run."""
    return [json.loads(line) for line in example.kubectl("logs", f"job/{job}").splitlines()]


def of_event(log: list[Entry], name: str) -> list[Entry]:
    return [entry for entry in log if entry["event"] == name]


def test_a_run_past_its_deadline_ends_itself_and_reports(example: Example) -> None:
    run = example.run("reports")
    assert run.terminated()["exitCode"] == 3
    failed = condition(example.ended("reports"), "Failed")
    assert failed["reason"] == "PodFailurePolicy"  # and not DeadlineExceeded
    log = kept_log(example, "reports")
    address = example.kubectl("get", "pod", "hanging", "--output=jsonpath={.status.podIP}")
    (missed,) = of_event(log, "endpoint.failed")
    assert (missed["endpoint"], missed["error_type"]) == (f"{address}:{PORT}", "deadline")
    (broadcast,) = of_event(log, "broadcast.finished")
    assert (broadcast["outcome"], broadcast["reason"]) == ("partial", "deadline")
    last = log[-1]
    assert (last["event"], last["exit_code"]) == ("run.finished", 3)
    assert (last["seen"], last["acknowledged"], last["failed"]) == (4, 3, 1)
    assert json.loads(run.terminated()["message"]).items() <= last.items()


def test_a_run_that_reported_keeps_its_log_when_the_deadline_of_its_job_has_passed_too(
    example: Example,
) -> None:
    outlasted = example.run("outlasted")
    outlasted.wait_for_event("call.succeeded", REPLICAS)
    assert condition(example.ended("outlasted"), "Failed")["reason"] == "DeadlineExceeded"
    # Its pod is deleted, and its log with it.
    example.kubectl("wait", f"pod/{outlasted.pod}", "--for=delete", "--timeout=120s")
    last = kept_log(example, "reports")[-1]
    assert (last["event"], last["exit_code"]) == ("run.finished", 3)
