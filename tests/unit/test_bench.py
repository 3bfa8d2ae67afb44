"""The benchmark's own parts do what they say, and the page shows the figures that it measured."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import dns.message
import dns.query
import pytest

from tests.bench import lists, page
from tests.bench.measure import Command, Series, run, take_turns
from tests.bench.servers import FIRST_ADDRESS, Dns, SlowPods, services
from tests.bench.startup import cpu_seconds
from tests.bench.targets import Target, targets
from tests.bench.ways import CURL_PARALLEL, DIG_ALONE, PLAN, WORKER, worker


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
        command = worker(tmp_path, dns.port, 20, port, 4, more="  timeout: 3s\n")
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


def test_a_target_is_met_at_its_limit_and_not_beyond() -> None:
    assert Target("wall", 0.8, 0.8).cells() == ["wall", "at most 0.8", "0.80", "yes"]
    assert Target("wall", 0.8, 0.801).cells() == ["wall", "at most 0.8", "0.80", "**no**"]
    assert Target("times", 8, 7.9, digits=1, least=True).cells() == [
        "times", "at least 8", "7.9", "**no**"
    ]  # fmt: skip


def https_row(way: str, cpu: float, window: float) -> dict[str, object]:
    return {
        "way": way,
        "certificate": "RSA",
        "pods": 10,
        "concurrency": 4,
        "wall_seconds": [window],
        "cpu_seconds": [cpu],
        "window_seconds": [window],
    }


def test_the_calls_are_what_a_run_takes_beyond_the_same_run_without_them() -> None:
    rows = [
        https_row(WORKER, cpu=0.9, window=0.6),
        https_row(CURL_PARALLEL, cpu=1.1, window=1.0),
        https_row(PLAN, cpu=0.5, window=0),
        https_row(DIG_ALONE, cpu=0.1, window=0),
    ]
    wall, cpu = targets({"https": rows})
    assert wall.cells()[1:] == ["at most 0.8", "0.60", "yes"]
    assert cpu.cells()[1:] == ["at most 0.9", "0.40", "yes"]
    assert cpu.what == "the calls / curl --parallel, CPU, https, RSA, 10 pods, 4 at once"


def test_a_list_behind_a_cache_has_a_target_of_its_own() -> None:
    row = {"broadcasts": 40, "wall_seconds": [36.0]}
    rows = [row | {"way": way} for way in (lists.CACHED, lists.UNCACHED, lists.SEQUENTIAL)]
    assert [(target.limit, target.met) for target in targets({"list": rows})] == [
        (35.0, False),
        (3.0, False),
    ]


def ttl(server: Dns) -> int:
    query = dns.message.make_query("web.bench.", "A")
    answer = dns.query.udp(query, "127.0.0.1", port=server.port, timeout=10)
    return answer.answer[0].ttl


def ttl_after(server: Dns, first: int) -> int:
    """The next TTL that is another; the same one where none comes in 20 s."""
    give_up_at = time.monotonic() + 20
    while (left := ttl(server)) == first and time.monotonic() < give_up_at:
        pass
    return left


def test_a_cached_answer_counts_its_ttl_down_and_is_then_fetched_again() -> None:
    listed = {"web.bench.": ["127.200.0.1"]}
    with Dns(listed, 2) as fresh, Dns(listed, 2, cached=True) as cache:
        assert ttl(fresh) == ttl(cache) == 2
        assert (ttl_after(cache, 2), ttl(fresh)) == (1, 2)
        assert ttl_after(cache, 1) == 2


def test_cpu_time_counts_threads_that_have_ended() -> None:
    burn = """
import threading, time
def burn():
    while time.thread_time() < 0.2: pass
thread = threading.Thread(target=burn)
thread.start()
thread.join()
print(flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert cpu_seconds(process.pid) >= 0.2
        process.communicate(b"\n")


def test_a_small_program_is_not_charged_with_the_memory_of_who_starts_it(tmp_path: Path) -> None:
    once = bytearray(500_000_000)
    del once
    series = Series("true")
    run(Command("true", ["true"]), tmp_path / "log", series)
    assert series.peak_megabytes < 400
