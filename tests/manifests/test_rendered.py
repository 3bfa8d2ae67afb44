"""What kustomize makes of the manifests, held against the schemas of Kubernetes itself."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests import overlays
from tests.docs import blocks, rules
from tests.docs.blocks import Block
from tests.overlays import MANIFESTS, Object, find, render
from worker.config.load import load
from worker.discovery.api import SERVICE_ACCOUNT

# podFailurePolicy is stable since 1.31. The newest is the newest that kubernetes-validate knows.
SUPPORTED = ("1.31", ".".join(kubernetes_validate.latest_version().split(".")[:2]))
COMPONENTS = ("endpointslices", "istio", "on-change", "retry", "secrets")
EXAMPLE = "overlays/example"
BY_API = "overlays/endpointslices"
CASES: list[tuple[str, tuple[str, ...]]] = [
    ("base", ()),
    (EXAMPLE, ()),
    (BY_API, ()),
    ("overlays/reload", ()),
    *((EXAMPLE, (component,)) for component in COMPONENTS),
    (EXAMPLE, COMPONENTS),
]


def rendered(directory: Path, resource: str = EXAMPLE, *components: str) -> list[Object]:
    return render(overlays.write(directory, [resource], components))


def pod_of(cronjob: Object) -> Any:
    return cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def names(objects: list[Object]) -> list[str]:
    """Kind and name of each, without the hash of a ConfigMap's content."""
    return [
        f"{found['kind']} {re.sub('-[a-z0-9]{10}$', '', found['metadata']['name'])}"
        for found in objects
    ]


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize(
    ("resource", "components"), CASES, ids=["+".join((case, *more)) for case, more in CASES]
)
def test_kubernetes_knows_every_field(
    resource: str, components: tuple[str, ...], version: str, tmp_path: Path
) -> None:
    for found in rendered(tmp_path, resource, *components):
        kubernetes_validate.validate(found, version, strict=True)


def test_a_misspelt_field_would_be_found(tmp_path: Path) -> None:
    cronjob = find(rendered(tmp_path), "CronJob")
    cronjob["spec"]["startingDeadlineSecond"] = 300
    for version in SUPPORTED:
        with pytest.raises(kubernetes_validate.ValidationError, match="startingDeadlineSecond"):
            kubernetes_validate.validate(cronjob, version, strict=True)


OVERLAYS = [b for b in blocks.blocks("yaml") if rules.yaml_kind(b.text) == "overlay"]


@pytest.mark.parametrize("block", OVERLAYS, ids=str)
def test_an_overlay_of_the_documentation_can_be_rendered(block: Block, tmp_path: Path) -> None:
    overlay = yaml.safe_load(block.text)
    overlays.write(tmp_path, **overlay | {"resources": ["base"], "components": ["retry"]})
    (tmp_path / "broadcasts.yaml").write_text("- {name: a, url: 'http://shop:8443/'}\n")
    objects = render(tmp_path)
    for found in objects:
        kubernetes_validate.validate(found, SUPPORTED[0], strict=True)
    assert find(objects, "CronJob")["spec"]["schedule"] == "17 3 * * *"
    assert find(objects, "ConfigMap")["data"].keys() == {"broadcasts.yaml"}
    assert find(objects, "NetworkPolicy")["spec"]["egress"][1]["ports"][0]["port"] == 8443


def test_the_base_is_a_cronjob_and_what_it_needs() -> None:
    assert sorted(names(render(MANIFESTS / "base"))) == [
        "ConfigMap pod-broadcast",
        "CronJob pod-broadcast",
        "NetworkPolicy pod-broadcast",
        "ServiceAccount pod-broadcast",
    ]


def test_the_example_has_a_web_server_and_its_services_besides() -> None:
    objects = render(MANIFESTS / EXAMPLE)
    assert sorted(names(objects)) == [
        "ConfigMap pod-broadcast",
        "ConfigMap web-server",
        "CronJob pod-broadcast",
        "Deployment web-server",
        "Namespace pod-broadcast-example",
        "NetworkPolicy pod-broadcast",
        "Service web-server",
        "Service web-server-headless",
        "Service web-server-headless-not-ready",
        "ServiceAccount pod-broadcast",
    ]
    namespaces = {found["metadata"].get("namespace") for found in objects}
    assert namespaces == {None, "pod-broadcast-example"}  # the Namespace itself has none
    assert find(objects, "CronJob")["spec"]["schedule"] == "*/10 * * * *"


def test_the_pod_mounts_the_configuration_of_config() -> None:
    objects = render(MANIFESTS / "base")
    configuration = find(objects, "ConfigMap")
    example = MANIFESTS.parent / "config" / "clear-web-caches.yaml"
    assert configuration["data"] == {example.name: example.read_text()}
    (volume,) = pod_of(find(objects, "CronJob"))["volumes"]
    assert volume["configMap"] == {"name": configuration["metadata"]["name"]}


