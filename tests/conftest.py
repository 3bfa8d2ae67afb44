"""Suites that need something a machine may lack are skipped there, and named at the end.

`REQUIRE=docs,manifests,container,cluster,alerting` in the environment makes the lack a failure.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

pytest.register_assert_rewrite("tests.process.logbook")  # so that it shows what differs


def _answers(*command: str) -> str | None:
    """Why the command cannot be carried out, or None."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        return f"there is no {command[0]}"
    except subprocess.TimeoutExpired:
        return f"`{' '.join(command)}` does not end"
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return f"`{' '.join(command)}` says: {lines[-1]}" if done.returncode else None


def _lacks_cluster() -> str | None:
    for name, what in (("KUBECONFIG", "no cluster"), ("IMAGE", "no image that the cluster has")):
        if not os.environ.get(name):
            return f"{name} names {what}"
    return _answers("kubectl", "get", "--raw", "/readyz")


def _lacks_tools() -> str | None:
    lacks = (_answers(name, version) for name, version in TOOLS.items())
    return next((lack for lack in lacks if lack), None)


# What the commands in the documentation need, and how it says that it is there.
TOOLS = {"dig": "-v", "curl": "--version", "jq": "--version"}


PROGRAMS = (
    *("prometheus-alertmanager", "amtool", "prometheus", "promtool", "node", "npm"),
    *("curl", "jq", "kubectl"),
)


def _lacks_alerting() -> str | None:
    """Loki is in no distribution's packages: the environment names it."""
    loki = os.environ.get("LOKI")
    if not loki:
        return "LOKI names no program"
    missing = [name for name in (loki, *PROGRAMS) if shutil.which(name) is None]
    return f"there is no {', '.join(missing)}" if missing else None


# What each suite needs: a function that says what is missing, or None.
NEEDS: dict[str, Callable[[], str | None]] = {
    "docs": functools.cache(_lacks_tools),
    "manifests": functools.cache(lambda: _answers("kubectl", "kustomize", "--help")),
    "container": functools.cache(lambda: _answers("docker", "version")),
    "cluster": functools.cache(_lacks_cluster),
    "alerting": functools.cache(_lacks_alerting),
}


def _suite(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def _required() -> set[str]:
    return {name for name in os.environ.get("REQUIRE", "").split(",") if name}


def pytest_configure() -> None:
    unknown = _required() - NEEDS.keys()
    if unknown:
        raise pytest.UsageError(
            f"REQUIRE={','.join(sorted(unknown))}: no such suite; there are {', '.join(NEEDS)}"
        )


def pytest_runtest_setup(item: pytest.Item) -> None:
    suite = _suite(item)
    lack = NEEDS[suite]() if suite in NEEDS else None
    if lack and suite in _required():
        pytest.fail(f"REQUIRE={suite}, but {lack}", pytrace=False)
    if lack:
        pytest.skip(f"the {suite} suite: {lack}")


def _suite_of(report: pytest.TestReport) -> str:
    return report.nodeid.split("/")[1]


def _seconds(reports: Iterable[object]) -> dict[str, float]:
    """How long each suite took, what it set up and tore down included."""
    seconds: dict[str, float] = defaultdict(float)
    for report in reports:
        if isinstance(report, pytest.TestReport):
            seconds[_suite_of(report)] += report.duration
    return seconds


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    stats = terminalreporter.stats
    seconds = _seconds(chain.from_iterable(stats.values()))
    terminalreporter.section("how long each suite took")
    for suite, total in sorted(seconds.items()):
        terminalreporter.write_line(f"{suite}: {total:.0f} s")
    skipped = {
        _suite_of(report)
        for report in stats.get("skipped", [])
        if isinstance(report, pytest.TestReport)
    }
    lacks = [(suite, NEEDS[suite]()) for suite in NEEDS if suite in skipped]
    if lacks:
        terminalreporter.section("suites that did not run")
        for suite, lack in lacks:
            terminalreporter.write_line(f"{suite}: {lack}")
        terminalreporter.write_line(
            f"REQUIRE={','.join(suite for suite, _ in lacks)} makes this a failure"
        )
