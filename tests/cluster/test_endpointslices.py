"""The Kubernetes API as the worker's witness: the log, held against what the pods recorded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from tests import overlays
from tests.cluster.conftest import Examples
from tests.cluster.example import PORT, WEB_SERVER, Example
from tests.cluster.kubernetes import condition, container_state
from tests.loopback.program import Entry, Finished
from tests.overlays import Object

MANY = 60
BY_API = "discovery: endpointslices, port_name: http"
URL = "http://web-server/clear-caches"  # of the ordinary Service
CLEAR = f"- {{name: clear, url: '{URL}', {BY_API}}}\n"
UNTIL_ALL = f"- {{name: clear, url: '{URL}', {BY_API}, min_pods: {MANY}, settle: 2m}}\n"
SLOWLY = f"- {{name: clear, url: '{URL}', {BY_API}, concurrency: 1, stagger: 500ms, attempts: 3}}\n"
COMPONENT = ("endpointslices",)


@pytest.fixture(scope="module")
def example(examples: Examples) -> Example:
    example = examples("endpointslices")
    example.apply(*overlays.render(example.overlay(*COMPONENT)))
    return example


def uids(entries: Iterable[Entry]) -> set[str]:
    return {entry["target_uid"] for entry in entries}


def finished_run(example: Example, job: str, broadcasts: str) -> Finished:
    example.start(job, broadcasts, COMPONENT)
    return example.run(job).finish()


def wait_until_others_have_ended(example: Example, replicas: int = 3) -> None:
    """What they recorded is then in their termination messages, and no longer in their logs."""
    key, _, value = WEB_SERVER.partition("=")
    example.pods.wait_for(
        f"{replicas} web servers are left",
        lambda pods: (
            sum(
                pod["metadata"]["labels"].get(key) == value
                and not container_state(pod, "terminated")
                for pod in pods
            )
            == replicas
        ),
    )


def check_what_the_log_says(example: Example, finished: Finished) -> None:
    """Whatever happened to each pod, the log says so by its name, and the exit code too."""
    last = finished.entries[-1]
    succeeded = uids(finished.events("call.succeeded"))
    failed, gone = uids(finished.events("endpoint.failed")), uids(finished.events("endpoint.gone"))
    pods = {pod["metadata"]["uid"]: pod for pod in example.web_servers()}
    recorded = example.recorded(last["run_id"])
    for line in finished.events("call.succeeded"):
        pod = pods[line["target_uid"]]
        assert line["target_pod"] == pod["metadata"]["name"]
        assert line["target_node"] == pod["spec"]["nodeName"]
        assert line["endpoint"] == f"{pod['status']['podIP']}:{PORT}"
        assert line["endpoint"] in recorded
    assert not (failed | gone) & succeeded
    assert (last["acknowledged"], last["failed"], last["gone"]) == (
        len(succeeded),
        len(failed),
        len(gone),
    )
    assert last["exit_code"] == finished.exit_code == (3 if failed else 0)
    assert last["seen"] == len(succeeded | failed | gone)


def test_pods_of_an_ordinary_service_are_called_by_name_and_confirmed_at_once(
    example: Example,
) -> None:
    finished = finished_run(example, "three", CLEAR)
    assert finished.exit_code == 0, finished.stdout
    done = finished.only("broadcast.finished")
    assert (done["acknowledged"], done["confirmed"], done["not_ready"]) == (3, True, 0)
    assert finished.events("resolution.waiting") == []
    assert list(example.recorded(done["run_id"]).values()) == [1, 1, 1]
    check_what_the_log_says(example, finished)


def test_pods_that_a_scale_up_adds_are_called_and_those_of_a_scale_down_are_gone(
    example: Example,
) -> None:
    example.start("up", UNTIL_ALL, COMPONENT)
    run = example.run("up")
    run.wait_for_event("call.succeeded", 3)
    example.scale(MANY)
    finished = run.finish()
    assert finished.exit_code == 0, finished.stdout
    last = finished.entries[-1]
    assert (last["seen"], last["acknowledged"]) == (MANY, MANY)
    assert list(example.recorded(last["run_id"]).values()) == [1] * MANY
    check_what_the_log_says(example, finished)
    example.start("down", SLOWLY, COMPONENT)
    run = example.run("down")
    run.wait_for_event("call.succeeded", 2)
    example.scale(3)
    finished = run.finish()
    assert finished.exit_code == 0, finished.stdout
    gone = finished.events("endpoint.gone")
    assert gone, "the pods ended after the run"
    wait_until_others_have_ended(example)
    check_what_the_log_says(example, finished)


def test_a_rollout_during_the_run_ends_with_every_new_pod_called(example: Example) -> None:
    example.scale(9)
    example.kubectl("rollout", "status", "deployment/web-server", "--timeout=120s")
    example.start("rollout", SLOWLY, COMPONENT)
    run = example.run("rollout")
    run.wait_for_event("call.succeeded")
    example.kubectl("rollout", "restart", "deployment/web-server")
    finished = run.finish()
    assert finished.exit_code == 0, finished.stdout
    example.kubectl("rollout", "status", "deployment/web-server", "--timeout=120s")
    wait_until_others_have_ended(example, 9)
    check_what_the_log_says(example, finished)
    example.scale(3)


# --- pods that are there and not ready -----------------------------------------------------------


def web_pod(example: Example, name: str, **changes: Any) -> Object:
    """A pod of the web server that no Deployment owns."""
    deployment = json.loads(example.kubectl("get", "deployment", "web-server", "--output=json"))
    pod: Object = {"apiVersion": "v1", "kind": "Pod", **deployment["spec"]["template"]}
    pod["metadata"] = {"name": name, "labels": {"app.kubernetes.io/name": name}}
    pod["spec"]["containers"][0] |= changes
    return pod


def with_a_folder(pod: Object) -> None:
    """The pod has a folder /tmp that it can write to."""
    pod["spec"]["volumes"].append({"name": "tmp", "emptyDir": {}})
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": "tmp", "mountPath": "/tmp"})


def service(name: str, port: int | str = "http") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app.kubernetes.io/name": name},
            "ports": [{"name": "http", "port": 80, "targetPort": port}],
        },
    }


def broadcast(name: str, more: str = "") -> str:
    return f"- {{name: clear, url: 'http://{name}/clear-caches', {BY_API}{more}}}\n"


def test_a_pod_that_is_not_ready_is_named_and_called_where_that_is_wanted(example: Example) -> None:
    never_ready = {"exec": {"command": ["false"]}}
    example.apply(web_pod(example, "unready", readinessProbe=never_ready), service("unready"))
    example.pods.wait_for(
        "the pod runs",
        lambda pods: any(
            p["metadata"]["name"] == "unready" and p["status"].get("podIP") for p in pods
        ),
    )
    example.kubectl("wait", "pod/unready", "--for=jsonpath={.status.phase}=Running")
    finished = finished_run(example, "unready", broadcast("unready", ", min_pods: 0"))
    assert finished.exit_code == 0, finished.stdout
    done = finished.only("broadcast.finished")
    assert (done["level"], done["seen"], done["not_ready"]) == ("warning", 0, 1)
    assert done["not_ready_endpoints"].startswith("unready (")
    wanted = broadcast("unready", ", include_not_ready: true, backoff: {initial: 100ms}")
    finished = finished_run(example, "unready-too", wanted)
    assert finished.exit_code == 0, finished.stdout
    assert finished.only("call.succeeded")["target_pod"] == "unready"


def test_a_pod_that_is_not_ready_for_a_while_is_waited_for(example: Example) -> None:
    ready = {"exec": {"command": ["test", "-f", "/tmp/ready"]}, "periodSeconds": 1}
    pod = web_pod(example, "later", readinessProbe=ready)
    with_a_folder(pod)
    example.apply(pod, service("later"))
    example.start("later", broadcast("later"), COMPONENT)
    run = example.run("later")
    run.wait_for_event("resolution.failed", error_type="no_pods")
    example.kubectl("wait", "pod/later", "--for=jsonpath={.status.phase}=Running")
    example.kubectl("exec", "later", "--", "touch", "/tmp/ready")
    finished = run.finish()
    assert finished.exit_code == 0, finished.stdout
    assert finished.only("call.succeeded")["target_pod"] == "later"
    assert finished.only("broadcast.finished")["not_ready"] == 0


def test_a_pod_that_crashes_and_comes_back_is_called_when_it_is_ready_again(
    example: Example,
) -> None:
    """Its container ends by itself on the first call, and is started again: the same pod."""
    crash = (
        "import pathlib, runpy, sys; sys.argv = ['/srv/web_server.py'];\n"
        "mark = pathlib.Path('/tmp/crashed')\n"
        "module = runpy.run_path('/srv/web_server.py')\n"
        "handler = module['Handler']\n"
        "clear = handler.clear_caches\n"
        "def once(self):\n"
        "    if mark.exists(): return clear(self)\n"
        "    mark.touch(); import os; os._exit(1)\n"
        "handler.clear_caches = once\n"
        "module['main']()\n"
    )
    pod = web_pod(example, "crashes", command=["python", "-c", crash])
    with_a_folder(pod)
    example.apply(pod, service("crashes"))
    example.kubectl("wait", "pod/crashes", "--for=condition=Ready", "--timeout=60s")
    finished = finished_run(example, "crashes", broadcast("crashes"))
    assert finished.exit_code == 0, finished.stdout
    first = finished.events("call.failed")[0]
    last = finished.only("call.succeeded")
    assert first["error_type"] == "connection_reset"
    assert first["target_uid"] == last["target_uid"]
    assert finished.only("broadcast.finished")["seen"] == 1


def test_a_port_of_a_name_that_differs_between_pods(example: Example) -> None:
    other = 9000
    elsewhere = "import runpy; m = runpy.run_path('/srv/web_server.py'); s = m['Server']\n"
    elsewhere += f"s(('', {other}), m['Handler']).serve_forever()\n"
    label = {"app.kubernetes.io/name": "ports"}
    usual = web_pod(example, "ports-usual")
    special = web_pod(
        example,
        "ports-special",
        command=["python", "-c", elsewhere],
        ports=[{"name": "http", "containerPort": other}],
    )
    for pod in (usual, special):
        pod["metadata"]["labels"] = label
    example.apply(usual, special, service("ports"))
    for name in ("ports-usual", "ports-special"):
        example.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
    finished = finished_run(example, "ports", broadcast("ports", ", min_pods: 2"))
    assert finished.exit_code == 0, finished.stdout
    ports = {
        line["target_pod"]: line["endpoint"].rpartition(":")[2]
        for line in finished.events("call.succeeded")
    }
    assert ports == {"ports-usual": str(PORT), "ports-special": str(other)}


# --- nobody, and no right -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [("empty", "EndpointSlices list nobody"), ("nowhere", "no EndpointSlices")],
)
def test_a_service_without_pods_and_none_at_all(name: str, words: str, example: Example) -> None:
    if name == "empty":
        example.apply(service("empty"))
        example.kubectl(
            "wait",
            "--for=create",
            "endpointslices",
            "--selector=kubernetes.io/service-name=empty",
            "--timeout=60s",
        )
    finished = finished_run(example, name, broadcast(name, ", settle: 0s"))
    assert finished.exit_code == 4, finished.stdout
    message = finished.only("resolution.failed")["error_message"]
    assert message == f"{words}: no ready pods, or no such Service"


def test_without_the_role_the_api_says_what_is_missing(examples: Examples) -> None:
    """In another namespace, where nobody may list anything."""
    other = examples("forbidden")
    finished = finished_run(other, "forbidden", CLEAR)
    assert finished.exit_code == 4, finished.stdout
    done = finished.only("broadcast.finished")
    account = f"system:serviceaccount:{other.namespace}:pod-broadcast"
    assert (done["reason"], done["seen"]) == ("api_forbidden", 0)
    assert done["hint"].endswith(
        f"kubectl auth can-i list endpointslices.discovery.k8s.io --as {account}"
    )
    message = finished.only("resolution.failed")["error_message"]
    assert f'User "{account}" cannot list resource "endpointslices"' in message
    assert condition(other.ended("forbidden"), "Failed")


def test_without_the_component_there_is_no_token(example: Example) -> None:
    example.start("no-token", CLEAR)
    finished = example.run("no-token").finish()
    assert finished.exit_code == 2, finished.stdout
    assert finished.only("config.invalid")["error_message"].endswith(
        "No such file or directory; add manifests/components/endpointslices"
    )


def test_a_token_that_has_expired_is_refused(example: Example) -> None:
    """A token of a pod that is no more is as good as expired, and quicker to come by."""
    bound = web_pod(example, "bound")
    bound["spec"]["serviceAccountName"] = "pod-broadcast"
    example.apply(bound)
    token = example.kubectl(
        "create", "token", "pod-broadcast", "--bound-object-kind=Pod", "--bound-object-name=bound"
    ).strip()
    example.kubectl("delete", "pod", "bound", "--now")
    secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pod-broadcast"}}
    ca = example.kubectl(
        "get", "configmap", "kube-root-ca.crt", "--output=jsonpath={.data.ca\\.crt}"
    )
    files = {"token": token, "ca.crt": ca, "namespace": example.namespace}
    example.apply(secret | {"stringData": files})
    example.start("expired", CLEAR, ("secrets",), service_account="/var/run/secrets/pod-broadcast")
    finished = example.run("expired").finish()
    assert finished.exit_code == 4, finished.stdout
    message = finished.only("resolution.failed")["error_message"]
    assert message.endswith(" answered 401: Unauthorized")
