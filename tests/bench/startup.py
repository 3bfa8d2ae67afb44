"""What comes before the first packet: seconds, instructions, and seconds with a tenth of a CPU.

Also how many broadcasts with TLS change it.
"""

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
from tests.bench.servers import FIRST_ADDRESS, Dns, name_of, services
from tests.bench.ways import worker, worker_with
from tests.loopback.program import ROOT

PORT = 18082
IMPORTS = "plain imports"
FIRST_PACKET = "run, to the first packet"
CGROUP = "pod-broadcast-bench"
HTTPS_BROADCASTS = (1, 20)
QUOTA_MICROSECONDS, PERIOD_MICROSECONDS = 10_000, 100_000


def contexts(folder: Path, turns: int) -> list[dict[str, Any]]:
    """To the first packet, of one https broadcast and of twenty that share the system's CAs."""
    with Dns(services(1)) as dns, socket.create_server((str(FIRST_ADDRESS), PORT)) as pod:
        runs = {
            count: worker_with(folder / f"{count}-https.yaml", _https_list(count), dns.port)
            for count in HTTPS_BROADCASTS
        }
        series = {count: Series(FIRST_PACKET) for count in runs}
        for turn in range(turns + 1):
            for count, command in runs.items():
                _note_first_packet(command, pod, series[count] if turn else Series("warm-up"))
        return [each.as_json(broadcasts=count) for count, each in series.items()]


def _https_list(count: int) -> str:
    url = f"https://{name_of(1)}:{PORT}/clear-caches"
    listed = "".join(f"- {{name: https-{n}, url: '{url}'}}\n" for n in range(count))
    return f"defaults: {{tls: {{}}, attempts: 1}}\nbroadcasts:\n{listed}"


def measure(folder: Path, turns: int) -> dict[str, Any]:
    with Dns(services(1)) as dns, socket.create_server((str(FIRST_ADDRESS), PORT)) as pod:
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
    """Runs the command until it connects to the pod, and notes what it took until then."""
    began_at = time.monotonic()
    process = subprocess.Popen(command.line, cwd=ROOT, stdout=subprocess.DEVNULL)
    connection, _ = pod.accept()
    series.wall_seconds.append(time.monotonic() - began_at)
    series.cpu_seconds.append(cpu_seconds(process.pid))
    with connection:
        process.kill()
        process.wait()


def cpu_seconds(process_id: int) -> float:
    """CPU time of all threads of a process so far, of those that have ended, too.

    The process's own clock: what clock_getcpuclockid(3) returns, which Python does not have.
    """
    return time.clock_gettime((~process_id << 3) | 2)


def _answer_once(pod: socket.socket) -> None:
    connection, _ = pod.accept()
    with connection:
        connection.recv(65536)
        connection.send(RESPONSE)


def instructions(command: Command) -> int:
    """Instructions in user space, as valgrind counts them: other load hardly changes them."""
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
    """Makes a cgroup with a tenth of a CPU: its file for process ids, or None if not permitted."""
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
