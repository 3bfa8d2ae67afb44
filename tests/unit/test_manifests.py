"""What the manifests promise, by their source. tests/manifests checks what kustomize renders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.loopback.program import run_worker
from tests.overlays import MANIFESTS
from worker import __version__
from worker.config import load as config
from worker.config.values import parse_duration
from worker.options import OPTIONS
from worker.report import outcome as report

ROOT = MANIFESTS.parent
CRONJOB = yaml.safe_load((MANIFESTS / "base" / "cronjob.yaml").read_text())
JOB = CRONJOB["spec"]["jobTemplate"]["spec"]
POD = JOB["template"]["spec"]
# "If the Pod fails, the Job controller recreates it with an exponential back-off delay (10s, 20s,
# 40s ...)": https://kubernetes.io/docs/concepts/workloads/controllers/job/
BACKOFF_SECONDS = 10.0
START_SECONDS = 30.0  # for scheduling and starting one pod


(GRACE,) = (option.default for option in OPTIONS if option.flag == "--grace")
GRACE_SECONDS = parse_duration(GRACE)


def run_deadline_seconds() -> float:
    """After how long a run ends itself, whatever its broadcasts are."""
    (container,) = POD["containers"]
    (value,) = (e["value"] for e in container["env"] if e["name"] == "BROADCAST_DEADLINE")
    return parse_duration(value)


def longest_pod_seconds() -> float:
    """From the pod's creation to the worker's report, even if it is stopped at its deadline."""
    return START_SECONDS + run_deadline_seconds() + GRACE_SECONDS


def patches(component: str) -> dict[str, Any]:
    """What the component's JSON patches of the CronJob set, by path."""
    kustomization = MANIFESTS / "components" / component / "kustomization.yaml"
    operations = yaml.safe_load(yaml.safe_load(kustomization.read_text())["patches"][0]["patch"])
    return {o["path"]: o["value"] for o in operations if o["op"] == "replace"}


def test_the_runs_deadline_leaves_time_for_the_longest_run_that_check_expects(
    tmp_path: Path,
) -> None:
    kustomization = yaml.safe_load((ROOT / "config" / "Kustomization").read_text())
    (file,) = kustomization["configMapGenerator"][0]["files"]
    checked = run_worker(tmp_path, ROOT / "config" / file, command="check")
    said = re.search(r"a run takes at most (\S+)$", checked.stdout.strip())
    assert said, checked
    assert run_deadline_seconds() > parse_duration(said[1])


def test_the_run_reports_at_its_own_deadline_before_kubernetes_deletes_its_pod() -> None:
    assert run_deadline_seconds() + GRACE_SECONDS < JOB["activeDeadlineSeconds"]


def test_the_job_has_time_for_a_disrupted_run_and_the_run_that_repeats_it() -> None:
    assert JOB["activeDeadlineSeconds"] >= 2 * longest_pod_seconds()


def test_with_retries_the_job_has_time_for_each_of_them() -> None:
    patched = patches("retry")
    retries = patched["/spec/jobTemplate/spec/backoffLimit"]
    pauses = sum(BACKOFF_SECONDS * 2**number for number in range(retries))
    needed = (retries + 1) * longest_pod_seconds() + pauses
    assert patched["/spec/jobTemplate/spec/activeDeadlineSeconds"] >= needed


def test_the_page_says_how_the_two_deadlines_fit_together() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    parts = f"{START_SECONDS + GRACE_SECONDS:g} s"
    assert f"2 * ({run_deadline_seconds():g} s + {parts})" in page
    assert f"{JOB['activeDeadlineSeconds']} s" in page


def test_the_pod_has_time_to_report_after_a_stop_signal() -> None:
    assert POD["terminationGracePeriodSeconds"] > 2 * GRACE_SECONDS


def test_a_disruption_is_ignored_before_exit_codes_are_looked_at() -> None:
    (container,) = POD["containers"]
    codes = [report.EXIT_BUG, report.EXIT_USAGE, *report.EXIT_CODES.values()]
    assert JOB["podFailurePolicy"]["rules"] == [
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
        {
            "action": "FailJob",
            "onExitCodes": {
                "containerName": container["name"],
                "operator": "In",
                "values": [code for code in codes if code],
            },
        },
    ]


def test_the_retry_component_fails_the_job_only_where_a_retry_cannot_help() -> None:
    path = "/spec/jobTemplate/spec/podFailurePolicy/rules/1/onExitCodes/values"
    assert patches("retry")[path] == [report.EXIT_BUG, report.EXIT_USAGE]


def test_failed_jobs_stay_to_be_looked_at() -> None:
    assert "ttlSecondsAfterFinished" not in JOB
    assert CRONJOB["spec"]["failedJobsHistoryLimit"] >= 1


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("Dockerfile", r"^ARG VERSION=(\S+)$"),
        ("Dockerfile", r"--tag pod-broadcast:(\S+)"),
        ("manifests/base/cronjob.yaml", r"image: pod-broadcast:(\S+)$"),
        ("manifests/overlays/example/kustomization.yaml", r"newTag: (\S+)$"),
    ],
)
def test_the_version_is_the_programs(file: str, pattern: str) -> None:
    assert re.findall(pattern, (ROOT / file).read_text(), re.MULTILINE) == [__version__]


def test_the_worker_does_not_take_the_kustomization_for_broadcasts(tmp_path: Path) -> None:
    for name in ("Kustomization", "clear-web-caches.yaml"):
        (tmp_path / name).write_text((ROOT / "config" / name).read_text())
    assert config.load([str(tmp_path)], {}).files == (str(tmp_path / "clear-web-caches.yaml"),)
