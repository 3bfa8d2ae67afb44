"""The API server ends in mid-run and comes back: by the program that RESTART_API_SERVER names."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests import overlays
from tests.cluster.conftest import Examples
from tests.cluster.kubernetes import HANG_SECONDS

ALONE = True  # everybody else needs the API server, too
RESTART = os.environ.get("RESTART_API_SERVER", "")
SLOWLY = """\
- name: clear
  url: http://web-server/clear-caches
  discovery: endpointslices
  port_name: http
  concurrency: 1
  stagger: 4s
"""


@pytest.mark.skipif(not RESTART, reason="RESTART_API_SERVER names no program")
def test_a_run_outlives_the_api_server_and_is_confirmed_by_the_next_one(examples: Examples) -> None:
    example = examples("api-server")
    example.apply(*overlays.render(example.overlay("endpointslices")))
    example.start("clear", SLOWLY, ("endpointslices",))
    example.run("clear").wait_for_event("call.succeeded")
    subprocess.run([RESTART], timeout=HANG_SECONDS, check=True)
    # Neither the log nor the pods can be watched across the restart.
    example.kubectl("wait", "job/clear", "--for=condition=Complete", "--timeout=120s")
    entries = [json.loads(line) for line in example.kubectl("logs", "job/clear").splitlines()]
    failures = [entry for entry in entries if entry["event"] == "resolution.failed"]
    assert failures, "no question met the restart"
    assert {entry["error_type"] for entry in failures} <= {"api_unreachable", "api_forbidden"}
    (done,) = (entry for entry in entries if entry["event"] == "broadcast.finished")
    assert (done["outcome"], done["acknowledged"], done["confirmed"]) == ("complete", 3, True)
    pods = json.loads(example.kubectl("get", "pods", "--output=json"))["items"]
    servers = [pod["metadata"]["name"] for pod in pods if "web-server" in pod["metadata"]["name"]]
    logs = [example.kubectl("logs", name).splitlines() for name in servers]
    run_ids = [[json.loads(line)["run_id"] for line in lines] for lines in logs]
    assert run_ids == [[done["run_id"]]] * 3
