"""The kustomize components that ship the rules, and the words that rules and runbook share."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import overlays
from tests.alerting.rules import ALERTS, FOLDER, PREFIX, RECORDINGS
from tests.alerting.test_prometheus import GROUPS, promtool
from tests.docs import blocks, rules
from tests.docs.blocks import Block
from tests.loopback.program import ROOT

MANIFESTS = ROOT / "manifests"
RUNBOOK = (ROOT / "docs" / "alerting.md").read_text()
RULES: dict[str, dict[str, Any]] = {
    **{PREFIX + name: rule for name, rule in ALERTS.items()},
    **{rule["alert"]: rule for group in GROUPS["groups"] for rule in group["rules"]},
}


OVERLAYS = [b for b in blocks.blocks("yaml") if rules.yaml_kind(b.text) == "component"]


@pytest.mark.parametrize("block", OVERLAYS, ids=str)
def test_an_overlay_of_the_page_adds_the_rules_to_the_base(block: Block, tmp_path: Path) -> None:
    added = {"loki": "ConfigMap", "prometheus": "PrometheusRule"}
    (component,) = (name for name in added if f"components/{name}\n" in block.text)
    for folder in ("manifests", "config"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    overlay = tmp_path / "manifests" / "overlays" / "with-alerts"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(block.text)
    base = overlays.render(MANIFESTS / "base")
    kinds = sorted(found["kind"] for found in overlays.render(overlay))
    assert kinds == sorted([*(found["kind"] for found in base), added[component]])


def built(folder: Path, component: str) -> list[dict[str, Any]]:
    """What kustomize makes of an overlay with nothing but the component."""
    shutil.copytree(MANIFESTS, folder / "manifests")
    overlay = folder / "manifests" / "overlays" / "with-alerts"
    overlay.mkdir(parents=True)
    (overlay / "kustomization.yaml").write_text(
        f"namespace: shop\nnamePrefix: eu-\ncomponents: [../../components/{component}]\n"
    )
    done = subprocess.run(
        ["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def test_the_loki_component_is_a_config_map_of_the_rules_for_the_rulers_sidecar(
    tmp_path: Path,
) -> None:
    (config_map,) = built(tmp_path, "loki")
    assert config_map["kind"] == "ConfigMap"
    assert config_map["metadata"] == {
        "name": "eu-pod-broadcast-loki-rules",
        "namespace": "shop",
        "labels": {"loki_rule": "true"},
        "annotations": {"k8s-sidecar-target-directory": "/rules/fake"},
    }
    assert config_map["data"] == {
        f"pod-broadcast-{name}.yaml": (FOLDER / f"{name}.yaml").read_text()
        for name in ("alerts", "recordings")
    }


def test_the_prometheus_component_is_the_rule_as_promtool_takes_it(tmp_path: Path) -> None:
    (rule,) = built(tmp_path, "prometheus")
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["metadata"]["namespace"] == "shop"
    assert rule["spec"] == GROUPS
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    assert promtool("check", "rules", str(tmp_path / "rules.yaml")).returncode == 0


@pytest.mark.parametrize("alert", RULES)
def test_has_all_that_somebody_woken_by_it_needs(alert: str) -> None:
    rule = RULES[alert]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    annotations = rule["annotations"]
    assert "in namespace {{ $labels.namespace }}" in annotations["summary"]
    assert re.search(r"\{\{ \$labels\.(broadcast|cronjob) \}\}", annotations["summary"])
    assert "| query }}" in annotations["description"]
    url, _, anchor = annotations["runbook_url"].partition("#")
    assert url.endswith("/docs/alerting.md")
    assert anchor == alert.lower()


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    sections = re.findall(rf"^### ({PREFIX}\w+)$", RUNBOOK, re.MULTILINE)
    assert sections == list(RULES)


@pytest.mark.parametrize("alert", RULES)
def test_the_section_says_what_it_means_what_to_do_and_when_it_ends(alert: str) -> None:
    section = re.split(r"^#+ ", RUNBOOK.partition(f"### {alert}\n")[2], flags=re.MULTILINE)[0]
    assert f"**{RULES[alert]['labels']['severity']}**" in section
    for word in ("Means:", "Do:", "Ends:"):
        assert f"- {word} " in section


def test_the_runbook_links_to_places_that_are_there() -> None:
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", RUNBOOK):
        assert (ROOT / "docs" / path).exists(), path
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)
    }
    for anchor in re.findall(r"\]\(#([^)]+)\)", RUNBOOK):
        assert anchor in anchors


def test_the_runbooks_alertmanager_routes_are_valid(tmp_path: Path) -> None:
    (routes,) = (b for b in blocks.blocks("yaml") if rules.yaml_kind(b.text) == "routes")
    (tmp_path / "alertmanager.yaml").write_text(routes.text)
    done = subprocess.run(
        ["amtool", "check-config", str(tmp_path / "alertmanager.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(re.findall(rf"{PREFIX}\w+", routes.text)) <= RULES.keys()


def test_the_runbooks_commands_make_rules_for_another_schedule(tmp_path: Path) -> None:
    commands = [c.text for c in blocks.commands() if c.text.startswith("sed ")]
    shutil.copy(FOLDER / "alerts.yaml", tmp_path)
    shutil.copy(MANIFESTS / "alerting" / "prometheus" / "pod-broadcast.yaml", tmp_path)
    subprocess.run(["bash", "-ec", "".join(commands)], cwd=tmp_path, check=True)
    text = (tmp_path / "alerts.yaml").read_text()
    assert "20m" not in text
    assert "20 minutes" not in text
    expressions = " ".join(rule["expr"] for rule in yaml.safe_load(text)["groups"][0]["rules"])
    assert set(re.findall(r"\[\w+\](?: offset \w+)?", expressions)) == {
        "[25h]",
        "[2h]",
        "[12h]",
        "[7d] offset 2h",
    }
    assert "1200" not in (tmp_path / "pod-broadcast.yaml").read_text()


QUERIES = {
    **{name: rule["expr"] for name, rule in (ALERTS | RECORDINGS).items()},
    **{f"{name}'s words": " ".join(rule["annotations"].values()) for name, rule in ALERTS.items()},
    "dashboard": "\n".join(
        target["expr"]
        for panel in json.loads((MANIFESTS / "alerting/grafana/pod-broadcast.json").read_text())[
            "panels"
        ]
        for target in panel["targets"]
    ),
}
# A stream's labels; the event in the line; nothing but what could be read; the event again.
BEGINNING = re.compile(
    r'\{service_name=~"\(\.\+/\)\?\(pod-broadcast\|worker\)\(-\.\+\)\?\|unknown_service"\} '
    r'\|[=~] \S+( \|= %q)?\s+\| json [^|]+\| __error__="" \| event=~?"[a-z.|]+"'
)


@pytest.mark.parametrize("name", QUERIES)
def test_selects_positively_and_the_event_before_anything_else(name: str) -> None:
    text = QUERIES[name]
    assert "!=" not in text
    assert "!~" not in text
    assert "absent" not in text
    assert len(re.findall(r"\{service_name", text)) == len(BEGINNING.findall(text))
    assert not re.findall(r"\| json\s*\|", text), "every key would become a label"


BASE = MANIFESTS / "base" / "cronjob.yaml"


def test_the_rules_fit_the_cronjob_that_is_shipped() -> None:
    cronjob = yaml.safe_load(BASE.read_text())
    spec = cronjob["spec"]["jobTemplate"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    expressions = " ".join(rule["expr"] for rule in RULES.values())
    assert cronjob["spec"]["schedule"] == "*/10 * * * *"  # twice that: [20m], 1200 s
    assert f"> {spec['activeDeadlineSeconds']}\n" in expressions
    assert "pod-broadcast" in cronjob["metadata"]["name"]
    assert container["name"] == "worker"
    variables = {each["name"] for each in container["env"]}
    assert variables >= {"POD_NAMESPACE", "JOB_NAME"}
