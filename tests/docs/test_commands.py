"""The commands of README and docs, run as they stand, and what a page says that they print."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import blocks, rules
from tests.docs.blocks import Command
from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods, reply
from tests.loopback.program import BARE_ENVIRONMENT, ROOT, SEARCH, run_worker

SEARCHED = " ".join(SEARCH)
SERVICE = f"web-server-headless.{SEARCH[0]}"
PORT = 8080
SHOWN_ADDRESSES = ("10.1.0.7", "10.1.0.8", "10.1.0.9")
FAILED_RUN = f"""\
- name: clear-web-caches
  url: http://web-server-headless:{PORT}/clear-caches
  backoff: {{initial: 50ms, max: 100ms}}
  timeout: 2s
"""
RUN = [c for c in blocks.commands() if rules.how(c.text) == "run"]
DRY = [c for c in blocks.commands() if rules.how(c.text) == "dry"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with what a checkout has, `run.log` of a failed run, and an environment that leads
    the worker and dig to pods on loopback.
    """
    folder = tmp_path_factory.mktemp("desk")
    for entry in ROOT.iterdir():
        (folder / entry.name).symlink_to(entry)
    with Nameserver() as nameserver, Pods(3, PORT) as pods:
        nameserver.set(SERVICE, *pods.addresses)
        (folder / "run.log").write_text(_failed_run(folder, nameserver, pods))
        digrc = f"@{nameserver.address}\n-p {nameserver.port}\n+domain={SEARCH[0]}\n"
        (folder / ".digrc").write_text(digrc)
        (folder / "searched.conf").write_text(f"search {SEARCHED}\noptions ndots:5\n")
        yield (
            folder,
            BARE_ENVIRONMENT
            | {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(folder),
                "MAKEFLAGS": "--silent",
                "PYTHONPATH": str(ROOT),
                "BROADCAST_NAMESERVER": str(nameserver),
                "BROADCAST_RESOLV_CONF": str(folder / "searched.conf"),
            },
        )


def _failed_run(folder: Path, nameserver: Nameserver, pods: Pods) -> str:
    """The log of a run of which one pod is broken and another refuses, as if in a cluster."""
    pods[1].script(reply(500, b"cache is locked"))
    pods.die(pods.addresses[2])
    finished = run_worker(folder, FAILED_RUN + "  log_response: true\n", nameserver=nameserver)
    assert finished.exit_code == 3, finished.stdout
    pods[1].script(reply())
    pods.revive(pods.addresses[2])
    log = finished.stdout
    for address, shown in zip(pods.addresses, SHOWN_ADDRESSES, strict=True):
        log = log.replace(address, shown)
    return log


def bash(command: Command, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.text],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.parametrize("command", RUN, ids=str)
def test_a_command_does_what_its_page_says(
    command: Command, desk: tuple[Path, dict[str, str]]
) -> None:
    folder, environment = desk
    command.check(bash(command, folder, environment))


@pytest.mark.parametrize("command", DRY, ids=str)
def test_make_knows_the_target(command: Command, desk: tuple[Path, dict[str, str]]) -> None:
    folder, environment = desk
    bash(command, folder, environment | {"MAKEFLAGS": "--dry-run"})
