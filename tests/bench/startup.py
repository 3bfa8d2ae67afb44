"""What comes before the first packet: seconds, instructions, and seconds with a tenth of a CPU."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench.measure import Command, Series, run
from tests.bench.pods import RESPONSE
from tests.bench.servers import FIRST_ADDRESS, Dns
from tests.bench.ways import worker
from tests.loopback.program import ROOT

PORT = 18082
IMPORTS = "plain imports"
FIRST_PACKET = "run, to the first packet"
CGROUP = "pod-broadcast-bench"
QUOTA_MICROSECONDS, PERIOD_MICROSECONDS = 10_000, 100_000


def measure(folder: Path, turns: int) -> dict[str, Any]:
    with Dns([1]) as dns, socket.create_server((str(FIRST_ADDRESS), PORT)) as pod:
        commands = _commands(folder, dns.port)
        found: dict[str, Any] = {"seconds": _take_turns(commands, turns, folder, pod)}
        with _tenth_of_a_cpu() as procs:
            if procs:
                slow = [_within(procs, command) for command in commands]
                found["seconds_with_a_tenth_of_a_cpu"] = _take_turns(slow, turns, folder, pod)
        if shutil.which("valgrind"):
            answering = threading.Thread(target=_answer_once, args=[pod])
            answering.start()
            found["instructions"] = {
                "run with one pod, whole" if c.name == FIRST_PACKET else c.name: instructions(c)
                for c in commands
            }
            answering.join()
    return found


def _commands(folder: Path, dns_port: int) -> list[Command]:
    python = [sys.executable, "-m", "worker"]
    run_one = worker(folder, dns_port, pods=1, port=PORT, concurrency=16)
    config = run_one.line[run_one.line.index("--config") + 1]
    return [
        Command(IMPORTS, [sys.executable, "-c", "import requests, dns.resolver, structlog, yaml"]),
        Command("--help", [*python, "--help"]),
        Command("check", [*python, "check", "--config", config]),
        replace(run_one, name=FIRST_PACKET),
    ]


def _take_turns(
    commands: list[Command], turns: int, folder: Path, pod: socket.socket
) -> list[dict[str, Any]]:
    found = {command.name: Series(command.name) for command in commands}
    for turn in range(turns + 1):
        for command in commands:
            series = found[command.name] if turn else Series("warm-up")
            if command.name == FIRST_PACKET:
                _note_first_packet(command, pod, series)
            else:
                run(command, folder / "output", series)
    return [series.as_json() for series in found.values()]


def _note_first_packet(command: Command, pod: socket.socket, series: Series) -> None:
    began_at = time.monotonic()
    process = subprocess.Popen(command.line, cwd=ROOT, stdout=subprocess.DEVNULL)
    connection, _ = pod.accept()
    series.wall_seconds.append(time.monotonic() - began_at)
    # Nanoseconds on a CPU, of the only thread: proc(5).
    nanoseconds = Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]
    series.cpu_seconds.append(int(nanoseconds) / 1e9)
    _answer(connection)
    assert process.wait() == 0


def _answer_once(pod: socket.socket) -> None:
    _answer(pod.accept()[0])


def _answer(connection: socket.socket) -> None:
    with connection:
        connection.recv(65536)
        connection.send(RESPONSE)


def instructions(command: Command) -> int:
    """In user space, as valgrind counts them: nearly the same however busy the machine is."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command.line],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    counted = re.search(r"Collected : (\d+)", done.stderr)
    assert counted, done.stderr
    return int(counted[1])


@contextlib.contextmanager
def _tenth_of_a_cpu() -> Iterator[Path | None]:
    """A cgroup's file for process ids, or None where none may be made."""
    first, second = Path("/sys/fs/cgroup/cpu", CGROUP), Path("/sys/fs/cgroup", CGROUP)
    group = first if first.parent.is_dir() else second
    try:
        group.mkdir(exist_ok=True)
        if group is first:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS))
            (group / "cpu.cfs_quota_us").write_text(str(QUOTA_MICROSECONDS))
        else:
            (group / "cpu.max").write_text(f"{QUOTA_MICROSECONDS} {PERIOD_MICROSECONDS}")
    except OSError as error:
        print(f"a tenth of a CPU is not measured: {error}", file=sys.stderr)
        yield None
        return
    try:
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


def _within(procs: Path, command: Command) -> Command:
    return replace(command, line=["sh", "-c", f'echo $$ > {procs}; exec "$@"', "sh", *command.line])
