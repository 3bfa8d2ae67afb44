"""The benchmark's own parts do what they say, and the page shows the figures that it measured."""

from __future__ import annotations

import json
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import page
from tests.bench.measure import Command, Series, run, take_turns
from tests.bench.servers import FIRST_ADDRESS, Dns, SlowPods, services
from tests.bench.ways import worker


def test_the_page_shows_the_stored_results() -> None:
    results = json.loads(page.RESULTS.read_text())
    assert page.PAGE.read_text() == page.filled(page.PAGE.read_text(), results)
    assert page.PLOT.read_text() == page.plot(results)


def test_a_figure_that_is_not_the_stored_one_is_found() -> None:
    results = json.loads(page.RESULTS.read_text())
    results["loglines"]["a line, whole"] += 1
    assert page.PAGE.read_text() != page.filled(page.PAGE.read_text(), results)


def test_every_pod_is_called_once_a_turn_and_one_that_hangs_is_missed(tmp_path: Path) -> None:
    with socket.create_server((str(FIRST_ADDRESS), 0)) as free:
        port = free.getsockname()[1]
    with SlowPods(20, 0.001, hang_every=10, port=port) as pods, Dns(services(20)) as dns:
        command = worker(tmp_path, dns.port, 20, port, 4, more="  timeout: 500ms\n")
        allowed = replace(command, exit_codes=(3,))
        (series,) = take_turns([allowed], 1, tmp_path / "log", lambda: pods.window(18))
    assert len(series.wall_seconds) == len(series.cpu_seconds) == len(series.window_seconds) == 1
    assert 0 < series.window_seconds[0] < series.wall_seconds[0]
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert events.count("call.succeeded") == 18
    assert events.count("endpoint.failed") == 2


def test_a_way_that_fails_ends_the_benchmark(tmp_path: Path) -> None:
    command = Command("broken", [sys.executable, "-c", "exit('no such luck')"])
    with pytest.raises(SystemExit, match="broken: exit code 1\nno such luck"):
        run(command, tmp_path / "log", Series("broken"))
