"""Runs that fail: what the exit code makes of the Job, and where its reasons are found."""

from __future__ import annotations

import json

import pytest

from tests.cluster.conftest import Examples
from tests.cluster.example import PORT, Example
from tests.cluster.kubernetes import condition
from tests.loopback.program import Entry, Finished
from tests.overlays import Object

QUICK = "attempts: 2\n  backoff: {initial: 100ms}\n  settle: 3s"
EXAMPLE = "- name: clear\n  url: http://web-server-headless:8080/clear-caches\n"
CONFIGURATIONS = {
    # The Service of the example, to which a pod that answers 500 was added.
    "broken-pod": f"{EXAMPLE}  {QUICK}\n",
    "broken-config": f"{EXAMPLE}  timout: 5s\n",
    "misspelt": f"- name: clear\n  url: http://web-sever-headless:8080/\n  {QUICK}\n",
    "cluster-ip": f"- name: clear\n  url: http://web-server/clear-caches\n  {QUICK}\n",
}
# What the components are for: a secret that is sent, and a Service that is there only later.
RETRIED = f"""\
- name: clear
  url: http://late:8080/clear-caches
  headers: {{X-Token: {{file: /var/run/secrets/pod-broadcast/token}}}}
  {QUICK}
"""


LATE: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "late"},
    "spec": {
        "clusterIP": "None",
        "selector": {"app.kubernetes.io/name": "web-server"},
        "ports": [{"port": PORT}],
    },
}


@pytest.fixture(scope="module")
def example(examples: Examples) -> Example:
    """With all Jobs of the module under way, but for the one that waits for what a test does."""
    example = examples("failures")
    deployment = json.loads(example.kubectl("get", "deployment", "web-server", "--output=json"))
    broken: Object = {"apiVersion": "v1", "kind": "Pod", **deployment["spec"]["template"]}
    broken["metadata"]["name"] = "broken"
    broken["spec"]["containers"][0]["env"] = [{"name": "STATUS", "value": "500"}]
    example.apply(broken)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pod-broadcast"}}
    example.apply(secret | {"stringData": {"token": "token-of-the-test\n"}})
    example.kubectl("wait", "pod/broken", "--for=condition=Ready", "--timeout=60s")
    for name, broadcasts in CONFIGURATIONS.items():
        example.start(name, broadcasts)
    return example


def failed_once(example: Example, job: str, exit_code: int) -> tuple[Finished, Entry]:
    """The run, and its termination message; the Job failed with it, and did not try again."""
    run = example.run(job)
    finished = run.finish()
    assert finished.exit_code == exit_code, finished.stdout
    ended = example.ended(job)
    failed = condition(ended, "Failed")
    assert failed["reason"] == "PodFailurePolicy"
    assert (
        f"Container worker for pod {example.namespace}/{run.pod} failed with exit code"
        in (failed["message"])
    )
    assert ended["status"]["failed"] == 1
    last = finished.entries[-1]
    assert (last["event"], last["exit_code"]) == ("run.finished", exit_code)
    text = run.terminated()["message"]
    assert text.strip() in example.kubectl("describe", "pod", run.pod)
    message = json.loads(text)
    assert message.items() <= last.items()
    return finished, message


def test_a_pod_that_answers_500_fails_the_job_once_with_exit_3(example: Example) -> None:
    finished, message = failed_once(example, "broken-pod", 3)
    broken = json.loads(example.kubectl("get", "pod", "broken", "--output=json"))
    endpoint = f"{broken['status']['podIP']}:{PORT}"
    failed = finished.only("endpoint.failed")
    assert (failed["endpoint"], failed["attempts"]) == (endpoint, 2)
    answered = (failed["status_code"], failed["error_message"])
    assert answered == (500, "answered 500 Internal Server Error")
    named = f"{endpoint} status 500 after 2 calls"
    assert finished.only("broadcast.finished")["failed_endpoints"] == named
    assert (message["worst_broadcast"], message["reason"], message["missed_endpoints"]) == (
        *(failed["broadcast"], "some_calls_failed", named),
    )
    assert (message["outcome"], message["acknowledged"], message["failed"]) == ("partial", 3, 1)
    recorded = example.recorded(message["run_id"])
    assert recorded.pop(endpoint) == 2
    assert list(recorded.values()) == [1, 1, 1]


def test_a_broken_configuration_fails_the_job_once_with_exit_2(example: Example) -> None:
    finished, message = failed_once(example, "broken-config", 2)
    invalid = finished.only("config.invalid")
    assert (invalid["config_file"], invalid["line"], invalid["column"]) == (
        "/etc/pod-broadcast/broadcasts.yaml",
        3,
        3,
    )
    assert invalid["error_message"] == "unknown key: did you mean timeout?"
    where = "/etc/pod-broadcast/broadcasts.yaml:3:3: broadcasts[0].timout"
    assert message["error_message"] == f"configuration: {where}: {invalid['error_message']}"
    assert example.recorded(message["run_id"]) == {}


def test_no_such_service_fails_the_job_once_with_exit_4_and_a_hint(example: Example) -> None:
    finished, message = failed_once(example, "misspelt", 4)
    ended = finished.only("broadcast.finished")
    assert (ended["outcome"], ended["reason"]) == ("failed", "no_pods")
    assert ended["hint"].startswith("does the Service's selector match pods, are they ready")
    assert "kubernetes.io/service-name=web-sever-headless" in ended["hint"]
    assert (message["outcome"], message["seen"]) == ("failed", 0)


def test_a_service_with_a_cluster_ip_is_not_headless_and_nobody_is_called(
    example: Example,
) -> None:
    finished, message = failed_once(example, "cluster-ip", 4)
    ended = finished.only("broadcast.finished")
    assert (ended["outcome"], ended["reason"]) == ("failed", "not_headless")
    assert ended["hint"].startswith("set clusterIP: None in the Service")
    assert example.recorded(message["run_id"]) == {}


def test_with_the_retry_component_kubernetes_runs_it_again(example: Example) -> None:
    example.start("retried", RETRIED, components=("retry", "secrets"))
    first = example.run("retried").finish()
    assert first.exit_code == 4, first.stdout
    assert first.only("broadcast.finished")["reason"] == "no_pods"
    example.apply(LATE)
    example.kubectl("delete", "pod", "broken", "--now")
    second = example.run("retried", 2).finish()
    assert second.exit_code == 0, second.stdout
    assert second.entries[-1]["acknowledged"] == 3
    ended = example.ended("retried")
    assert condition(ended, "Complete")
    assert ended["status"]["failed"] == 1
