"""The PrometheusRule, by promtool: its unit tests pass, and each metric renamed makes one fail."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.loopback.program import ROOT

RULE = ROOT / "manifests" / "alerting" / "prometheus" / "pod-broadcast.yaml"
UNIT_TESTS = Path(__file__).parent / "promtool.yaml"
GROUPS = yaml.safe_load(RULE.read_text())["spec"]
ALERTS = [rule["alert"] for group in GROUPS["groups"] for rule in group["rules"]]
EXPRESSIONS = " ".join(rule["expr"] for group in GROUPS["groups"] for rule in group["rules"])


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def unit_tests(folder: Path, rules: str) -> subprocess.CompletedProcess[str]:
    (folder / "rules.yaml").write_text(rules)
    (folder / "tests.yaml").write_text(UNIT_TESTS.read_text())
    return promtool("test", "rules", str(folder / "tests.yaml"))


def test_the_rules_are_valid_and_their_unit_tests_pass(tmp_path: Path) -> None:
    done = unit_tests(tmp_path, yaml.safe_dump(GROUPS))
    assert done.returncode == 0, done.stdout + done.stderr
    done = promtool("check", "rules", "--lint-fatal", str(tmp_path / "rules.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_unit_test_in_which_it_fires_and_one_in_which_it_does_not(
    alert: str,
) -> None:
    tests = yaml.safe_load(UNIT_TESTS.read_text())["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    assert {bool(c["exp_alerts"]) for c in checks if c["alertname"] == alert} == {True, False}


@pytest.mark.parametrize("metric", sorted(set(re.findall(r"kube_\w+", EXPRESSIONS))))
def test_a_unit_test_fails_when_kube_state_metrics_renames(metric: str, tmp_path: Path) -> None:
    rules = re.sub(rf"\b{metric}\b", f"{metric}_renamed", yaml.safe_dump(GROUPS, width=10_000))
    done = unit_tests(tmp_path, rules)
    assert done.returncode == 1
    assert "FAILED" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "matcher",
    ['owner_kind="CronJob"', 'owner_name=~".*pod-broadcast.*"', 'condition="true"', "== 1", "> 0"],
)
def test_a_unit_test_fails_without(matcher: str, tmp_path: Path) -> None:
    spec = yaml.safe_load(RULE.read_text())["spec"]
    for group in spec["groups"]:
        for rule in group["rules"]:
            rule["expr"] = rule["expr"].replace(matcher, "")
    assert unit_tests(tmp_path, yaml.safe_dump(spec)).returncode == 1
