"""Events to the progress that a person watches, and to the table at the end."""

from __future__ import annotations

import os
from typing import Any

import pytest

from worker.log.masking import Masker
from worker.log.setup import configure
from worker.log.sink import Sink
from worker.log.story import Progress, Story
from worker.stop import Stop
from worker.terminal.console import (
    Lines,
    activity,
    details,
    failures,
    plain_table,
    status,
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


def observe(story: Story, name: str, now: float = 0.0, **fields: Any) -> None:
    """An event of the broadcast `clear`, or of the one that is named."""
    whole_run = name in {"shutdown.requested", "config.invalid"} or name.startswith("run.")
    story.observe({"event": name, **({} if whole_run else {"broadcast": "clear"}), **fields}, now)


@pytest.fixture
def story() -> Story:
    """A broadcast that began at 0, of two endpoints."""
    story = Story()
    observe(story, "run.started", version="1", broadcasts=1)
    observe(story, "broadcast.started", deadline_seconds=300.0)
    observe(story, "endpoints.resolved", round=1, newcomers=2)
    return story


def said_of(progress: Progress, now: float) -> str:
    return f"{status(progress, now)}  {activity(progress, now)}"


def progress(story: Story) -> Progress:
    (running,) = story.running
    return running


def rows(story: Story) -> list[tuple[Any, ...]]:
    """What the table has to say of each broadcast."""
    return [
        (each.name, each.outcome, f"{each.acknowledged} of {each.seen}", failures(each), each.hint)
        for each in story.broadcasts.values()
    ]


def test_before_a_broadcast_begins_there_is_nothing_to_watch() -> None:
    story = Story()
    observe(story, "shutdown.requested", signal="SIGTERM")
    observe(story, "config.invalid", error_message="no")
    observe(story, "run.finished")
    assert story.broadcasts == {}


def test_before_the_first_answer_it_asks() -> None:
    story = Story()
    observe(story, "broadcast.started", 10.0, deadline_seconds=3600.0)
    said = "0 of 0, 0 failed  deadline in 1:00:00  asking for endpoints"
    assert said_of(progress(story), 10.0) == said


def test_results_are_counted_and_who_is_called_again_is_waited_for(story: Story) -> None:
    observe(story, "call.succeeded", endpoint=POD)
    again: Fields = {"endpoint": OTHER, "error_type": "timeout", "retry_in_seconds": 2.0}
    observe(story, "call.failed", 10.0, **again)
    said = "1 of 2, 0 failed  deadline in 4:50  calling; failed calls are repeated in 2 s"
    assert said_of(progress(story), 10.0) == said
    assert said_of(progress(story), 12.0) == "1 of 2, 0 failed  deadline in 4:48  calling"
    observe(story, "endpoints.resolved", 12.0, round=2, newcomers=1)
    observe(story, "call.failed", 12.0, endpoint=OTHER, error_type="timeout")
    assert said_of(progress(story), 12.0) == "1 of 3, 1 failed  deadline in 4:48  calling"


def test_with_verify_who_was_asked_and_who_is_verified_are_told_apart() -> None:
    story = Story()
    observe(story, "broadcast.started", deadline_seconds=300.0, verify="http://web:8080/-/config")
    observe(story, "endpoints.resolved", round=1, newcomers=3)
    for endpoint in (POD, OTHER):
        observe(story, "call.succeeded", endpoint=endpoint)
    said = "0 of 3 verified (2 asked), 0 failed  deadline in 5:00  verifying"
    assert said_of(progress(story), 0.0) == said
    observe(story, "verify.waiting", endpoint=OTHER, polls=1, error_message="no")
    observe(story, "verify.succeeded", endpoint=POD, polls=1, verified_seconds=0.1)
    observe(story, "verify.failed", endpoint=OTHER, polls=9, error_type="not_verified")
    assert status(progress(story), 0.0) == "1 of 3 verified (2 asked), 1 failed  deadline in 5:00"


def test_a_wait_counts_down_and_so_does_the_deadline_not_past_zero(story: Story) -> None:
    observe(story, "resolution.waiting", 295.0, reason="cached_answer", wait_seconds=5.0)
    assert activity(progress(story), 296.5) == "waiting for a newer answer, 4 s"
    assert activity(progress(story), 300.0) == "waiting for a newer answer"
    said = "0 of 2, 0 failed  deadline in 0:00  waiting for a newer answer"
    assert said_of(progress(story), 301.0) == said


def test_after_a_failed_question_it_asks_again(story: Story) -> None:
    observe(story, "resolution.failed", round=2, error_type="dns_refused", error_message="no")
    assert activity(progress(story), 0.0) == "asking again"


def test_a_stop_signal_is_what_goes_on_from_then_on(story: Story) -> None:
    observe(story, "resolution.waiting", reason="min_pods", wait_seconds=5.0)
    observe(story, "shutdown.requested", signal="SIGTERM")
    again: Fields = {"endpoint": OTHER, "error_type": "cancelled", "retry_in_seconds": 2.0}
    observe(story, "call.failed", **again)
    assert activity(progress(story), 0.0) == "stopping after SIGTERM: calls in flight may end"
    observe(story, "endpoints.resolved", round=2, newcomers=0)
    assert activity(progress(story), 0.0) == "stopping after SIGTERM: calls in flight may end"


def test_a_complete_broadcast_is_a_row_without_failures(story: Story) -> None:
    observe(story, "broadcast.finished", **FINISHED | {"seen": 2, "acknowledged": 2})
    assert story.running == []
    assert rows(story) == [("clear", "complete", "2 of 2", [], "")]


def test_failures_that_are_alike_are_one_line_of_the_row(story: Story) -> None:
    for number in range(4):
        endpoint = f"10.0.0.{number}:80"
        observe(story, "call.failed", endpoint=endpoint, error_type="status", status_code=503)
        observe(story, "endpoint.failed", endpoint=endpoint, error_type="status")
    observe(story, "endpoint.failed", endpoint=POD, error_type="deadline")
    observe(story, "endpoint.gone", endpoint=OTHER, error_type="connect_refused")
    observe(story, "endpoint.cancelled", endpoint=OTHER)
    partial: Fields = {"outcome": "partial", "seen": 9, "acknowledged": 2, "reason": "deadline"}
    observe(story, "broadcast.finished", **FINISHED | partial, hint="look there")
    assert rows(story) == [
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


def test_pods_are_named_and_those_that_are_not_ready_are_counted(story: Story) -> None:
    observe(story, "endpoint.failed", endpoint=POD, target_pod="web-0", error_type="timeout")
    partial: Fields = {"outcome": "partial", "reason": "some_calls_failed", "not_ready": 2}
    observe(story, "broadcast.finished", **FINISHED | partial)
    assert failures(story.broadcasts["clear"]) == [
        f"1 timeout: web-0 ({POD})",
        "2 not called, since they are not ready",
    ]


def test_events_of_broadcasts_that_overlap_are_kept_apart(story: Story) -> None:
    observe(story, "broadcast.started", 10.0, broadcast="reload", deadline_seconds=60.0)
    observe(story, "endpoints.resolved", broadcast="reload", round=1, newcomers=1)
    for broadcast, code in (("clear", 503), ("reload", 404)):
        failed: Fields = {"endpoint": POD, "error_type": "status", "status_code": code}
        observe(story, "call.failed", broadcast=broadcast, **failed)
    observe(story, "call.succeeded", endpoint=OTHER)
    assert [said_of(each, 10.0) for each in story.running] == [
        "1 of 2, 1 failed  deadline in 4:50  calling",
        "0 of 1, 1 failed  deadline in 1:00  calling",
    ]
    for broadcast, seen in (("reload", 1), ("clear", 2)):
        observe(story, "endpoint.failed", broadcast=broadcast, endpoint=POD, error_type="status")
        finished = FINISHED | {"outcome": "partial", "seen": seen, "failed": 1}
        observe(story, "broadcast.finished", broadcast=broadcast, **finished)
    # In the order in which they began, which is that of the configuration.
    assert rows(story) == [
        ("clear", "partial", "0 of 2", [f"1 status 503: {POD}"], ""),
        ("reload", "partial", "0 of 1", [f"1 status 404: {POD}"], ""),
    ]


def test_a_stop_signal_and_the_end_of_the_run_are_for_every_running_broadcast(story: Story) -> None:
    observe(story, "broadcast.started", broadcast="done", deadline_seconds=60.0)
    observe(story, "broadcast.finished", broadcast="done", **FINISHED)
    observe(story, "broadcast.started", broadcast="reload", deadline_seconds=60.0)
    observe(story, "shutdown.requested", signal="SIGTERM")
    stopping = "stopping after SIGTERM: calls in flight may end"
    assert [activity(each, 0.0) for each in story.running] == [stopping, stopping]
    observe(story, "run.crashed", broadcast="never begun")
    observe(story, "run.finished")
    assert story.running == []
    assert [row[:2] for row in rows(story)] == [
        ("clear", "broken off"),
        ("done", "complete"),
        ("reload", "broken off"),
    ]


def test_nothing_in_a_row_steers_a_terminal(story: Story) -> None:
    observe(story, "broadcast.finished", **FINISHED, reason="\x1b[2J", hint="\x1b]0;a\x07")
    assert table(story)[1][3:] == ([r"\x1b[2J"], [r"\x1b]0;a\x07"])


@pytest.mark.parametrize(
    ("reason", "lines"),
    [
        ("dns_refused", ["dns_refused: 10.0.0.10:53 answered REFUSED"]),
        ("min_pods", ["min_pods"]),
        ("all_calls_failed", []),
        (None, ["not confirmed by a newer answer"]),
    ],
)
def test_the_row_says_why_a_broadcast_is_not_complete_or_not_confirmed(
    reason: str | None, lines: list[str], story: Story
) -> None:
    message = "10.0.0.10:53 answered REFUSED"
    observe(story, "resolution.failed", round=1, error_type="dns_refused", error_message=message)
    fields: Fields = FINISHED | {"confirmed": False} | ({"reason": reason} if reason else {})
    observe(story, "broadcast.finished", **fields)
    assert failures(story.broadcasts["clear"]) == lines


def test_a_run_that_ends_within_a_broadcast_broke_it_off(story: Story) -> None:
    observe(story, "call.succeeded", endpoint=POD)
    observe(story, "run.finished")
    assert rows(story) == [("clear", "broken off", "1 of 2", [], "")]


@pytest.fixture
def ended() -> Story:
    """Of a run of two broadcasts."""
    story = Story()
    missed = {"status 503": ["a"], "timeout": ["b"]}
    story.broadcasts = {
        "clear": Progress("clear", 0.0, seen=2, acknowledged=2, outcome="complete"),
        "reload": Progress(
            "reload", 0.0, seen=3, acknowledged=1, outcome="partial", missed=missed, hint="try"
        ),
    }
    return story


def test_the_plain_table(ended: Story) -> None:
    assert plain_table(ended) == [
        "",
        "broadcast  outcome   endpoints  failures         hint",
        "clear      complete  2 of 2",
        "reload     partial   1 of 3     1 status 503: a  try",
        "                                1 timeout: b",
        "",
    ]
    assert plain_table(Story()) == []


def test_columns_that_are_empty_are_left_out_and_hints_can_stand_below_failures(
    ended: Story,
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
