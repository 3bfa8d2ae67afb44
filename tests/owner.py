"""Whose it is what a run of the tests makes on a Docker daemon or a cluster: a label with the
process that started the run. What a run that was killed has left over is removed by the next one.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

LABEL = "pod-broadcast.test-run"


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _started(pid: int) -> str | None:
    """When the process started, in ticks since the machine did; None if there is none."""
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


# Fit for a label and for an image's tag. The workers have it from the process that starts them.
RUN = os.environ.setdefault(
    "POD_BROADCAST_TEST_RUN", f"{_machine()}.{os.getpid()}.{_started(os.getpid())}"
)


def is_left_over(run: str) -> bool:
    """Whether that run was started on this machine, by a process that has ended."""
    machine, _, process = run.partition(".")
    pid, _, started = process.partition(".")
    return machine == _machine() and pid.isdecimal() and _started(int(pid)) != started
