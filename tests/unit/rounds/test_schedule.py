"""What broadcasts share in one run, with no clock: every time is an argument."""

from __future__ import annotations

import itertools

from tests.unit.rounds.test_ledger import (
    BROADCAST,
    SERVFAIL,
    answer,
    fail,
    pod,
    result,
    start,
    step,
    tell,
)
from worker.model import CallResult
from worker.rounds.schedule import Schedule
from worker.rounds.steps import Call, Cut, Finish


def schedule(*, sequential: bool = False, deadline_at: float = 100.0) -> Schedule:
    broadcasts = [
        BROADCAST._replace(name=f"b{number}", concurrency=concurrency)
        for number, concurrency in enumerate((2, 8, 4))
    ]
    return Schedule(broadcasts, sequential, deadline_at)


def begun(schedule: Schedule, now: float) -> list[int]:
    """Whoever begins now."""
    numbers = []
    while (number := schedule.begin(now)) is not None:
        numbers.append(number)
    return numbers


def test_the_next_begins_when_the_one_before_has_made_its_first_calls() -> None:
    run = schedule()
    assert begun(run, 0) == [0]
    first = run.ledgers[0]
    tell(first, answer(0, 1), 0)
    start(first, 0, 1)
    assert begun(run, 0) == []
    first.record_call(result(1, "timeout"), 1)
    step(first, 1)
    assert begun(run, 1) == [1]


def test_the_next_begins_when_the_one_before_has_no_first_answer() -> None:
    run = schedule()
    begun(run, 0)
    fail(run.ledgers[0], SERVFAIL, 5)
    assert begun(run, 5) == [1]


def test_who_has_no_answer_for_a_second_keeps_the_next_from_beginning_no_longer() -> None:
    run = schedule()
    begun(run, 0)
    run.ledgers[0].record_question(0)
    assert begun(run, 0.9) == []
    assert run.begins_at == 1.0
    assert begun(run, 1.0) == [1]
    assert run.begins_at == 2.0


def test_sequential_waits_until_the_one_before_is_finished() -> None:
    run = schedule(sequential=True)
    begun(run, 0)
    first = run.ledgers[0]
    tell(first, answer(0, 1), 0)
    start(first, 0, 1)
    first.record_call(result(1), 0)
    step(first, 0)
    assert begun(run, 1) == []
    tell(first, answer(1.1, 1), 1.1)
    assert step(first, 1.1) == Finish("confirmed")
    assert begun(run, 1.1) == [1]


def test_when_the_runs_deadline_is_over_all_begin_and_end() -> None:
    run = schedule()
    begun(run, 0)
    tell(run.ledgers[0], answer(0, 1), 0)
    start(run.ledgers[0], 0, 1)
    assert begun(run, 99) == []
    assert run.begins_at == 100
    assert begun(run, 100) == [1, 2]
    assert step(run.ledgers[2], 100) == Finish("deadline")


def test_after_a_stop_all_begin_and_end() -> None:
    run = schedule()
    begun(run, 0)
    tell(run.ledgers[0], answer(0, 1), 0)
    start(run.ledgers[0], 0, 1)
    run.record_stop(cut_at=6)
    assert begun(run, 1) == [1, 2]
    assert step(run.ledgers[2], 1) == Finish("stopped")
    assert step(run.ledgers[0], 6) == Cut("cancelled")


def test_the_run_has_room_for_the_calls_of_its_largest_broadcast() -> None:
    run = schedule()
    begun(run, 0)
    first = run.ledgers[0]
    tell(first, answer(0, 1, 2, 3), 0)
    step(first, 0, room=0)
    assert list(itertools.islice(run.shares(0), 1)) == [(0, 8)]
    start(first, 0, 1, 2)
    assert list(run.shares(0)) == []  # it may have no more than two


def test_who_was_served_longest_ago_is_served_first() -> None:
    run = Schedule([BROADCAST._replace(concurrency=1) for _ in range(3)], sequential=False)
    for number in begun_all(run):
        tell(run.ledgers[number], answer(2, 1, 2, 3), 2)
    order = []
    for _ in range(6):
        number, room = next(run.shares(2))
        ledger = run.ledgers[number]
        wanted = step(ledger, 2, room)
        assert isinstance(wanted, Call)
        ledger.record_started(wanted.endpoints, 2)
        assert list(run.shares(2)) == []  # the only place is taken
        order.append((number, wanted.endpoints))
        (endpoint,) = wanted.endpoints
        ledger.record_call(CallResult(endpoint, "", 0.0), 2)
    assert order == [(n, (pod(each),)) for each in (1, 2) for n in (0, 1, 2)]


def test_places_are_shared_out_among_those_who_wait() -> None:
    run = schedule()
    first, second, _ = (run.ledgers[number] for number in begun_all(run))
    for ledger in (first, second):
        tell(ledger, answer(2, 1, 2, 3), 2)
    shares = run.shares(2)
    assert next(shares) == (0, 4)  # of eight, half, and it may start two
    start(first, 2, 1, 2, room=4)
    assert next(shares) == (1, 6)
    start(second, 2, 1, 2, 3, room=6)
    assert list(shares) == []


def begun_all(run: Schedule) -> list[int]:
    """Begins all of its broadcasts; the first question of each has failed."""
    numbers: list[int] = []
    while more := begun(run, 0):
        for number in more:
            fail(run.ledgers[number], SERVFAIL, 0)
        numbers += more
    return numbers
