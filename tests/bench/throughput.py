"""`make bench`: the worker beside a thread pool of requests.post calls, and its peak memory.

The two take turns against the same pods in another process; throughput is requests over the time
from the first packet to the last, as the pods see it. Ratios are of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.pods import addresses
from tests.loopback.nameserver import Nameserver
from tests.loopback.program import ROOT

FIRST_ADDRESS = "127.200.0.1"
PORT = 18080
SERVICE = "web-server-headless"


class PodsProcess:
    """The pods of tests/bench/pods.py."""

    def __init__(self, count: int) -> None:
        command = [sys.executable, "-m", "tests.bench.pods", FIRST_ADDRESS, str(count), str(PORT)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._read() == "ready\n"

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()

    def requests_per_second(self, expected: int) -> float:
        """Of what came since the last time this was asked."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seen = json.loads(self._read())
        assert seen["requests"] == expected, seen
        return float(seen["requests"] / seen["seconds"])

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def peak_megabytes(command: list[str], log: Path) -> float:
    """Runs the command, its output to a file. Returns its peak resident memory."""
    with log.open("wb") as stdout:
        process = subprocess.Popen(command, cwd=ROOT, stdout=stdout)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command}: exit code {process.returncode}, see {log}"
    return usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    count, concurrency = options.pods, options.concurrency
    pods = PodsProcess(count)
    with Nameserver() as nameserver, tempfile.TemporaryDirectory() as folder:
        nameserver.set(SERVICE, *addresses(FIRST_ADDRESS, count))
        config = Path(folder, "broadcasts.yaml")
        config.write_text(
            f"- name: bench\n  url: http://{SERVICE}.:{PORT}/clear-caches\n"
            f"  concurrency: {concurrency}\n  settle: 0s\n"
        )
        worker = [sys.executable, "-m", "worker", "--config", str(config), "--log-format", "json"]
        worker += ["--nameserver", str(nameserver)]
        pool = [sys.executable, "-m", "tests.bench.requests_pool", FIRST_ADDRESS]
        pool += [str(count), str(PORT), str(concurrency)]
        ours, theirs, memory = [], [], []
        for _ in range(options.turns):
            memory.append(peak_megabytes(worker, Path(folder, "log")))
            ours.append(pods.requests_per_second(count))
            peak_megabytes(pool, Path(folder, "pool"))
            theirs.append(pods.requests_per_second(count))
    pods.end()
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    print(f"{count} pods, {concurrency} at once, median of {options.turns} turns on loopback:")
    print(f"  worker                  {statistics.median(ours):7.0f} calls/s")
    print(f"  pool of requests.post   {statistics.median(theirs):7.0f} calls/s")
    print(f"  ratio                   {statistics.median(ratios):7.1f} (least {min(ratios):.1f})")
    print(f"  worker's peak memory    {max(memory):7.1f} MB")


if __name__ == "__main__":
    main()
