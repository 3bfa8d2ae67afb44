"""`kubectl apply -k manifests/overlays/example`, where Pod Security `restricted` is enforced."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from tests.cluster.conftest import Examples
from tests.cluster.example import PORT, Example
from tests.cluster.kubernetes import condition
from tests.overlays import Object
from worker import __version__


@pytest.fixture(scope="module")
def example(examples: Examples) -> Example:
    return examples("example")


def test_a_job_by_hand_clears_the_cache_of_each_pod(example: Example) -> None:
    servers = example.web_servers()
    names = [pod["metadata"]["name"] for pod in servers]
    cached = [example.page(name) for name in names]
    assert [example.page(name) for name in names] == cached
    example.kubectl("create", "job", "--from=cronjob/pod-broadcast", "by-hand")
    run = example.run("by-hand")
    finished = run.finish()
    assert finished.exit_code == 0, finished.stdout
    assert condition(example.ended("by-hand"), "Complete")
    started, last = finished.entries[0], finished.entries[-1]
    assert (last["event"], last["outcome"], last["seen"]) == ("run.finished", "complete", 3)
    assert last["acknowledged"] == 3
    assert not set(cached) & {example.page(name) for name in names}
    endpoints = [f"{pod['status']['podIP']}:{PORT}" for pod in servers]
    assert example.recorded(last["run_id"]) == dict.fromkeys(endpoints, 1)
    assert json.loads(run.terminated()["message"])["run_id"] == last["run_id"]
    (node,) = {pod["spec"]["nodeName"] for pod in example.pods.objects}
    assert {key: value for key, value in started.items() if key.startswith("worker_")} == {
        "worker_pod": run.pod,
        "worker_namespace": example.namespace,
        "worker_node": node,
        "worker_job": "by-hand",
    }
    assert started["version"] == __version__


NOT_READY = """\
- name: clear-also-those-that-are-not-ready
  url: http://web-server-headless-not-ready:8080/clear-caches
  min_pods: 4
"""


def test_the_second_service_reaches_pods_that_are_not_ready(example: Example) -> None:
    deployment = json.loads(example.kubectl("get", "deployment", "web-server", "--output=json"))
    pod: Object = {"apiVersion": "v1", "kind": "Pod", **deployment["spec"]["template"]}
    pod["metadata"]["name"] = "never-ready"
    pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]["path"] = "/clear-caches/never"
    pod["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"] = 1
    example.apply(pod)
    example.start("not-ready", NOT_READY)
    finished = example.run("not-ready").finish()
    assert finished.exit_code == 0, finished.stdout
    last = finished.entries[-1]
    assert (last["seen"], last["acknowledged"]) == (4, 4)
    never_ready = json.loads(example.kubectl("get", "pod", "never-ready", "--output=json"))
    assert condition(never_ready, "Ready") is None
    assert example.recorded(last["run_id"])[f"{never_ready['status']['podIP']}:{PORT}"] == 1
    example.kubectl("delete", "pod", "never-ready", "--now")


def test_a_pod_with_more_rights_would_not_have_been_accepted(example: Example) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "unrestricted", "namespace": example.namespace},
        "spec": {"containers": [{"name": "worker", "image": "pod-broadcast:0.1.0"}]},
    }
    done = subprocess.run(
        ["kubectl", "apply", "--filename", "-"],
        input=yaml.safe_dump(pod),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert 'violates PodSecurity "restricted:latest"' in done.stderr


def test_the_cronjob_fires_on_its_schedule_and_its_job_completes(example: Example) -> None:
    def scheduled(jobs: list[Object]) -> str | None:
        for job in jobs:
            owners = job["metadata"].get("ownerReferences", [])
            by_hand = "cronjob.kubernetes.io/instantiate" in job["metadata"].get("annotations", {})
            if not by_hand and [owner["kind"] for owner in owners] == ["CronJob"]:
                return str(job["metadata"]["name"])
        return None

    every_minute = json.dumps({"spec": {"schedule": "* * * * *", "suspend": False}})
    example.kubectl("patch", "cronjob", "pod-broadcast", "--patch", every_minute)
    job = example.jobs.wait_for("a scheduled job", scheduled)
    finished = example.run(job).finish()
    assert finished.exit_code == 0, finished.stdout
    assert condition(example.ended(job), "Complete")
    last = finished.entries[-1]
    assert last["acknowledged"] == 3
    called = [call["endpoint"] for call in finished.events("call.succeeded")]
    assert example.recorded(last["run_id"]) == dict.fromkeys(called, 1)
