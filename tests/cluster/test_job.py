"""The image as a Job on a real cluster. IMAGE names one that the cluster's nodes already have."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.container.test_headless import SERVER

NAMESPACE = f"pod-broadcast-{os.getpid()}"
POD_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    command = ["kubectl", "--namespace", NAMESPACE, *arguments]
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def container(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": os.environ["IMAGE"],
        "imagePullPolicy": "Never",
        "securityContext": POD_SECURITY,
        **fields,
    }


def thing(kind: str, api: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **fields}


def apply(*things: dict[str, Any]) -> None:
    kubectl("apply", "--filename", "-", stdin=yaml.safe_dump_all(things))


@pytest.fixture(scope="module")
def web_server() -> Iterator[None]:
    """Three pods behind a headless Service, where Pod Security `restricted` is enforced."""
    namespace = thing("Namespace", "v1", NAMESPACE)
    namespace["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "restricted"}
    labels = {"app": "web-server"}
    pod = container(
        "web-server",
        command=["python", "-c", SERVER],
        readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    )
    apply(
        namespace,
        thing(
            "Service", "v1", "web-server-headless", spec={"clusterIP": "None", "selector": labels}
        ),
        thing(
            "Deployment",
            "apps/v1",
            "web-server",
            spec={
                "replicas": 3,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [pod], "terminationGracePeriodSeconds": 0},
                },
            },
        ),
    )
    try:
        kubectl("rollout", "status", "deployment/web-server", "--timeout=120s")
        yield
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def run(name: str, config: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Runs the worker as a Job. Returns how its container ended, and its log."""
    worker = container(
        "worker",
        volumeMounts=[{"name": "config", "mountPath": "/etc/pod-broadcast", "readOnly": True}],
        env=[
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
    )
    pod = {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "containers": [worker],
        "volumes": [{"name": "config", "configMap": {"name": name}}],
    }
    apply(
        thing("ConfigMap", "v1", name, data={"broadcasts.yaml": config}),
        thing("Job", "batch/v1", name, spec={"backoffLimit": 0, "template": {"spec": pod}}),
    )
    selector = f"--selector=batch.kubernetes.io/job-name={name}"
    jsonpath = "{.items[0].status.containerStatuses[0].state.terminated}"
    kubectl(
        "wait",
        "pod",
        selector,
        "--for=jsonpath={.status.containerStatuses[0].state.terminated}",
        "--timeout=120s",
    )
    ended = json.loads(kubectl("get", "pod", selector, f"--output=jsonpath={jsonpath}"))
    log = kubectl("logs", selector, "--tail=-1")
    return ended, [json.loads(line) for line in log.splitlines()]


@pytest.mark.usefixtures("web_server")
def test_a_job_reaches_every_pod_once() -> None:
    url = "http://web-server-headless:8080/clear-caches"
    ended, entries = run("clear", f"- name: clear-web-caches\n  url: {url}\n")
    assert ended["exitCode"] == 0, entries
    assert entries[0]["worker_pod"].startswith("clear-")
    assert entries[-1]["event"] == "run.finished"
    assert (entries[-1]["seen"], entries[-1]["acknowledged"]) == (3, 3)
    served = kubectl("logs", "--selector=app=web-server", "--tail=-1").splitlines()
    line = "POST /clear-caches HTTP/1.1 Host: web-server-headless:8080"
    assert sorted(served) == [line] * 3 + ["listening"] * 3


@pytest.mark.usefixtures("web_server")
def test_no_such_service_is_exit_4_and_the_pods_status_says_so() -> None:
    config = "- name: clear\n  url: http://web-sever-headless:8080/\n  settle: 3s\n"
    ended, entries = run("misspelt", config)
    assert ended["exitCode"] == 4
    finished = next(entry for entry in entries if entry["event"] == "broadcast.finished")
    assert (finished["outcome"], finished["reason"]) == ("failed", "no_pods")
    assert "web-sever-headless" in finished["hint"]
    summary = json.loads(ended["message"])
    assert (summary["outcome"], summary["exit_code"], summary["seen"]) == ("failed", 4, 0)
