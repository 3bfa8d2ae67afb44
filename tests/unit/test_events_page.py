"""docs/events.md is that of the table, and the table that of the program."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from tests import reference
from tests.events import judge, page, values
from tests.events.table import BY_NAME, EVENTS, Event
from worker.log.setup import MESSAGES
from worker.model import CallError, Outcome, Reason, ResolutionError
from worker.rounds.steps import WaitReason


def words(alias: Any) -> set[str]:
    """The values of a Literal, or of a union of them."""
    return {
        word
        for part in get_args(alias)
        for word in ([part] if isinstance(part, str) else get_args(part))
    }


def test_the_events_page_is_that_of_the_table() -> None:
    assert reference.EVENTS.read_text() == page.page(), "run make generated"


def test_the_table_has_every_event_and_no_other() -> None:
    assert [event.name for event in EVENTS] == list(BY_NAME)
    assert BY_NAME.keys() == MESSAGES.keys()


def test_the_table_has_every_value_and_no_other() -> None:
    assert values.CALL_ERRORS.keys() == words(CallError)
    assert values.RESOLUTION_ERRORS.keys() == words(ResolutionError)
    assert values.OUTCOMES.keys() == words(Outcome)
    assert values.REASONS.keys() == words(Reason)
    assert values.WAITS.keys() == words(WaitReason) - {"backoff"}  # call.failed tells of that


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_an_example_is_a_line_that_the_program_could_write(event: Event) -> None:
    entry = json.loads(page.example(event))
    judge.check(entry)
    fields = {field.name for field in event.fields}
    assert entry.keys() >= {f.name for f in event.fields if not f.absent}
    assert page.example(event) in page.page()
    never_together = {"error_message"} if event.name == "run.finished" else set()
    assert fields - entry.keys() == never_together, "an example shows every field that it can"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"wait_seconds": 1}, "wait_seconds: 1: seconds"),
        ({"wait_seconds": None}, "wait_seconds: None: seconds"),
        ({"reason": "tired"}, "reason: tired is not in"),
        ({"reason": ""}, "reason is empty"),
        ({"pod": "x"}, "pod is not in"),
        ({"level": "error"}, "at level error"),
        ({"event": "nap.taken"}, "nap.taken is not in"),
    ],
)
def test_a_line_that_the_page_does_not_have_is_found(
    change: dict[str, Any], complaint: str
) -> None:
    entry = json.loads(page.example(BY_NAME["resolution.waiting"]))
    judge.check(entry)
    with pytest.raises(AssertionError, match=complaint):
        judge.check(entry | change)


def test_a_line_that_lacks_a_field_is_found() -> None:
    entry = json.loads(page.example(BY_NAME["resolution.waiting"]))
    del entry["reason"]
    with pytest.raises(AssertionError, match=r"without .*reason"):
        judge.check(entry)
