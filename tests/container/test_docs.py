"""The documentation's docker commands, with the image that is tested."""

from __future__ import annotations

import subprocess

import pytest

from tests.container.daemon import ROOT
from tests.docs import blocks, rules
from tests.docs.blocks import Command
from worker import __version__

COMMANDS = [c for c in blocks.commands() if rules.how(c.text) == "container"]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_does_what_its_page_says(command: Command, image: str) -> None:
    done = subprocess.run(
        [
            "bash",
            "-euo",
            "pipefail",
            "-c",
            command.text.replace(f"pod-broadcast:{__version__}", image),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), command
    command.check(done.stdout)
