"""Decides the next step of one broadcast: calls, the next question, a wait, or the end.

Pure: no clock, socket, thread or log. `run` tells it what happened, and at what time, and does
what `next_step` says. `books` has what is known, and `verdict` makes the report.
docs/how-it-works.md explains the rules.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from itertools import islice

from worker.model import Answer, Broadcast, CallResult, Endpoint, ResolutionFailure
from worker.report.records import BroadcastReport
from worker.rounds import rules, verdict
from worker.rounds.admission import Admission
from worker.rounds.books import Books, Entry, newcomer
from worker.rounds.proofs import Proofs
from worker.rounds.questions import Questions
from worker.rounds.steps import (
    Ask,
    Booked,
    Call,
    Change,
    Cut,
    CutReason,
    Expire,
    Finish,
    Step,
    Wait,
)
from worker.words import Ending

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
        self._proofs = Proofs(self.books, broadcast.verify) if broadcast.verify else None
        self._admission = Admission(self.books)
        # Calls:
        self._queue: deque[Endpoint] = deque()  # the one that waited longest for a place is first
        self._next_start_at = started_at  # by `stagger`
        self._first: set[Endpoint] | None = None  # of the first answer, with no call ended yet
        self._cut_at = deadline_at
        self._cut_reason: CutReason = "deadline"
        self._cut = False
        self._questions = Questions(self.books)
        self._first_empty: Answer | None = None  # the first in a row that lists nobody any more

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
        if self.books.in_flight >= self._broadcast.concurrency:
            return False
        return (now >= self._next_start_at and self._may_call(now)) or self._is_poll_due(now)

    def _is_poll_due(self, now: float) -> bool:
        return self._may_poll(now) and bool(self._proofs and self._proofs.next_due(now))

    def _may_poll(self, now: float) -> bool:
        """True if an endpoint is not proved yet, and polls may still begin."""
        is_open = self._proofs is not None and self._proofs.is_open
        return is_open and not self.books.stopped and now < self.books.deadline_at

    def _may_call(self, now: float) -> bool:
        """True if an endpoint is in the queue, and calls may still begin."""
        books = self.books
        given_up = books.stopped or books.is_hopeless or now >= books.deadline_at
        return bool(self._queue) and not given_up

    # --- what to do ---------------------------------------------------------------------------

    def next_step(self, now: float, room: int) -> Step:
        """The step to take now. `room`: the most calls that the run as a whole may start."""
        books = self.books
        if books.in_flight and now >= self._cut_at and not self._cut:
            return Cut(self._cut_reason)
        if self._proofs and self._may_poll(now) and (late := self._proofs.look(now)):
            return Expire(late)
        if count := self._count_to_start(now, room):
            return Call(self._broadcast.exchange, tuple(islice(self._queue, count)))
        if poll := self._find_poll(now, room):
            return poll
        busy = bool(books.in_flight) or self._may_call(now) or self._may_poll(now)
        if not busy and (ending := self._find_ending(now)):
            books.ending = ending
            if ending == "settle":
                self._admission.end()
            return Finish(ending)
        ask_at = self._questions.next_at(busy, now)
        if ask_at <= now:
            return Ask(books.deadline_at)
        return self._wait(ask_at, busy, now)

    def _find_poll(self, now: float, room: int) -> Call | None:
        """The next poll of `verify`, if one is due and there is a place for it."""
        if not self._proofs or room < 1 or self.books.in_flight >= self._broadcast.concurrency:
            return None
        return self._proofs.poll(now) if self._may_poll(now) else None

    def _count_to_start(self, now: float, room: int) -> int:
        if now < self._next_start_at or not self._may_call(now):
            return 0
        free = self._broadcast.concurrency - self.books.in_flight
        most = 1 if self._broadcast.stagger_seconds else len(self._queue)
        return max(min(free, room, most), 0)

    def _find_ending(self, now: float) -> Ending | None:
        """The reason why it is over, or None. For when no call is in flight and none begins."""
        books = self.books
        waits = books.too_few() or any(map(books.may_come_back, books.entries.values()))
        if books.is_hopeless:
            return "never_resolved"
        if books.confirmed() and not waits:
            return "confirmed"
        if books.given_up and not any(books.owed()):
            return "given_up"
        if books.stopped:
            return "stopped"
        if now >= self._ends_at:
            return "deadline"
        if not self._questions.asking and self._questions.next_at(False, now) == math.inf:
            return "settle"
        return None

    @property
    def _ends_at(self) -> float:
        """The time at which the deadline ends the broadcast, if no call is in flight."""
        return self.books.deadline_at + (LATE_ANSWER_SECONDS if self._questions.asking else 0.0)

    def _wait(self, ask_at: float, busy: bool, now: float) -> Wait:
        """The wait until something has to be done, and its reason."""
        books, until = self.books, ask_at
        if not books.in_flight:
            until = min(until, self._ends_at)
        elif not self._cut:
            until = min(until, self._cut_at)
        if self._may_call(now) and books.in_flight < self._broadcast.concurrency:
            until = min(until, self._next_start_at if now < self._next_start_at else math.inf)
        if self._proofs and self._may_poll(now):
            until = min(until, self._proofs.looks_at)
        if self._questions.asking:
            return Wait(until, "question")
        if busy and not books.in_flight and not self._may_call(now):
            return Wait(until, "proofs")
        return Wait(until, "calls" if busy else books.lack)

    # --- what happened ------------------------------------------------------------------------

    def record_question(self, now: float) -> None:
        """Books that an `Ask` is under way. It serves all endpoints that are due by now."""
        self._questions.begin(now)

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
        self._questions.end(now)
        books.failure = None
        previous, books.answer = books.answer, answer
        books.answer_asked_at = self._questions.asked_at
        newcomers = self._list(answer, now)
        left = self._miss(answer, previous, now)
        self._choose_canaries(answer)
        self._admit(books.entries if self._admission.opens() else answer.endpoints)
        if self._first is None:
            self._first = {endpoint for endpoint in answer.endpoints if endpoint.port}
        if answer.capped:
            books.capped = answer
        elif answer.endpoints and books.capped and answer.is_newer_than(books.capped):
            books.capped = None
        newer = answer.is_newer_than(books.in_force) if books.in_force else None
        if not self._queue:
            books.in_force = books.in_force or answer.without_endpoints()
        self._questions.answered(answer, previous, bool(self._queue), self._is_busy())
        nobody = not answer.endpoints and books.too_few()
        return Change(len(answer.endpoints), newcomers, left, newer, nobody)

    def _list(self, answer: Answer, now: float) -> int:
        """Books who is listed. Returns how many are new."""
        entries, number, newcomers = self.books.entries, self.books.questions, 0
        for endpoint in answer.endpoints:
            entry = entries.get(endpoint)
            if entry is None:
                newcomers += 1
                entry = newcomer(endpoint, answer, number)
                if entry.phase == "failed":
                    self._admission.failed(endpoint)
            if self._proofs:
                entry = self._proofs.listed(entry, endpoint, self._questions.asked_at, now)
            entries[endpoint] = entry._replace(
                listed_in=answer, listed_by=number, missing_from=None, gone=False
            )
        return newcomers

    def _choose_canaries(self, answer: Answer) -> None:
        """Lets canaries that are lost leave the queue: others take their part."""
        if self._admission.is_open:
            return
        self._admission.choose(answer)
        for endpoint in [e for e in self._queue if not self._admission.admits(e)]:
            self._queue.remove(endpoint)
            self.books.entries[endpoint] = self.books.entries[endpoint]._replace(phase="owed")

    def _admit(self, endpoints: Iterable[Endpoint]) -> None:
        """Lets those who are due join the queue, in this order."""
        books = self.books
        for endpoint in endpoints:
            entry = books.entries[endpoint]
            due = entry.phase == "owed" and entry.due_at <= books.answer_asked_at
            if due and books.is_owed(entry) and self._admission.admits(endpoint):
                books.entries[endpoint] = entry._replace(phase="queued")
                self._queue.append(endpoint)

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
            if self._proofs and answer.exact and not gone:
                before = self._proofs.exists(before, self._questions.asked_at)
                books.entries[endpoint] = before
            if not leaves and gone == before.gone:
                continue
            entry = before._replace(missing_from=before.missing_from or answer, gone=gone)
            if entry.phase == "queued" and (entry.attempts or gone):
                entry = entry._replace(phase="owed")
            if self._proofs and gone and not before.gone:
                self._proofs.gone(before)
            books.entries[endpoint] = entry
            if gone and self._first and entry.phase != "called":
                self._first.discard(endpoint)
            if books.may_come_back(entry):
                self._questions.be_patient(now)
        if any(books.entries[endpoint].phase != "queued" for endpoint in self._queue):
            self._queue = deque(e for e in self._queue if books.entries[e].phase == "queued")
        return left

    def record_failure(self, failure: ResolutionFailure, now: float) -> None:
        """Books that a question had no answer, and why."""
        self._questions.end(now)
        self._questions.failed(failure, now)
        self.books.failure = failure
        self._first = self._first or set()

    def record_started(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        """Books that calls to these endpoints, of a `Call`, are in flight."""
        books = self.books
        assert books.answer  # calls are made from an answer
        if self._proofs and books.entries[endpoints[0]].phase == "proving":
            self._proofs.started(endpoints[0], now)
            books.in_flight += 1
            return
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
        books.in_flight -= 1
        books.last_call_ended_at = now
        before = books.entries[result.endpoint]
        if self._proofs and before.phase == "polled":
            return self._book_proof(result.endpoint, self._proofs.ended(result, now), now)
        books.calls += 1
        entry = books.after_call(before, result)
        seconds = None
        self._questions.be_patient(now)
        if result.error_type is None and self._proofs:
            entry = self._proofs.begin(entry, result.endpoint, now)
        elif result.error_type is None:
            entry = entry._replace(phase="acknowledged")
        elif entry.attempts == broadcast.attempts or not rules.is_retried(result):
            entry = entry._replace(phase="failed")
            self._admission.failed(result.endpoint)
        else:
            seconds = rules.backoff_seconds(broadcast, entry.attempts, result.retry_after_seconds)
            entry = entry._replace(phase="owed", due_at=now + seconds)
            if not books.is_listed(entry):
                seconds = None  # it may not come back
            else:
                self._questions.expect(entry.due_at)
                if books.stopped or entry.due_at >= books.deadline_at:
                    seconds = None  # that call will not come
        books.entries[result.endpoint] = entry
        if self._first:
            self._first.discard(result.endpoint)
        self._after_call()
        return Booked(entry.attempts, entry.called_by, seconds, books.target(result.endpoint))

    def record_expired(self, endpoint: Endpoint, now: float) -> Booked:
        """Books that the time of a proof is over while its endpoint is not listed."""
        assert self._proofs
        return self._book_proof(endpoint, self._proofs.give_up(endpoint), now)

    def _book_proof(self, endpoint: Endpoint, entry: Entry, now: float) -> Booked:
        books, over = self.books, entry.phase == "failed"
        books.entries[endpoint] = entry
        if over:
            self._admission.failed(endpoint)
        self._questions.be_patient(now)
        self._after_call()
        target = books.target(endpoint)
        return Booked(entry.attempts, entry.called_by, None, target, entry.proof, over)

    def _after_call(self) -> None:
        """What follows from any call that is booked."""
        books = self.books
        if books.answer and not self._admission.is_open:
            self._choose_canaries(books.answer)
            self._admit(books.entries if self._admission.opens() else self._admission.canaries)
        if books.given_up:
            self._queue = deque(e for e in self._queue if books.entries[e].attempts)
        if not self._is_busy():
            self._questions.calls_over()

    def _is_busy(self) -> bool:
        """True if a call is in flight or about to begin, or a poll will be made."""
        return bool(self.books.in_flight or self._queue or (self._proofs and self._proofs.is_open))

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
