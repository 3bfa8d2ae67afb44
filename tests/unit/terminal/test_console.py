"""Events to the progress that a person watches, and to the table at the end."""

from __future__ import annotations

import os
from typing import Any

import pytest

from worker.log.masking import Masker
from worker.log.setup import configure
from worker.log.sink import Sink
from worker.stop import Stop
from worker.terminal.console import (
    Lines,
    Progress,
    View,
    details,
    plain_table,
    table,
)

Fields = dict[str, Any]

POD, OTHER = "10.0.0.7:8080", "10.0.0.8:8080"
FINISHED: Fields = {
    "outcome": "complete",
    "seen": 0,
    "acknowledged": 0,
    "failed": 0,
    "cancelled": 0,
    "confirmed": True,
}


def observe(view: View, name: str, now: float = 0.0, **fields: Any) -> None:
    """An event of the broadcast `clear`, or of the one that is named."""
    whole_run = name in {"shutdown.requested", "config.invalid"} or name.startswith("run.")
    view.observe({"event": name, **({} if whole_run else {"broadcast": "clear"}), **fields}, now)


@pytest.fixture
def view() -> View:
    """A broadcast that began at 0, of two endpoints."""
    view = View()
    observe(view, "run.started", version="1", broadcasts=1)
    observe(view, "broadcast.started", deadline_seconds=300.0)
    observe(view, "endpoints.resolved", round=1, newcomers=2)
    return view


def progress(view: View) -> Progress:
    (running,) = view.running
    return running


def rows(view: View) -> list[tuple[Any, ...]]:
    """What the table has to say of each broadcast."""
    return [
        (each.name, each.outcome, f"{each.acknowledged} of {each.seen}", each.failures, each.hint)
        for each in view.broadcasts.values()
    ]


def test_before_a_broadcast_begins_there_is_nothing_to_watch() -> None:
    view = View()
    observe(view, "shutdown.requested", signal="SIGTERM")
    observe(view, "config.invalid", error_message="no")
    observe(view, "run.finished")
    assert view.broadcasts == {}


def test_before_the_first_answer_it_asks() -> None:
    view = View()
    observe(view, "broadcast.started", 10.0, deadline_seconds=3600.0)
    assert progress(view).spellings(10.0) == [
        "0 acknowledged, 0 failed, 0 waiting of 0  round 0  deadline in 1:00:00",
        "0 of 0, 0 failed, 0 waiting  round 0  deadline in 1:00:00",
        "0 of 0, 0 failed  deadline in 1:00:00",
        "0 of 0, 0 failed",
        "0 of 0",
    ]
    assert progress(view).activity(10.0) == "asking for endpoints"


def test_results_are_counted_and_who_is_called_again_is_waited_for(view: View) -> None:
    observe(view, "call.succeeded", endpoint=POD)
    again: Fields = {"endpoint": OTHER, "error_type": "timeout", "retry_in_seconds": 2.0}
    observe(view, "call.failed", 10.0, **again)
    assert progress(view).spellings(10.0)[0] == (
        "1 acknowledged, 0 failed, 1 waiting of 2  round 1  deadline in 4:50"
    )
    assert progress(view).activity(10.0) == "calling; failed calls are repeated in 2 s"
    assert progress(view).activity(12.0) == "calling"
    observe(view, "endpoints.resolved", 12.0, round=2, newcomers=1)
    observe(view, "call.failed", 12.0, endpoint=OTHER, error_type="timeout")
    assert (
        progress(view).spellings(12.0)[1]
        == "1 of 3, 1 failed, 1 waiting  round 2  deadline in 4:48"
    )


def test_a_wait_counts_down_and_so_does_the_deadline_not_past_zero(view: View) -> None:
    observe(view, "resolution.waiting", 295.0, reason="cached_answer", wait_seconds=5.0)
    assert progress(view).activity(296.5) == "waiting for a newer answer, 4 s"
    assert progress(view).activity(300.0) == "waiting for a newer answer"
    assert progress(view).spellings(301.0)[2] == "0 of 2, 0 failed  deadline in 0:00"


def test_after_a_failed_question_it_asks_again(view: View) -> None:
    observe(view, "resolution.failed", round=2, error_type="dns_refused", error_message="no")
    assert progress(view).activity(0.0) == "asking again"
    assert progress(view).round == 2


