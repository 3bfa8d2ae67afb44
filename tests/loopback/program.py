"""The whole program as a subprocess, and what it wrote."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.events import judge
from tests.loopback.nameserver import Nameserver
from tests.loopback.serving import HANG_SECONDS

ROOT = Path(__file__).parents[2]
# Nothing of the developer's own but what measures coverage.
BARE_ENVIRONMENT = {"PATH": "/usr/bin:/bin"} | {
    name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")
}
SEARCH = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")

Entry = dict[str, Any]

SECONDS = r"[0-9]+\.[0-9]{1,6}|[0-9.]+e-0[56]"
VOLATILE = {
    "timestamp": r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",
    "run_id": "[0-9a-f]{32}",
    "span_id": "[0-9a-f]{16}",
    "duration_seconds": SECONDS,
    "connect_seconds": SECONDS,
    "message": r"\S.*\S",
}


def stable(entry: Entry) -> Entry:
    """The entry without what differs from run to run, of which the form is checked."""
    for key, form in VOLATILE.items():
        if key in entry:
            assert re.fullmatch(form, str(entry[key])), f"{key}: {entry[key]}"
    return {key: value for key, value in entry.items() if key not in VOLATILE}


@dataclass(frozen=True, slots=True)
class Finished:
    """What came of a run."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def entries(self) -> list[Entry]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    def events(self, name: str) -> list[Entry]:
        return [entry for entry in self.entries if entry["event"] == name]

    def only(self, name: str) -> Entry:
        (entry,) = self.events(name)
        return entry


def command_line(
    directory: Path,
    config: str | Path,
    nameserver: Nameserver | None,
    command: str = "run",
    search: Sequence[str] = SEARCH,
    options: str = "ndots:5",
) -> list[str]:
    """Writes the program's files into the directory. Returns what starts it."""
    if isinstance(config, str):
        path = directory / "broadcasts.yaml"
        path.write_text(config)
        config = path
    resolv_conf = directory / "resolv.conf"
    resolv_conf.write_text(f"search {' '.join(search)}\noptions {options}\n")
    line = [sys.executable, "-m", "worker", command, "--config", str(config)]
    line += ["--resolv-conf", str(resolv_conf)]
    return line + (["--nameserver", str(nameserver)] if nameserver else [])


class Worker:
    """A run of the program. `directory` is where its files go."""

    def __init__(
        self,
        directory: Path,
        config: str | Path,
        *arguments: str,
        nameserver: Nameserver | None = None,
        command: str = "run",
        search: Sequence[str] = SEARCH,
        environment: Mapping[str, str] | None = None,
        options: str = "ndots:5",
        prefix: Sequence[str] = (),
    ) -> None:
        line = command_line(directory, config, nameserver, command, search, options)
        self.process = subprocess.Popen(
            [*prefix, *line, *arguments],
            cwd=ROOT,
            env=BARE_ENVIRONMENT | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: list[str] = []
        self._stderr: list[str] = []
        self._changed = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read_stdout),
            threading.Thread(target=self._read_stderr),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.finish()

    def _read_stdout(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()

    def _read_stderr(self) -> None:
        assert self.process.stderr
        self._stderr.append(self.process.stderr.read())

    def wait_for_event(self, name: str, count: int = 1) -> Entry:
        """The count-th entry of that event, once it is written."""

        def found() -> list[Entry]:
            entries = [json.loads(line) for line in self._lines]
            return [entry for entry in entries if entry["event"] == name]

        with self._changed:
            there = self._changed.wait_for(lambda: len(found()) >= count, HANG_SECONDS)
            assert there, f"{count} of {name}: not within {HANG_SECONDS:g} s of {self._lines}"
            return found()[count - 1]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def finish(self, timeout: float = 60.0) -> Finished:
        """Waits until it has ended."""
        exit_code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join()
        assert self.process.stdout
        assert self.process.stderr
        self.process.stdout.close()
        self.process.stderr.close()
        stdout = "".join(self._lines)
        judge.check_output(stdout)
        return Finished(exit_code, stdout, "".join(self._stderr))


def run_worker(
    directory: Path,
    config: str | Path,
    *arguments: str,
    nameserver: Nameserver | None = None,
    command: str = "run",
    search: Sequence[str] = SEARCH,
    environment: Mapping[str, str] | None = None,
    options: str = "ndots:5",
) -> Finished:
    """A run, from its start to its end."""
    with Worker(
        directory,
        config,
        *arguments,
        nameserver=nameserver,
        command=command,
        search=search,
        environment=environment,
        options=options,
    ) as worker:
        return worker.finish()
