"""What broadcasts share in one run, with no clock: every time is an argument."""

from __future__ import annotations

import itertools

from tests.unit.rounds.test_ledger import BROADCAST, SERVFAIL, answer, result, start, step
from worker.rounds.schedule import Schedule
from worker.rounds.steps import Cut, Finish


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
    first.record_answer(answer(0, 1), 0)
    start(first, 0, 1)
    assert begun(run, 0) == []
    first.record_call(result(1, "timeout"), 1)
    step(first, 1)
    assert begun(run, 1) == [1]


def test_the_next_begins_when_the_one_before_has_no_first_answer() -> None:
    run = schedule()
    begun(run, 0)
    run.ledgers[0].record_failure(SERVFAIL, 5)
    assert begun(run, 5) == [1]


def test_sequential_waits_until_the_one_before_is_finished() -> None:
    run = schedule(sequential=True)
    begun(run, 0)
    first = run.ledgers[0]
    first.record_answer(answer(0, 1), 0)
    start(first, 0, 1)
    first.record_call(result(1), 0)
    step(first, 0)
    assert begun(run, 1) == []
    first.record_answer(answer(1.1, 1), 1.1)
    assert step(first, 1.1) == Finish("confirmed")
    assert begun(run, 1.1) == [1]


def test_when_the_runs_deadline_is_over_all_begin_and_end() -> None:
    run = schedule()
    begun(run, 0)
    assert begun(run, 99) == []
    assert begun(run, 100) == [1, 2]
    assert step(run.ledgers[2], 100) == Finish("deadline")


def test_after_a_stop_all_begin_and_end() -> None:
    run = schedule()
    begun(run, 0)
    run.ledgers[0].record_answer(answer(0, 1), 0)
    start(run.ledgers[0], 0, 1)
    run.record_stop(cut_at=6)
    assert begun(run, 1) == [1, 2]
    assert step(run.ledgers[2], 1) == Finish("stopped")
    assert step(run.ledgers[0], 6) == Cut("cancelled")


def test_the_run_has_room_for_the_calls_of_its_largest_broadcast() -> None:
    run = schedule()
    begun(run, 0)
    first = run.ledgers[0]
    first.record_answer(answer(0, 1, 2, 3), 0)
    step(first, 0, room=0)
    assert list(itertools.islice(run.shares(0), 1)) == [(0, 8)]
    start(first, 0, 1, 2)
    assert list(run.shares(0)) == []  # it may have no more than two


def test_who_has_the_fewest_calls_in_flight_is_served_first() -> None:
    run = schedule()
    begun(run, 0)
    busy = run.ledgers[0]
    busy.record_failure(SERVFAIL, 0)
    begun(run, 0)
    idle = run.ledgers[1]
    for ledger in (busy, idle):
        ledger.record_answer(answer(2, 1, 2, 3), 2)
        step(ledger, 2, room=0)
    start(busy, 2, 1, room=1)
    shares = run.shares(2)
    assert next(shares) == (1, 4)  # of seven, half, and it may start three
    start(idle, 2, 1, 2, 3, room=4)
    assert next(shares) == (0, 4)
    start(busy, 2, 2, room=4)
    assert list(shares) == []