def test_a_stop_signal_is_what_goes_on_from_then_on(view: View) -> None:
    observe(view, "resolution.waiting", reason="min_pods", wait_seconds=5.0)
    observe(view, "shutdown.requested", signal="SIGTERM")
    again: Fields = {"endpoint": OTHER, "error_type": "cancelled", "retry_in_seconds": 2.0}
    observe(view, "call.failed", **again)
    assert progress(view).activity(0.0) == "stopping after SIGTERM: calls in flight may end"
    observe(view, "endpoints.resolved", round=2, newcomers=0)
    assert progress(view).round == 2
    assert progress(view).activity(0.0) == "stopping after SIGTERM: calls in flight may end"


def test_a_complete_broadcast_is_a_row_without_failures(view: View) -> None:
    observe(view, "broadcast.finished", **FINISHED | {"seen": 2, "acknowledged": 2})
    assert view.running == []
    assert rows(view) == [("clear", "complete", "2 of 2", [], "")]


def test_failures_that_are_alike_are_one_line_of_the_row(view: View) -> None:
    for number in range(4):
        endpoint = f"10.0.0.{number}:80"
        observe(view, "call.failed", endpoint=endpoint, error_type="status", status_code=503)
        observe(view, "endpoint.failed", endpoint=endpoint, error_type="status")
    observe(view, "endpoint.failed", endpoint=POD, error_type="deadline")
    observe(view, "endpoint.gone", endpoint=OTHER, error_type="connect_refused")
    observe(view, "endpoint.cancelled", endpoint=OTHER)
    partial: Fields = {"outcome": "partial", "seen": 9, "acknowledged": 2, "reason": "deadline"}
    observe(view, "broadcast.finished", **FINISHED | partial, hint="look there")
    assert rows(view) == [
        (
            "clear",
            "partial",
            "2 of 9",
            [
                "4 status 503: 10.0.0.0:80, 10.0.0.1:80, 10.0.0.2:80, …",
                f"1 deadline: {POD}",
                f"1 gone, connect_refused: {OTHER}",
                f"1 cancelled: {OTHER}",
            ],
            "look there",
        )
    ]


def test_events_of_broadcasts_that_overlap_are_kept_apart(view: View) -> None:
    observe(view, "broadcast.started", 10.0, broadcast="reload", deadline_seconds=60.0)
    observe(view, "endpoints.resolved", broadcast="reload", round=1, newcomers=1)
    for broadcast, status in (("clear", 503), ("reload", 404)):
        failed: Fields = {"endpoint": POD, "error_type": "status", "status_code": status}
        observe(view, "call.failed", broadcast=broadcast, **failed)
    observe(view, "call.succeeded", endpoint=OTHER)
    assert [each.spellings(10.0)[1] for each in view.running] == [
        "1 of 2, 1 failed, 0 waiting  round 1  deadline in 4:50",
        "0 of 1, 1 failed, 0 waiting  round 1  deadline in 1:00",
    ]
    for broadcast, seen in (("reload", 1), ("clear", 2)):
        observe(view, "endpoint.failed", broadcast=broadcast, endpoint=POD, error_type="status")
        finished = FINISHED | {"outcome": "partial", "seen": seen, "failed": 1}
        observe(view, "broadcast.finished", broadcast=broadcast, **finished)
    # In the order in which they began, which is that of the configuration.
    assert rows(view) == [
        ("clear", "partial", "0 of 2", [f"1 status 503: {POD}"], ""),
        ("reload", "partial", "0 of 1", [f"1 status 404: {POD}"], ""),
    ]


def test_beside_others_a_broadcast_says_in_its_line_what_it_is_doing(view: View) -> None:
    assert progress(view).spellings(0.0, alone=False) == [
        "0 of 2, 0 failed  deadline in 5:00  calling",
        "0 of 2, 0 failed  deadline in 5:00",
        "0 of 2, 0 failed",
        "0 of 2",
    ]


