"""Measures one run of a command, and many commands that take turns.

CPU time is that of the command and all its children, as wait4(2) reports it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.loopback.program import ROOT


@dataclass(frozen=True, slots=True)
class Command:
    """A way to do the job: its name in the tables, and how it is started."""

    name: str
    line: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    exit_codes: tuple[int, ...] = (0,)  # any other ends the benchmark


@dataclass(slots=True)
class Series:
    """The runs of one command. `window_seconds`: from the first connection to the last answer."""

    name: str
    wall_seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    window_seconds: list[float] = field(default_factory=list)
    peak_megabytes: float = 0.0

    def as_json(self, **more: Any) -> dict[str, Any]:
        rounded = {
            key: [round(seconds, 6) for seconds in getattr(self, key)]
            for key in ("wall_seconds", "cpu_seconds", "window_seconds")
        }
        return {
            "way": self.name,
            **more,
            **rounded,
            "peak_megabytes": round(self.peak_megabytes, 1),
        }


def run(command: Command, output: Path, series: Series) -> None:
    """Runs the command with its output in a file, and adds what it took to the series.

    Raises SystemExit with the end of the output where the exit code is not an expected one.
    """
    # A child's peak memory begins with its parent's, since ru_maxrss survives execve. This sets
    # ours back to what is in use now: clear_refs in proc(5).
    Path("/proc/self/clear_refs").write_text("5")
    with output.open("wb") as stdout:
        began_at = time.monotonic()
        process = subprocess.Popen(
            command.line,
            cwd=ROOT,
            env=os.environ | dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        series.wall_seconds.append(time.monotonic() - began_at)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in command.exit_codes:
        text = output.read_text(errors="replace")[-2000:]
        raise SystemExit(f"{command.name}: exit code {process.returncode}\n{text}")
    series.cpu_seconds.append(usage.ru_utime + usage.ru_stime)
    series.peak_megabytes = max(series.peak_megabytes, usage.ru_maxrss / 1024)


def take_turns(
    commands: Iterable[Command],
    turns: int,
    output: Path,
    window: Callable[[], float] = lambda: 0.0,
) -> list[Series]:
    """Runs every command once, then every command again, so that other load disturbs all alike.

    There is one more turn, the first, which warms up and is not counted. `window` is asked after
    each run for the seconds from its first connection to its last answer.
    """
    all_series = {command.name: (command, Series(command.name)) for command in commands}
    for turn in range(turns + 1):
        for command, series in all_series.values():
            kept = series if turn else Series(command.name)  # the first turn warms up
            run(command, output, kept)
            kept.window_seconds.append(window())
    return [series for _, series in all_series.values()]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over the turns of our figure divided by theirs."""
    return statistics.median(
        our / max(their, 1e-6) for our, their in zip(ours, theirs, strict=True)
    )
