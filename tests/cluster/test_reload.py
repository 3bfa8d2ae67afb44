"""manifests/overlays/reload: a run is complete when every pod runs the new routes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.example import PORT, REPLICAS, Example
from tests.overlays import MANIFESTS, Object


class Gateway(Example):
    """The overlay in a namespace of its own."""

    OVERLAY = "overlays/reload"
    APP = "gateway"

    def change(self, version: str) -> None:
        """Edits the ConfigMap, which the kubelet brings into the pods when it comes to it."""
        data = json.dumps({"data": {"version": version}})
        self.kubectl("patch", "configmap", "routes", "--patch", data)

    def versions(self) -> dict[str, str]:
        """What each pod says of itself, by endpoint."""
        return {
            f"{pod['status']['podIP']}:{PORT}": json.loads(
                self.get(pod["metadata"]["name"], "/-/config")
            )["version"]
            for pod in self.web_servers()
        }


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway("reload", tmp_path_factory.mktemp("reload")) as gateway:
        yield gateway


def test_a_job_is_complete_once_every_pod_shows_the_new_version(gateway: Gateway) -> None:
    assert set(gateway.versions().values()) == {"1"}
    gateway.change("2")
    gateway.kubectl("create", "job", "--from=cronjob/pod-broadcast", "by-hand")
    finished = gateway.run("by-hand").finish()
    assert finished.exit_code == 0, finished.stdout
    versions = gateway.versions()
    assert set(versions.values()) == {"2"}
    verified = finished.events("verify.succeeded")
    assert {entry["endpoint"] for entry in verified} == versions.keys()
    done = finished.only("broadcast.finished")
    assert (done["acknowledged"], done["calls"]) == (REPLICAS, REPLICAS)
    assert done["polls"] == sum(entry["polls"] for entry in verified) > REPLICAS  # it was late
    assert done["verified_seconds"] == max(entry["verified_seconds"] for entry in verified)
    (canary,) = finished.events("call.succeeded")[:1]
    events = [(entry["event"], entry.get("endpoint")) for entry in finished.entries]
    proved = events.index(("verify.succeeded", canary["endpoint"]))
    assert not [event for event, _ in events[:proved] if event == "call.succeeded"][1:]


def test_a_pod_that_never_shows_it_is_named(gateway: Gateway) -> None:
    stubborn = an_old_pod(gateway)
    gateway.change("3")
    for pod in gateway.web_servers():  # a pod that changes is looked at by the kubelet at once
        gateway.kubectl("annotate", "pod", pod["metadata"]["name"], "touched=yes")
    file = MANIFESTS / "overlays" / "reload" / "reload-routes.yaml"
    broadcasts = file.read_text().replace("  canary: 1\n", "").replace("within: 2m", "within: 40s")
    gateway.start("not-all", broadcasts)
    finished = gateway.run("not-all").finish()
    assert finished.exit_code == 3, finished.stdout
    failed = finished.only("verify.failed")
    assert (failed["endpoint"], failed["error_message"]) == (
        stubborn,
        'expected /version to be "3", got "1"',
    )
    done = finished.only("broadcast.finished")
    assert done["failed_endpoints"] == f"{stubborn} not_verified after 1 call"
    versions = gateway.versions()
    assert versions.pop(stubborn) == "1"
    assert list(versions.values()) == ["3"] * REPLICAS


def an_old_pod(gateway: Gateway) -> str:
    """Starts a pod of which the ConfigMap never changes. Returns its endpoint."""
    old = json.loads(gateway.kubectl("get", "configmap", "routes", "--output=json"))
    old["metadata"] = {"name": "old-routes"}
    old["data"]["version"] = "1"
    deployment = json.loads(gateway.kubectl("get", "deployment", "gateway", "--output=json"))
    pod: Object = {"apiVersion": "v1", "kind": "Pod", **deployment["spec"]["template"]}
    pod["metadata"]["name"] = "stubborn"
    pod["spec"]["volumes"][1]["configMap"]["name"] = "old-routes"
    gateway.apply(old, pod)
    gateway.kubectl("wait", "pod/stubborn", "--for=condition=Ready", "--timeout=120s")
    gateway.wait_for_dns(REPLICAS + 1)
    found = json.loads(gateway.kubectl("get", "pod", "stubborn", "--output=json"))
    return f"{found['status']['podIP']}:{PORT}"
