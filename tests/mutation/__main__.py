"""Breaks the program in every way that `mutants` knows, and looks for a test that notices.

`make mutations` breaks the modules that decide who is called, what is proved and what is shown. A
change that no test notices is a survivor. survivors.toml has those that nobody has to notice, each
with its reason; any other makes the exit code 1.

The tests that reach the changed line are run first, in a copy of this process. What they miss is
written into a copy of the project, and the whole program is tested there.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import coverage
import pytest

from tests.loopback import serving
from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
SURVIVORS = Path(__file__).with_name("survivors.toml")
SUITES = (
    *(f"tests/unit/{room}" for room in ("calls", "config", "discovery", "log", "rounds")),
    "tests/unit/test_generated.py",
    "tests/simulation",
)
# What is broken, and which tests of the whole program look at it.
MODULES = {
    "worker/rounds/ledger.py": ("clocks", "overlap", "failures", "stopping", "verify"),
    "worker/rounds/questions.py": ("clocks", "overlap", "failures"),
    "worker/rounds/proofs.py": ("verify",),
    "worker/rounds/admission.py": ("verify",),
    "worker/discovery": ("dns", "dns_proof", "resolvconf", "endpointslices"),
    "worker/calls": ("calls", "failures", "tls", "delivery", "held_up", "clocks", "memory"),
    "worker/config/secret.py": ("secrets",),
    "worker/log/masking.py": ("secrets",),
}
# Imported once, before this process is copied for each change.
LIBRARIES = (
    *("dns.message", "httptools", "hypothesis", "requests", "structlog", "trustme", "yaml"),
    *("asyncio", "pyte", "rich.live"),
)
START_SECONDS = 60  # to import and collect tests on a busy machine
HANG_SECONDS = 10  # many changes make a test wait for what never comes
SLOW = 10  # a change that makes tests take so many times as long has been noticed
WHOLE_PROGRAM_SECONDS = 600


class Change(NamedTuple):
    """A mutant of a file of the project."""

    file: str
    mutant: Mutant


class Tests(NamedTuple):
    """What is known of the tests: the time that each takes, and which reach a line."""

    seconds: dict[str, float]
    by_line: dict[tuple[str, int], set[str]]
    by_file: dict[str, set[str]]

    def that_reach(self, change: Change) -> list[str]:
        """The quickest first. What runs when a module is imported may concern all that use it."""
        file, line = change.file, change.mutant.line
        names = self.by_line.get((file, line)) or self.by_file.get(file, set())
        return sorted(names, key=self.seconds.__getitem__)


class Chosen:
    """A plugin of pytest: the chosen tests alone, in this order."""

    def __init__(self, names: Sequence[str]) -> None:
        self._places = {name: place for place, name in enumerate(names)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._places]
        items.sort(key=lambda item: self._places[item.nodeid])


class Measured:
    """A plugin of pytest that notes which test is running, and how long it takes."""

    def __init__(self, cover: coverage.Coverage) -> None:
        self._cover = cover
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._cover.switch_context(item.nodeid)
        started_at = time.monotonic()
        result = yield
        self.seconds[item.nodeid] = time.monotonic() - started_at
        self._cover.switch_context("")
        return result


class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module as the mutant has it."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._name = change.file.removesuffix(".py").replace("/", ".")

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        code = compile(self._change.mutant.tree, str(ROOT / self._change.file), "exec")
        exec(code, vars(module))


def run_pytest(arguments: Iterable[str], *plugins: object) -> int:
    """The exit code of pytest, which says nothing."""
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silence, descriptor)
    # The libraries of `LIBRARIES` are there before pytest could rewrite their assertions.
    options = ["-q", "-x", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*options, *arguments], plugins=list(plugins)))


def measure() -> Tests:
    """Runs all tests once. They have to pass."""
    with tempfile.TemporaryDirectory() as folder:
        data, times = f"{folder}/coverage", Path(folder, "times")
        if not (pid := os.fork()):
            cover = coverage.Coverage(data, source=[str(ROOT / "worker")], config_file=False)
            measured = Measured(cover)
            cover.start()
            exit_code = run_pytest(SUITES, measured)
            cover.stop()
            cover.save()
            lines = [f"{seconds}\t{name}" for name, seconds in measured.seconds.items()]
            times.write_text("\n".join(lines))
            os._exit(exit_code)
        _, status = os.waitpid(pid, 0)
        if status:
            sys.exit("the tests fail as they are: make test")
        pairs = (line.partition("\t") for line in times.read_text().splitlines())
        seconds = {name: float(taken) for taken, _, name in pairs}
        found = coverage.CoverageData(data)
        found.read()
        by_line: dict[tuple[str, int], set[str]] = {}
        by_file: dict[str, set[str]] = defaultdict(set)
        for path in found.measured_files():
            file = str(Path(path).relative_to(ROOT))
            for number, names in found.contexts_by_lineno(path).items():
                by_line[file, number] = set(names) & seconds.keys()
                by_file[file] |= by_line[file, number]
    return Tests(seconds, by_line, by_file)


def start_near(change: Change, tests: Tests) -> int:
    """Starts the tests that reach the change. Returns the id of the process, or 0 if none does."""
    names = tests.that_reach(change)
    if not names:
        return 0
    if pid := os.fork():
        return pid
    limit = START_SECONDS + SLOW * sum(tests.seconds[name] for name in names)
    signal.alarm(math.ceil(limit))
    sys.meta_path.insert(0, Broken(change))
    serving.HANG_SECONDS = HANG_SECONDS
    files = dict.fromkeys(name.partition("::")[0] for name in names)
    os._exit(run_pytest(files, Chosen(names)))


def start_whole(change: Change) -> int:
    """Starts the tests of the whole program. Returns the id of the process."""
    if pid := os.fork():
        return pid
    (topics,) = (topics for name, topics in MODULES.items() if change.file.startswith(name))
    files = [f"tests/process/test_{topic}.py" for topic in topics]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "project")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "build", "__pycache__"))
        (copy / change.file).write_text(ast.unparse(change.mutant.tree))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", *files]
        try:
            status = subprocess.run(
                command, cwd=copy, capture_output=True, timeout=WHOLE_PROGRAM_SECONDS, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            status = 1
    os._exit(status)


def survivors(
    changes: Iterable[Change], processes: int, start: Callable[[Change], int]
) -> Iterator[Change]:
    """The changes that no test noticed, as they are found. `start` returns a process's id."""
    running: dict[int, Change] = {}

    def ended() -> Iterator[Change]:
        pid, status = os.wait()
        change = running.pop(pid)
        if not status:
            yield change

    for change in changes:
        if len(running) == processes:
            yield from ended()
        if pid := start(change):
            running[pid] = change
        else:
            yield change
    while running:
        yield from ended()


