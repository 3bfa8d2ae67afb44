"""A second look: tests that failed run once more, alone, when all others have ended.

One that passes then is flaky. It is named at the end, with its first failure, and the run is green.
One that fails again is red, and so are more than ten failures, errors of collection, and a run that
did not come to its end: none of them gets a second look.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path

import pytest

MAX_FAILED = 10
LIMIT_SECONDS = 900
TITLE = "flaky: failed, and passed a second time, alone"
PROPERTY = "flaky"  # of a test that ran tests itself: what it says of those that were flaky
PASSED_FILE = "POD_BROADCAST_TEST_SECOND_LOOK"  # in the environment of the second look


class SecondLook:
    """A plugin. `selection` is what has to run so that the test of that id does: its id or file."""

    def __init__(self, selection: Callable[[str], str]) -> None:
        self._selection = selection

    @pytest.hookimpl(trylast=True)  # when the workers have ended
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        assert isinstance(terminal, pytest.TerminalReporter)
        if path := os.environ.get(PASSED_FILE):
            Path(path).write_text(json.dumps(sorted(_passed(terminal))))
            return
        if not (failed := _that_get_one(session, terminal)):
            return
        terminal.ensure_newline()
        terminal.section("a second look at what failed")
        selected = dict.fromkeys(map(self._selection, failed))
        output, passed = _run(selected, session.config.rootpath)
        terminal.write(output)
        _set_apart(terminal, failed & passed)
        if failed <= passed:
            session.testsfailed, session.exitstatus = 0, pytest.ExitCode.OK

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        flaky = terminalreporter.stats.get("flaky", [])
        properties = [
            (report.nodeid, text)
            for report in _reports(terminalreporter)
            for name, text in report.user_properties
            if (name, report.when) == (PROPERTY, "call")
        ]
        if flaky or properties:
            terminalreporter.section(TITLE)
        for report in flaky:
            terminalreporter.write_line(f"{report.nodeid} ({report.when}):", bold=True)
            terminalreporter.write_line(report.longreprtext)
        for nodeid, text in properties:
            terminalreporter.write_line(f"in {nodeid}:", bold=True)
            terminalreporter.write_line(str(text))


def flaky_in(output: str) -> str:
    """What the output of a run says of tests that were flaky, or nothing."""
    return output.partition(TITLE)[2].partition("\n")[2]


def _reports(terminal: pytest.TerminalReporter) -> Iterator[pytest.TestReport]:
    """Every report of a test, its set-up and its tear-down."""
    for report in chain.from_iterable(terminal.stats.values()):
        if isinstance(report, pytest.TestReport):
            yield report


def _passed(terminal: pytest.TerminalReporter) -> set[str]:
    """The tests that were carried out and passed, their set-up and tear-down included."""
    reports = [*_reports(terminal)]
    called = {report.nodeid for report in reports if report.when == "call" and report.passed}
    return called - {report.nodeid for report in reports if not report.passed}


def _that_get_one(session: pytest.Session, terminal: pytest.TerminalReporter) -> set[str]:
    """The tests that failed, if a second look may help; of a test, set-up and tear-down count."""
    reports = [*_reports(terminal)]
    failed = {report.nodeid for report in reports if report.failed}
    errors = [*terminal.stats.get("failed", []), *terminal.stats.get("error", [])]
    all_are_of_tests = all(isinstance(error, pytest.TestReport) for error in errors)
    all_ran = len({report.nodeid for report in reports}) == session.testscollected
    ended = session.exitstatus == pytest.ExitCode.TESTS_FAILED
    may_help = ended and all_ran and all_are_of_tests and len(failed) <= MAX_FAILED
    return failed if may_help else set()


def _run(selected: Iterable[str], directory: Path) -> tuple[str, set[str]]:
    """Runs them in one process. Returns what it printed, and which of the tests passed."""
    with tempfile.TemporaryDirectory() as folder:
        passed_file = Path(folder, "passed")
        command = [sys.executable, "-m", "pytest", "--numprocesses=0", *selected]
        try:
            done = subprocess.run(
                command,
                cwd=directory,
                env=os.environ | {PASSED_FILE: str(passed_file)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=LIMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"it did not end within {LIMIT_SECONDS} s\n", set()
        passed = json.loads(passed_file.read_text()) if passed_file.exists() else []
        return done.stdout, set(passed)


def _set_apart(terminal: pytest.TerminalReporter, flaky: Collection[str]) -> None:
    """Takes the failures of these tests out of what counts as failed."""
    for kind in ("failed", "error"):
        reports = terminal.stats.pop(kind, [])
        if left := [report for report in reports if report.nodeid not in flaky]:
            terminal.stats[kind] = left
        if apart := [report for report in reports if report.nodeid in flaky]:
            terminal.stats.setdefault("flaky", []).extend(apart)
