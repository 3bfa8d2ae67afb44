"""The live view of broadcasts that overlap, drawn on a terminal from their events."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.loopback.terminal import Watched
from worker.log.masking import Masker
from worker.log.setup import Log, configure
from worker.log.sink import Sink
from worker.stop import Stop
from worker.terminal.screen import Screen

STARTED: dict[str, Any] = {
    "method": "POST",
    "request_url": "http://web/",
    "concurrency": 1,
    "deadline_seconds": 300.0,
}
RESOLVED: dict[str, Any] = {"qname": "web", "round": 1, "endpoints": 2, "newcomers": 2, "left": 0}
FINISHED: dict[str, Any] = {
    "outcome": "complete",
    "seen": 2,
    "acknowledged": 2,
    "failed": 0,
    "cancelled": 0,
    "confirmed": True,
    "duration_seconds": 1.0,
}


@pytest.fixture
def terminal() -> Iterator[Watched]:
    with Watched(columns=80, lines=10) as terminal:
        yield terminal


@pytest.fixture
def log(terminal: Watched) -> Iterator[Log]:
    sink = Sink(terminal.slave, Stop())
    screen = Screen(sink, terminal.slave)
    log = configure(sink, "console", "info", Masker(()), screen)
    yield log
    log.error("run.finished", outcome="failed", exit_code=1, error_message="the test is over")


def begin(log: Log, *names: str) -> None:
    for name in names:
        log.info("broadcast.started", broadcast=name, **STARTED)
        log.info("endpoints.resolved", broadcast=name, **RESOLVED)


def shows(*texts: str) -> Callable[[list[str]], bool]:
    return lambda lines: all(any(text in line for line in lines) for text in texts)


def stable(lines: list[str]) -> list[str]:
    return [re.sub(r"deadline in [45]:\d\d", "deadline in T", line) for line in lines]


def test_each_running_broadcast_has_a_line_and_the_last_one_two_again(
    log: Log, terminal: Watched
) -> None:
    begin(log, "clear", "reload-all")
    called: dict[str, Any] = {"endpoint": "10.0.0.1:80", "status_code": 200}
    log.info("call.succeeded", broadcast="reload-all", duration_seconds=0.1, **called)
    waiting: dict[str, Any] = {"reason": "cached_answer", "wait_seconds": 0.0}
    log.info("resolution.waiting", broadcast="clear", **waiting)
    terminal.resize(100, 10)
    shown = terminal.wait_for("both", shows("waiting for", "1 of 2"))
    assert stable(shown) == [
        f"  clear      {'─' * 20} 0 of 2, 0 failed  deadline in T  waiting for a newer answer",
        f"  reload-all {'━' * 10}{'─' * 10} 1 of 2, 0 failed  deadline in T  calling",
    ]
    log.info("broadcast.finished", broadcast="clear", **FINISHED)
    shown = terminal.wait_for("one", lambda lines: lines[-1:] == ["  calling"])
    assert stable(shown) == [
        f"  clear      {'━' * 20} complete, 2 of 2  1.0 s",
        f"  reload-all {'━' * 10}{'─' * 10} 1 of 2, 0 failed  deadline in T",
        "  calling",
    ]
    terminal.resize(40, 10)
    shown = terminal.wait_for("no bar", lambda lines: not shows("──")(lines[-2:]))
    assert stable(shown)[-2:] == ["  reload-all 1 of 2, 0 failed  deadlin…", "  calling"]


def test_of_broadcasts_that_do_not_fit_the_first_are_shown_and_the_others_counted(
    log: Log, terminal: Watched
) -> None:
    names = [f"b{number:02}" for number in range(20)]
    begin(log, *names)
    shown = terminal.wait_for("the others", shows("  and 12 more"))
    assert [line.split()[0] for line in shown] == [*names[:8], "and"]
    terminal.resize(80, 1)
    log.warning("shutdown.requested", signal="SIGTERM")
    terminal.wait_for("the stop", shows("SIGTERM: no new calls", "  b00"))
    assert not shows("more")(terminal.shown)


def test_finished_broadcasts_are_aligned_whatever_they_came_to(log: Log, terminal: Watched) -> None:
    begin(log, "clear", "reload-all")
    partial = {"outcome": "partial", "seen": 200, "acknowledged": 100, "failed": 100}
    reason = {"duration_seconds": 123.4, "reason": "some_calls_failed"}
    log.error("broadcast.finished", broadcast="reload-all", **FINISHED | partial | reason)
    log.info("broadcast.finished", broadcast="clear", **FINISHED)
    shown = terminal.wait_for("both", shows("partial", "complete"))
    assert shown == [
        f"  reload-all {'━' * 10}{'╍' * 10} partial, 100 of 200  123.4 s",
        f"  clear      {'━' * 20} complete, 2 of 2  1.0 s",
    ]


def test_names_take_up_no_more_than_a_third(log: Log, terminal: Watched) -> None:
    begin(log, "a", "b" * 60)
    shown = terminal.wait_for("both", lambda lines: str(lines).count("0 of 2") == 2)
    assert stable(shown) == [
        f"  a{' ' * 23} {'─' * 20} 0 of 2, 0 failed  deadline in …",
        f"  {'b' * 23}… {'─' * 20} 0 of 2, 0 failed  deadline in …",
    ]
