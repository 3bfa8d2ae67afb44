"""docs/events.md and what the whole program writes. `Worker.finish` holds every line against the
page; here is what no other test provokes, and whether the page has more than is ever written.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.alerting.runs import EVERY_EVENT, record
from tests.events import judge
from tests.loopback.pods import Pods
from tests.loopback.program import stable
from tests.process.conftest import Run
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


def test_every_field_of_the_page_is_on_some_line() -> None:
    runs = record(EVERY_EVENT).values()
    entries = [json.loads(line) for run in runs for _, line in run.lines]
    assert judge.unseen(entries) == []
