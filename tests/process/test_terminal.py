"""Configuration errors on a real terminal: with their line, and never with a secret."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.loopback.program import BARE_ENVIRONMENT, ROOT
from worker.config.keys import KEYS

CONFIG = """\
- name: clear
  url: http://me:hunter2@web:8080/
  timeout: 10 minutes
  auth: {bearer: hunter2}
  password: hunter2
"""


def at_terminal(*arguments: str, columns: int) -> tuple[int, str]:
    """Exit code, and what standard error shows on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", *arguments],
        cwd=ROOT,
        env=BARE_ENVIRONMENT,
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 10_000):
            text += chunk
    except OSError:
        pass  # EIO: the other side is closed
    finally:
        os.close(ours)
    return process.wait(60), text.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("command", ["check", "plan"])
def test_an_error_is_shown_with_its_line_and_a_caret(command: str, tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text(CONFIG)
    exit_code, text = at_terminal(command, "--config", str(file), columns=100)
    assert exit_code == 2
    assert text == (
        f"{file}:2:8: broadcasts[0].url: expected no user or password in the URL: set auth\n"
        f"{file}:3:12: broadcasts[0].timeout: expected a duration such as 10s, got 10 minutes: "
        "write 10m\n"
        "    3 |   timeout: 10 minutes\n"
        "      |            ^\n"
        f"{file}:4:18: broadcasts[0].auth.bearer: expected {{env: NAME}} or {{file: PATH}}: no "
        "secret belongs in this file\n"
        f"{file}:5:3: broadcasts[0].password: unknown key: the keys here are "
        f"{', '.join(key.name for key in KEYS)}\n"
    )


def test_a_line_is_cut_to_the_width_of_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text(f"- name: {'a' * 100}\n  url: http://web/\n")
    exit_code, text = at_terminal("check", "--config", str(file), columns=40)
    assert exit_code == 2
    assert text.splitlines()[1:] == [
        f"    1 | - name: {'a' * 23}…",
        f"      | {' ' * 8}^",
    ]


def test_in_json_an_error_is_no_text_on_a_terminal_either(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text(CONFIG)
    arguments = ("check", "--config", str(file), "--output", "json")
    assert at_terminal(*arguments, columns=80) == (2, "")