def test_a_stop_signal_and_the_end_of_the_run_are_for_every_running_broadcast(view: View) -> None:
    observe(view, "broadcast.started", broadcast="done", deadline_seconds=60.0)
    observe(view, "broadcast.finished", broadcast="done", **FINISHED)
    observe(view, "broadcast.started", broadcast="reload", deadline_seconds=60.0)
    observe(view, "shutdown.requested", signal="SIGTERM")
    stopping = "stopping after SIGTERM: calls in flight may end"
    assert [each.activity(0.0) for each in view.running] == [stopping, stopping]
    observe(view, "run.crashed", broadcast="never begun")
    observe(view, "run.finished")
    assert view.running == []
    assert [row[:2] for row in rows(view)] == [
        ("clear", "broken off"),
        ("done", "complete"),
        ("reload", "broken off"),
    ]


def test_nothing_in_a_row_steers_a_terminal(view: View) -> None:
    observe(view, "broadcast.finished", **FINISHED, reason="\x1b[2J", hint="\x1b]0;a\x07")
    assert table(view)[1][3:] == ([r"\x1b[2J"], [r"\x1b]0;a\x07"])


@pytest.mark.parametrize(
    ("reason", "failures"),
    [
        ("dns_refused", ["dns_refused: 10.0.0.10:53 answered REFUSED"]),
        ("min_pods", ["min_pods"]),
        ("all_calls_failed", []),
        (None, ["not confirmed by a newer answer"]),
    ],
)
def test_the_row_says_why_a_broadcast_is_not_complete_or_not_confirmed(
    reason: str | None, failures: list[str], view: View
) -> None:
    message = "10.0.0.10:53 answered REFUSED"
    observe(view, "resolution.failed", round=1, error_type="dns_refused", error_message=message)
    fields: Fields = FINISHED | {"confirmed": False} | ({"reason": reason} if reason else {})
    observe(view, "broadcast.finished", **fields)
    assert view.broadcasts["clear"].failures == failures


def test_a_run_that_ends_within_a_broadcast_broke_it_off(view: View) -> None:
    observe(view, "call.succeeded", endpoint=POD)
    observe(view, "run.finished")
    assert rows(view) == [("clear", "broken off", "1 of 2", [], "")]


@pytest.fixture
def ended() -> View:
    """Of a run of two broadcasts."""
    view = View()
    failures = ["1 status 503: a", "1 timeout: b"]
    view.broadcasts = {
        "clear": Progress("clear", 0.0, seen=2, acknowledged=2, outcome="complete"),
        "reload": Progress(
            "reload", 0.0, seen=3, acknowledged=1, outcome="partial", failures=failures, hint="try"
        ),
    }
    return view


def test_the_plain_table(ended: View) -> None:
    assert plain_table(ended) == [
        "",
        "broadcast  outcome   endpoints  failures         hint",
        "clear      complete  2 of 2",
        "reload     partial   1 of 3     1 status 503: a  try",
        "                                1 timeout: b",
        "",
    ]
    assert plain_table(View()) == []


def test_columns_that_are_empty_are_left_out_and_hints_can_stand_below_failures(
    ended: View,
) -> None:
    assert [cells[3:] for cells in table(ended, stacked=True)] == [
        (["failures"],),
        ([],),
        (["1 status 503: a", "1 timeout: b", "hint: try"],),
    ]
    del ended.broadcasts["reload"]
    assert table(ended) == [
        (["broadcast"], ["outcome"], ["endpoints"]),
        (["clear"], ["complete"], ["2 of 2"]),
    ]


def test_plain_lines_heed_the_level_and_steer_no_terminal() -> None:
    reader, writer = os.pipe()
    sink = Sink(writer, Stop())
    display = Lines(sink)
    log = configure(sink, "console", "error", Masker(()), display)
    log.info("endpoints.resolved", qname="web", endpoints=1, newcomers=1, left=0)
    log.error("config.invalid", config_file="a.yaml", line=3, column=1, error_message="\x1b")
    os.close(writer)
    with os.fdopen(reader) as lines:
        (line,) = lines.read().splitlines()
    assert line.endswith(r"error   a.yaml:3:1: \x1b")


def test_a_crash_shows_its_stack() -> None:
    event = {"event": "run.crashed", "stack": "  File a\n    b()\n"}
    assert details(event) == ["  File a", "    b()"]
