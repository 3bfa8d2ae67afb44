"""How many threads the pool has, and which of them makes a call."""

from __future__ import annotations

import os
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.loopback.pods import Pods, silent
from tests.loopback.serving import HANG_SECONDS
from tests.records import parsed
from worker.calls.call import Caller
from worker.calls.loop import Ended
from worker.calls.pool import Pool, cpu_quota, pool_size, thread_count
from worker.config.tls import tls_context
from worker.model import CallResult, Endpoint, Exchange


@pytest.mark.parametrize(
    ("processors", "quota", "threads"),
    [
        (1, None, 1),
        (2, None, 2),
        (64, None, 4),
        (64, 2.5, 2),
        (64, 0.1, 1),
        (2, 8.0, 2),
    ],
)
def test_as_many_threads_as_the_container_may_use_processors(
    processors: int, quota: float | None, threads: int
) -> None:
    assert thread_count(processors, quota) == threads


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu.max": ""}, None),
        ({"cpu.max": "150000\n"}, None),
        ({"cpu.max": "150000 100000 5000\n"}, None),
        ({"cpu.max": "150000 0\n"}, None),
        ({"cpu.max": "0 100000\n"}, None),
        ({"cpu.max": "many 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": ""}, None),
    ],
)
def test_the_quota_of_a_cgroup(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == quota


def test_the_processors_of_this_process_count() -> None:
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(all_of_them)})
    try:
        assert pool_size() == 1
    finally:
        os.sched_setaffinity(0, all_of_them)


def test_calls_are_spread_and_a_cut_reaches_all_of_them() -> None:
    arrived: SimpleQueue[list[Ended]] = SimpleQueue()
    pool = Pool(arrived.put, size=2)
    with Pods(5) as pods:
        for address in pods.addresses:
            pods[address].script(silent)
        exchange = Exchange(parsed(f"http://web:{pods.port}/"))
        call = Caller(exchange, "0" * 32, tls_context).call
        endpoints = [Endpoint(address, pods.port) for address in pods.addresses]
        pool.start(0, [call(endpoints[0], "0" * 16)])
        assert pool.loads == [1]  # never more threads than calls
        pool.start(0, [call(endpoint, "0" * 16) for endpoint in endpoints[1:]])
        assert sorted(pool.loads) == [2, 3]
        with pods.changed:
            pods.changed.wait_for(lambda: pods.in_flight == 5, HANG_SECONDS)
        pool.cut(0, "cancelled")
        ended: list[Ended] = []
        while len(ended) < 5:
            ended += arrived.get(timeout=HANG_SECONDS)
        assert pool.loads == [0, 0]
    outcomes = [each.outcome for each in ended]
    assert [isinstance(o, CallResult) and o.error_type for o in outcomes] == ["cancelled"] * 5