def files() -> Iterator[str]:
    for name in MODULES:
        path = ROOT / name
        for each in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            yield str(each.relative_to(ROOT))


def main(wanted: Sequence[str], processes: int) -> int:
    """Prints the survivors that are not in survivors.toml. Returns the exit code."""
    accepted = tomllib.loads(SURVIVORS.read_text())
    changes = [Change(f, m) for f in wanted or files() for m in mutants((ROOT / f).read_text())]
    for library in LIBRARIES:
        importlib.import_module(library)
    os.environ["POD_BROADCAST_TEST_SECOND_LOOK"] = os.devnull
    tests = measure()
    print(f"{len(changes)} changes, {len(tests.seconds)} tests", flush=True)
    unnoticed = []
    for change in survivors(changes, processes, lambda change: start_near(change, tests)):
        if change.mutant.name not in accepted.get(change.file, {}):
            unnoticed.append(change)
            print(f"? {change.file}:{change.mutant.line}: {change.mutant.name}", flush=True)
    left = 0
    for change in survivors(unnoticed, processes, start_whole):
        left += 1
        print(f"{change.file}:{change.mutant.line}: {change.mutant.name}", flush=True)
    print(f"{left} of {len(changes)} changes are noticed by no test, and not in {SURVIVORS.name}")
    return 1 if left else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make mutations", description=__doc__)
    parser.add_argument("files", nargs="*", help="below worker/, in place of the usual ones")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    sys.exit(main(options.files, options.processes))