def test_no_pod_has_a_token_of_the_api() -> None:
    objects = render(MANIFESTS / EXAMPLE)
    assert find(objects, "ServiceAccount")["automountServiceAccountToken"] is False
    for pod in (
        pod_of(find(objects, "CronJob")),
        find(objects, "Deployment")["spec"]["template"]["spec"],
    ):
        assert pod["automountServiceAccountToken"] is False


def test_the_worker_may_talk_to_dns_and_to_the_pods_and_nobody_to_it() -> None:
    policy = find(render(MANIFESTS / EXAMPLE), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    dns, pods = policy["egress"]
    assert dns["ports"] == [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    assert dns["to"][1] == {"ipBlock": {"cidr": "169.254.20.10/32"}}
    assert pods == {
        "to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "web-server"}}}],
        "ports": [{"protocol": "TCP", "port": 8080}],
    }


def test_the_retry_component_leaves_3_and_4_to_the_backoff_limit(tmp_path: Path) -> None:
    job = find(rendered(tmp_path, EXAMPLE, "retry"), "CronJob")["spec"]["jobTemplate"]["spec"]
    ignore, fail = job["podFailurePolicy"]["rules"]
    assert (ignore["action"], fail["action"]) == ("Ignore", "FailJob")
    assert fail["onExitCodes"]["values"] == [1, 2]
    assert job["backoffLimit"] == 2


def test_the_secrets_component_mounts_files_that_only_the_worker_reads(tmp_path: Path) -> None:
    pod = pod_of(find(rendered(tmp_path, EXAMPLE, "secrets"), "CronJob"))
    assert pod["volumes"][-1] == {
        "name": "secrets",
        "secret": {"secretName": "pod-broadcast", "defaultMode": 0o440},
    }
    assert pod["containers"][0]["volumeMounts"][-1] == {
        "name": "secrets",
        "mountPath": "/var/run/secrets/pod-broadcast",
        "readOnly": True,
    }


def test_the_endpointslices_component_gives_the_right_to_list_them_and_no_other() -> None:
    objects = render(MANIFESTS / BY_API)
    assert find(objects, "Role")["rules"] == [
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]}
    ]
    account = find(objects, "ServiceAccount")["metadata"]
    (subject,) = find(objects, "RoleBinding")["subjects"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    assert find(objects, "Role")["metadata"]["namespace"] == account["namespace"]
    pod = pod_of(find(objects, "CronJob"))
    assert pod["automountServiceAccountToken"] is False  # a sidecar has no token
    assert {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}} in (
        pod["volumes"][-1]["projected"]["sources"]
    )
    assert pod["containers"][0]["volumeMounts"][-1] == {
        "name": "api",
        "mountPath": SERVICE_ACCOUNT,
        "readOnly": True,
    }
    ports = [{"protocol": "TCP", "port": port} for port in (443, 6443)]
    assert find(objects, "NetworkPolicy")["spec"]["egress"][-1] == {"ports": ports}


def test_the_second_example_asks_the_api_about_the_ordinary_service(tmp_path: Path) -> None:
    configuration = next(
        found["data"]
        for found in render(MANIFESTS / BY_API)
        if found["kind"] == "ConfigMap" and "clear-web-caches.yaml" in found["data"]
    )
    file = tmp_path / "broadcasts.yaml"
    file.write_text(configuration["clear-web-caches.yaml"])
    (entry,) = load([str(file)], {}).broadcasts
    assert (entry.discovery, entry.port_name) == ("endpointslices", "http")
    services = [found for found in render(MANIFESTS / BY_API) if found["kind"] == "Service"]
    (service,) = (s for s in services if s["metadata"]["name"] == entry.exchange.url.host)
    assert "clusterIP" not in service["spec"]
    assert entry.port_name in {port["name"] for port in service["spec"]["ports"]}


def test_the_istio_component_asks_for_a_sidecar_that_ends_with_the_worker(tmp_path: Path) -> None:
    objects = rendered(tmp_path, EXAMPLE, "istio")
    metadata = find(objects, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["metadata"]
    assert metadata == {
        "labels": {"app.kubernetes.io/name": "pod-broadcast", "sidecar.istio.io/inject": "true"},
        "annotations": {"sidecar.istio.io/nativeSidecar": "true"},
    }
    assert find(objects, "NetworkPolicy")["spec"]["egress"][-1]["ports"] == [
        {"protocol": "TCP", "port": 15012}
    ]


def in_any_order(value: Any) -> Any:
    """The value with its lists sorted."""
    if isinstance(value, dict):
        return {key: in_any_order(part) for key, part in value.items()}
    if isinstance(value, list):
        return sorted(map(in_any_order, value), key=repr)
    return value


def test_components_can_be_combined_in_any_order(tmp_path: Path) -> None:
    results = []
    for number, order in enumerate(itertools.permutations(COMPONENTS)):
        directory = tmp_path / str(number)
        directory.mkdir()
        results.append(in_any_order(rendered(directory, EXAMPLE, *order)))
    assert all(result == results[0] for result in results)
