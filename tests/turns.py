"""Tests that take too long to run all each time run in turns. The commit decides whose turn it is:
the same for everybody who tests that commit, and another at the next.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

VARIABLE = "POD_BROADCAST_TEST_COMMIT"  # where there is no repository


def commit() -> str:
    """The commit that is tested, or 0 outside a repository."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return "0"
    return done.stdout.strip() if done.returncode == 0 else "0"


# The workers have it from the process that starts them.
COMMIT = os.environ.setdefault(VARIABLE, commit())


def turn(parts: int) -> int:
    """Which of so many parts it is the turn of, counted from 0."""
    return int(COMMIT, 16) % parts
