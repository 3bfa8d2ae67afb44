"""docs/events.md and what the whole program writes. `Worker.finish` holds every line against the
page; here is what the page has and no other test provokes, and whether anything is left over.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.events import judge
from tests.loopback.pods import Pods
from tests.loopback.program import stable
from tests.process.conftest import PARTIAL, Run
from worker import __version__


def test_a_run_says_which_pod_it_is(run: Run, three_pods: Pods) -> None:
    config = f"- name: clear\n  url: http://web:{three_pods.port}/\n  settle: 0s\n"
    environment = {"POD_NAME": "clear-x7k2p", "POD_NAMESPACE": "shop", "NODE_NAME": "node-3"}
    finished = run(config, environment=environment | {"JOB_NAME": "clear-29381760"})
    started = stable(finished.only("run.started"))
    assert started.pop("config_files").endswith("/broadcasts.yaml")
    assert started == {
        "level": "info",
        "event": "run.started",
        "version": __version__,
        "broadcasts": 1,
        "worker_pod": "clear-x7k2p",
        "worker_namespace": "shop",
        "worker_node": "node-3",
        "worker_job": "clear-29381760",
    }


def test_a_mistake_of_a_whole_file_has_no_line_and_no_key(run: Run) -> None:
    finished = run(Path("/nonexistent/b.yaml"))
    assert finished.exit_code == 2
    invalid = stable(finished.only("config.invalid"))
    assert invalid.pop("error_message").startswith("expected a readable file")
    assert invalid == {
        "level": "error",
        "event": "config.invalid",
        "config_file": "/nonexistent/b.yaml",
    }


def test_every_field_of_the_page_was_seen(request: pytest.FixtureRequest) -> None:
    """Runs last, when every other process test has run."""
    if partial := request.config.stash[PARTIAL]:
        pytest.skip(f"only when the whole process suite runs: {partial}")
    assert judge.unseen() == []
