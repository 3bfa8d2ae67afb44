"""Decides the next step of one broadcast: calls, the next question, a wait, or the end.

Pure: no clock, socket, thread or log. `run` tells it what happened, and at what time, and does
what `next_step` says. `books` has what is known, and `verdict` makes the report.
docs/how-it-works.md explains the rules.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import islice

from worker.model import (
    Answer,
    Broadcast,
    BroadcastReport,
    CallResult,
    Endpoint,
    ResolutionFailure,
)
from worker.rounds import rules, verdict
from worker.rounds.books import Books, newcomer
from worker.rounds.steps import (
    Ask,
    Booked,
    Call,
    Change,
    Cut,
    CutReason,
    Finish,
    Step,
    Wait,
)
from worker.words import RESOLUTION_ERRORS, Ending, WaitReason

# A question ends by itself at the deadline. Its result may come this much later.
LATE_ANSWER_SECONDS = 0.5


class Ledger:
    """Decides for one broadcast. All times are seconds of one monotonic clock.

    Questions and calls go on side by side. Each endpoint is called at its own time: a newcomer when
    an answer lists it, a failed one when it is due and an answer that was asked for since then
    lists it. The whole run has to be over at `run_deadline_at`. Of this and the broadcast's own
    deadline, the earlier one counts.
    """

    def __init__(
        self, broadcast: Broadcast, started_at: float, run_deadline_at: float = math.inf
    ) -> None:
        deadline_at = min(started_at + broadcast.deadline_seconds, run_deadline_at)
        self.books = Books(broadcast, started_at, deadline_at)
        self.deadline_seconds = max(deadline_at - started_at, 0.0)
        self._broadcast = broadcast
        # Calls:
        self._queue: deque[Endpoint] = deque()  # the one that waited longest for a place is first
        self._next_start_at = started_at  # by `stagger`
        self._first: set[Endpoint] | None = None  # of the first answer, with no call ended yet
        self._cut_at = deadline_at
        self._cut_reason: CutReason = "deadline"
        self._cut = False
        # Questions:
        self._asking = False
        self._asked_at = -math.inf
        self._over_at = -math.inf  # end of the last question
        self._failures = 0  # questions in a row that had no answer
        self._quiet = -1  # questions in a row that nobody was due for, without the first
        self._quiet_at = started_at  # the time to ask if nobody is due by then
        self._due_at = math.inf  # an endpoint is due then, and needs a newer answer
        self._is_copy = False  # the last answer is known to come from a cache
        self._first_empty: Answer | None = None  # the first in a row that lists nobody any more
        self._patience_began_at = started_at  # `settle` counts from here

    # --- what the schedule asks ---------------------------------------------------------------

    @property
    def lets_next_begin_at(self) -> float:
        """The time from which this broadcast lets the next one begin.

        It does so when the first calls to all endpoints of the first answer have ended, when the
        first question fails, or when there is no answer after a second.
        """
        if self._first is None:
            return self.books.started_at + rules.HOLDS_UP_SECONDS
        return math.inf if self._first else -math.inf

    def waits_for_room(self, now: float) -> bool:
        """True if a call may start, as far as the run as a whole has room for it."""
        free = self.books.in_flight < self._broadcast.concurrency
        return free and now >= self._next_start_at and self._may_call(now)

    def _may_call(self, now: float) -> bool:
        """True if an endpoint is in the queue, and calls may still begin."""
        given_up = self.books.stopped or self._is_never_resolved() or now >= self.books.deadline_at
        return bool(self._queue) and not given_up

    def _is_never_resolved(self) -> bool:
        """True if no later answer can help.

        A right that is missing after there was an answer may be back in a moment: an API server
        that starts does not know the Roles yet.
        """
        if not self.books.failure:
            return False
        fault = RESOLUTION_ERRORS[self.books.failure.error_type]
        return not fault.retried and (not self.books.answer or fault.shows == "somebody")

    # --- what to do ---------------------------------------------------------------------------

    def next_step(self, now: float, room: int) -> Step:
        """The step to take now. `room`: the most calls that the run as a whole may start."""
        books = self.books
        if books.in_flight and now >= self._cut_at and not self._cut:
            return Cut(self._cut_reason)
        if count := self._count_to_start(now, room):
            return Call(self._broadcast.exchange, tuple(islice(self._queue, count)))
        busy = bool(books.in_flight) or self._may_call(now)
        if not busy and (ending := self._find_ending(now)):
            books.ending = ending
            return Finish(ending)
        ask_at = self._find_ask_at(busy, now)
        if ask_at <= now:
            return Ask(books.deadline_at)
        return self._wait(ask_at, busy, now)

    def _count_to_start(self, now: float, room: int) -> int:
        if not self.waits_for_room(now):
            return 0
        free = self._broadcast.concurrency - self.books.in_flight
        return min(free, room, 1 if self._broadcast.stagger_seconds else len(self._queue))

    def _find_ending(self, now: float) -> Ending | None:
        """The reason why it is over, or None. For when no call is in flight and none begins."""
        books = self.books
        waits = books.too_few() or any(map(books.may_come_back, books.entries.values()))
        if self._is_never_resolved():
            return "never_resolved"
        if books.confirmed() and not waits:
            return "confirmed"
        if books.stopped:
            return "stopped"
        if now >= self._ends_at:
            return "deadline"
        if not self._asking and self._find_ask_at(False, now) == math.inf:
            return "settle"
        return None

    @property
    def _ends_at(self) -> float:
        """The time at which the deadline ends the broadcast, if no call is in flight."""
        return self.books.deadline_at + (LATE_ANSWER_SECONDS if self._asking else 0.0)

    def _find_ask_at(self, busy: bool, now: float) -> float:
        """The time to ask who is there; infinity if no answer is of use any more.

        While calls are in flight or about to begin (`busy`), `settle` is no limit. Otherwise it
        is, and the last question is asked when it is over.
        """
        if self._asking or self.books.stopped or self._is_never_resolved():
            return math.inf
        if now >= self.books.deadline_at:
            return math.inf
        due_at = self._due_at + rules.sharing_seconds(self._broadcast)
        if failure := self.books.failure:
            due_at = max(due_at, self._over_at + self._pause_after(failure))
        else:
            due_at = max(due_at, self._asked_at + self._gap())
        at = min(self._quiet_at, due_at)
        if busy or not self.books.questions:
            return at
        patience_ends_at = self._patience_began_at + self._broadcast.settle_seconds
        if self._due_at < math.inf:
            return min(at, max(patience_ends_at, due_at))
        if max(self._over_at, self._patience_began_at) < patience_ends_at:
            return min(at, patience_ends_at)
        return math.inf

    def _gap(self) -> float:
        """The least time between two questions, so that endpoints that are due share one."""
        took = self._over_at - self._asked_at
        return rules.gap_seconds(self._broadcast, took) if self.books.questions else 0.0

    def _pause_after(self, failure: ResolutionFailure) -> float:
        """The wait before the next question, after one that had no answer."""
        return max(rules.pause_seconds(self._failures), failure.retry_after_seconds)

    def _wait(self, ask_at: float, busy: bool, now: float) -> Wait:
        """The wait until something has to be done, and its reason."""
        books, until = self.books, ask_at
        if not books.in_flight:
            until = min(until, self._ends_at)
        elif not self._cut:
            until = min(until, self._cut_at)
        if self._may_call(now) and books.in_flight < self._broadcast.concurrency:
            until = min(until, self._next_start_at if now < self._next_start_at else math.inf)
        if self._asking:
            return Wait(until, "question")
        return Wait(until, "calls" if busy else self._wait_reason())

    def _wait_reason(self) -> WaitReason:
        books = self.books
        if books.failure or (books.too_few() and not (books.answer and books.answer.endpoints)):
            return "no_answer"
        if any(books.owed()):
            return "backoff"
        if books.too_few():
            return "min_pods"
        if books.confirmed():
            return "absent"
        return "confirming" if books.answer and books.answer.exact else "cached_answer"

    # --- what happened ------------------------------------------------------------------------

    def record_question(self, now: float) -> None:
        """Books that an `Ask` is under way. It serves all endpoints that are due by now."""
        self._asking, self._asked_at = True, now
        self._quiet += now < self._due_at
        self._due_at = self._find_due_at()

    def _find_due_at(self) -> float:
        """The first time at which an endpoint is due that the last question was too early for."""
        due = (e.due_at for e in self.books.owed() if e.phase == "owed")
        return min((at for at in due if at > self._asked_at), default=math.inf)

    def record_answer(self, answer: Answer, now: float) -> Change:
        """Books who is listed now, and who joins the queue or leaves it.

        DNS's answer that nobody is listed any more is believed only when a newer one repeats it: a
        server that has just started may say so, and so may another one after a lost packet.
        """
        books = self.books
        if not answer.endpoints and books.entries and not answer.exact:
            self._first_empty = self._first_empty or answer
            if not answer.is_newer_than(self._first_empty):
                self.record_failure(answer.nobody(), now)
                return Change(0, 0, 0, None, nobody=True, doubted=True)
        else:
            self._first_empty = None
        self._end_question(now)
        self._failures, books.failure = 0, None
        previous, books.answer = books.answer, answer
        books.answer_asked_at = self._asked_at
        newcomers = self._list(answer)
        left = self._miss(answer, previous, now)
        self._due_at = self._find_due_at()
        if self._first is None:
            self._first = {endpoint for endpoint in answer.endpoints if endpoint.port}
        if answer.capped:
            books.capped = answer
        elif answer.endpoints and books.capped and answer.is_newer_than(books.capped):
            books.capped = None
        newer = answer.is_newer_than(books.in_force) if books.in_force else None
        if not self._queue:
            books.in_force = books.in_force or answer.without_endpoints()
        self._is_copy = previous is not None and answer.is_copy_beside(previous)
        if self._queue:
            self._quiet = 0
        self._quiet_at = self._find_quiet_at(answer)
        nobody = not answer.endpoints and books.too_few()
        return Change(len(answer.endpoints), newcomers, left, newer, nobody)

    def _list(self, answer: Answer) -> int:
        """Books who is listed; those that are due join the queue. Returns how many are new."""
        entries, number, newcomers = self.books.entries, self.books.questions, 0
        for endpoint in answer.endpoints:
            entry = entries.get(endpoint)
            newcomers += entry is None
            entry = entry or newcomer(endpoint, answer, number)
            phase = entry.phase
            if phase == "owed" and entry.due_at <= self._asked_at:
                phase = "queued"
                self._queue.append(endpoint)
            entries[endpoint] = entry._replace(
                listed_in=answer, listed_by=number, missing_from=None, phase=phase, gone=False
            )
        return newcomers

    def _miss(self, answer: Answer, previous: Answer | None, now: float) -> int:
        """Books who is no longer listed, and whose pod is no more. Returns how many left just now.

        An endpoint that waits for another call leaves the queue: its address may be another pod's
        by now. One that was never called stays in it, unless its pod is no more: it may only have
        become unready.
        """
        books, left = self.books, 0
        missing = [(e, entry) for e, entry in books.entries.items() if not books.is_listed(entry)]
        for endpoint, before in missing:
            gone = answer.shows_gone(endpoint)
            leaves = before.listed_in is previous
            left += leaves
            if not leaves and gone == before.gone:
                continue
            entry = before._replace(missing_from=before.missing_from or answer, gone=gone)
            if entry.phase == "queued" and (entry.attempts or gone):
                entry = entry._replace(phase="owed")
            books.entries[endpoint] = entry
            if gone and self._first and entry.phase != "called":
                self._first.discard(endpoint)
            if books.may_come_back(entry):
                self._patience_began_at = max(self._patience_began_at, now)
        if any(books.entries[endpoint].phase != "queued" for endpoint in self._queue):
            self._queue = deque(e for e in self._queue if books.entries[e].phase == "queued")
        return left

    def record_failure(self, failure: ResolutionFailure, now: float) -> None:
        """Books that a question had no answer, and why."""
        self._end_question(now)
        self._failures += 1
        self._quiet = 0
        self.books.failure = failure
        self._first = self._first or set()
        self._quiet_at = now + self._pause_after(failure)

    def _end_question(self, now: float) -> None:
        self.books.questions += 1
        self._asking, self._over_at = False, now

    def _find_quiet_at(self, answer: Answer) -> float:
        """The time to ask again after this answer if nobody is due by then.

        The next answer of the API confirms the result at once; one of DNS may be a copy.
        """
        if self._is_copy:
            return answer.forgotten_at
        books = self.books
        busy = books.in_flight or self._queue
        took = self._over_at - self._asked_at
        if answer.exact and not (busy or any(books.owed()) or books.is_after_calls()):
            return self._asked_at + rules.shortest_gap_seconds(took)
        return self._over_at + rules.pause_seconds(self._quiet + 1, took if answer.exact else 0.0)

    def record_started(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        """Books that calls to these endpoints, of a `Call`, are in flight."""
        books = self.books
        assert books.answer  # calls are made from an answer
        for endpoint in endpoints:
            self._queue.popleft()
            entry = books.entries[endpoint]
            books.entries[endpoint] = entry._replace(phase="called", called_by=entry.listed_by)
        books.in_flight += len(endpoints)
        self._next_start_at = now + self._broadcast.stagger_seconds
        # One of several caches may list fewer endpoints and expire earlier. None of the copies that
        # calls were made from proves anything when it is seen again, so the last to expire counts.
        if not books.in_force or books.answer.outlives(books.in_force):
            books.in_force = books.answer.without_endpoints()

    def record_call(self, result: CallResult, now: float) -> Booked:
        """Books the result of a call. Returns its attempt number and the wait before the next."""
        books, broadcast = self.books, self._broadcast
        books.calls += 1
        books.in_flight -= 1
        books.last_call_ended_at = now
        before = books.entries[result.endpoint]
        entry = books.after_call(before, result)
        seconds = None
        self._patience_began_at = max(self._patience_began_at, now)
        if result.error_type is None:
            entry = entry._replace(phase="acknowledged")
        elif entry.attempts == broadcast.attempts or not rules.is_retried(result):
            entry = entry._replace(phase="failed")
        else:
            seconds = rules.backoff_seconds(broadcast, entry.attempts, result.retry_after_seconds)
            entry = entry._replace(phase="owed", due_at=now + seconds)
            if not books.is_listed(entry):
                seconds = None  # it may not come back
            else:
                self._due_at = min(self._due_at, entry.due_at)
                self._patience_began_at = max(self._patience_began_at, entry.due_at)
                if books.stopped or entry.due_at >= books.deadline_at:
                    seconds = None  # that call will not come
        books.entries[result.endpoint] = entry
        if self._first:
            self._first.discard(result.endpoint)
        if not books.in_flight and not self._queue and not self._failures and books.answer:
            self._quiet = 0
            self._quiet_at = self._find_quiet_at(books.answer)
        return Booked(entry.attempts, entry.called_by, seconds, books.target(result.endpoint))

    def record_cut(self) -> None:
        """Books that the calls in flight were told to end."""
        self._cut = True

    def record_stop(self, cut_at: float) -> None:
        """Books a stop signal: no new call starts, and calls in flight are cut at `cut_at`.

        Endpoints that are owed a call are cancelled. A second signal may make `cut_at` earlier.
        """
        self.books.stopped = True
        if cut_at < self._cut_at:
            self._cut_at, self._cut_reason = cut_at, "cancelled"

    def report(self, now: float) -> BroadcastReport:
        """The report on the broadcast, once `next_step` has returned Finish."""
        return verdict.report(self.books, now)
