"""The table of events has what the program can write, and what is made from it agrees with it."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from tests.events import judge
from tools import events as made
from worker.log.event_type import EventType
from worker.log.events import BY_NAME, EVENTS
from worker.log.sentences import WAITING
from worker.words import (
    CALL_ERRORS,
    OUTCOMES,
    REASONS,
    RESOLUTION_ERRORS,
    WAITS,
    CallError,
    Outcome,
    Reason,
    ResolutionError,
    WaitReason,
)

SCHEMA = Draft202012Validator(made.schema())


def words(alias: Any) -> set[str]:
    """The values of a Literal, or of a union of them."""
    return {
        word
        for part in get_args(alias)
        for word in ([part] if isinstance(part, str) else get_args(part))
    }


def example(name: str) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(made.example(BY_NAME[name]))
    return entry


def test_the_table_has_every_value_and_no_other() -> None:
    assert CALL_ERRORS.keys() == words(CallError)
    assert RESOLUTION_ERRORS.keys() == words(ResolutionError)
    assert OUTCOMES.keys() == words(Outcome)
    assert REASONS.keys() == words(Reason)
    # Other lines tell of the other waits: call.failed of the next call, for example.
    told_otherwise = {"backoff", "calls", "confirming", "proofs", "question"}
    assert WAITS.keys() == WAITING.keys() == words(WaitReason) - told_otherwise


def test_no_name_stands_twice() -> None:
    assert len(BY_NAME) == len(EVENTS)
    for event in EVENTS:
        names = [field.name for field in event.line_fields]
        assert len(set(names)) == len(names), event.name


def test_a_field_has_the_same_type_and_unit_in_every_event() -> None:
    kinds: dict[str, set[tuple[str, str]]] = {}
    for event in EVENTS:
        for field in event.line_fields:
            kinds.setdefault(field.name, set()).add((field.type, field.unit))
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(made.schema())


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_an_example_is_a_line_that_the_program_could_write(event: EventType) -> None:
    entry = json.loads(made.example(event))
    judge.check(entry)
    assert list(SCHEMA.iter_errors(entry)) == []
    assert made.example(event) in made.page()
    never_together = {"run.finished": {"error_message"}, "endpoints.resolved": {"ttl_seconds"}}
    fields = {field.name for field in event.line_fields}
    absent = never_together.get(event.name, set())
    assert fields - entry.keys() == absent, "an example shows every field that it can"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"wait_seconds": "1"}, "wait_seconds: '1': number"),
        ({"wait_seconds": None}, "wait_seconds: None: number"),
        ({"reason": "tired"}, "reason: tired is not in"),
        ({"reason": ""}, "reason is empty"),
        ({"message": ""}, "message is empty"),
        ({"pod": "x"}, "pod is not in"),
        ({"level": "error"}, "at level error"),
        ({"event": "nap.taken"}, "nap.taken is not in"),
    ],
)
def test_a_line_that_the_table_does_not_have_is_found(
    change: dict[str, Any], complaint: str
) -> None:
    entry = example("resolution.waiting")
    judge.check(entry)
    with pytest.raises(AssertionError, match=complaint):
        judge.check(entry | change)
    assert not SCHEMA.is_valid(entry | change)


def test_seconds_that_are_a_whole_number_by_accident_are_found() -> None:
    with pytest.raises(AssertionError, match="wait_seconds: 1: number"):
        judge.check(example("resolution.waiting") | {"wait_seconds": 1})


@pytest.mark.parametrize("name", ["reason", "broadcast", "run_id"])
def test_a_line_that_lacks_a_field_is_found(name: str) -> None:
    entry = example("resolution.waiting")
    del entry[name]
    with pytest.raises(AssertionError, match=f"without .*{name}"):
        judge.check(entry)
    assert not SCHEMA.is_valid(entry)


def test_a_call_that_the_deadline_cuts_off_is_a_line_of_the_table() -> None:
    entry = example("call.failed") | {"error_type": "deadline", "level": "error"}
    for absent in ("retry_in_seconds", "status_code", "response_body"):
        del entry[absent]
    judge.check(entry)
    assert list(SCHEMA.iter_errors(entry)) == []


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        (
            "call.failed",
            {"endpoint": "10.0.0.7:80", "error_message": "cut off"},
            "10.0.0.7:80: cut off; not called again",
        ),
        (
            "endpoint.failed",
            {"endpoint": "10.0.0.7:80", "attempts": 5, "error_type": "status"},
            "10.0.0.7:80 was missed after 5 calls: status",
        ),
        (
            "endpoint.failed",
            {"endpoint": "10.0.0.7:80", "attempts": 0, "error_type": "deadline"},
            "10.0.0.7:80 was missed without a call: deadline",
        ),
        (
            "endpoint.cancelled",
            {"endpoint": "10.0.0.7:80", "attempts": 1, "reason": "cancelled"},
            "10.0.0.7:80 was given up after 1 call: cancelled",
        ),
        (
            "run.started",
            {"version": "1.2.3", "broadcasts": 2},
            "pod-broadcast 1.2.3: 2 broadcasts",
        ),
        (
            "broadcast.finished",
            {"outcome": "complete", "seen": 3, "acknowledged": 2, "gone": 1, "confirmed": False},
            "complete: 2 of 3 endpoints acknowledged, 1 gone; not confirmed by a newer answer",
        ),
        (
            "broadcast.finished",
            {"outcome": "partial", "seen": 3, "acknowledged": 2, "failed": 1, "confirmed": False}
            | {"reason": "some_calls_failed", "rounds": 1},
            "partial: 2 of 3 endpoints acknowledged, 1 failed (some_calls_failed)",
        ),
        (
            "broadcast.finished",
            {"outcome": "partial", "seen": 3, "acknowledged": 1, "cancelled": 2}
            | {"reason": "cancelled", "rounds": 1, "confirmed": False},
            "partial: 1 of 3 endpoints acknowledged, 2 cancelled",
        ),
        (
            "broadcast.finished",
            {"outcome": "failed", "seen": 0, "acknowledged": 0, "reason": "deadline", "rounds": 1}
            | {"confirmed": False, "hint": "raise deadline"},
            "failed: 0 of 0 endpoints acknowledged (deadline). Hint: raise deadline",
        ),
        (
            "broadcast.started",
            {"method": "POST", "request_url": "http://web/", "concurrency": 16},
            "POST http://web/, at most 16 calls at once",
        ),
        (
            "config.invalid",
            {"config_file": "/a.yaml", "error_message": "expected a readable file"},
            "/a.yaml: expected a readable file",
        ),
        (
            "config.invalid",
            {"key": "--config", "error_message": "expected a path"},
            "--config: expected a path",
        ),
        (
            "run.finished",
            {"outcome": "failed", "exit_code": 2, "error_message": "configuration: /a.yaml"},
            "exit code 2: configuration: /a.yaml",
        ),
    ],
)
def test_the_sentence_of(name: str, fields: dict[str, Any], sentence: str) -> None:
    assert BY_NAME[name].message(fields) == sentence
