"""When the witness is asked: for those who are due, for newcomers, and to confirm. Pure."""

from __future__ import annotations

import math

from worker.model import Answer, ResolutionFailure
from worker.rounds import rules
from worker.rounds.books import Books


class Questions:
    """The clock of one broadcast's questions, of which one at a time is under way.

    Times are seconds of one monotonic clock. `asked_at` is that of the last question.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self.asking = False
        self.asked_at = -math.inf
        self._over_at = -math.inf  # end of the last one
        self._failures = 0  # in a row that had no answer
        self._quiet = -1  # in a row that nobody was due for, without the first
        self._quiet_at = books.started_at  # the time to ask if nobody is due by then
        self._due_at = math.inf  # an endpoint is due then, and needs a newer answer
        self._is_copy = False  # the last answer is known to come from a cache
        self._patience_began_at = books.started_at  # `settle` counts from here

    def next_at(self, busy: bool, now: float) -> float:
        """The time to ask who is there; infinity if no answer is of use any more.

        While calls are in flight or about to begin (`busy`), `settle` is no limit. Otherwise it
        is, and the last question is asked when it is over.
        """
        books = self._books
        if self.asking or books.stopped or books.is_hopeless or now >= books.deadline_at:
            return math.inf
        due_at = self._due_at + rules.sharing_seconds(books.broadcast)
        if failure := books.failure:
            due_at = max(due_at, self._over_at + self._pause_after(failure))
        else:
            due_at = max(due_at, self.asked_at + self._gap())
        at = min(self._quiet_at, due_at)
        if busy or not books.questions:
            return at
        patience_ends_at = self._patience_began_at + books.broadcast.settle_seconds
        if self._due_at < math.inf:
            return min(at, max(patience_ends_at, due_at))
        if max(self._over_at, self._patience_began_at) < patience_ends_at:
            return min(at, patience_ends_at)
        return math.inf

    def _gap(self) -> float:
        """The least time between two questions, so that endpoints that are due share one."""
        took = self._over_at - self.asked_at
        return rules.gap_seconds(self._books.broadcast, took) if self._books.questions else 0.0

    def _pause_after(self, failure: ResolutionFailure) -> float:
        """The wait before the next question, after one that had no answer."""
        return max(rules.pause_seconds(self._failures), failure.retry_after_seconds)

    # --- what happened ------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Books that a question is under way. It serves all endpoints that are due by now."""
        self.asking, self.asked_at = True, now
        self._quiet += now < self._due_at
        self._due_at = self._find_due_at()

    def _find_due_at(self) -> float:
        """The first time at which an endpoint is due that the last question was too early for."""
        due = (e.due_at for e in self._books.owed() if e.phase == "owed")
        return min((at for at in due if at > self.asked_at), default=math.inf)

    def end(self, now: float) -> None:
        """Books that the question is over, whatever came of it."""
        self._books.questions += 1
        self.asking, self._over_at = False, now

    def answered(self, answer: Answer, previous: Answer | None, queued: bool, busy: bool) -> None:
        """Books the answer, once the books have it. `queued`: somebody waits for a place.

        `busy`: or a call is in flight.
        """
        self._failures = 0
        self._due_at = self._find_due_at()
        self._is_copy = previous is not None and answer.is_copy_beside(previous)
        if queued:
            self._quiet = 0
        self._quiet_at = self._find_quiet_at(answer, busy)

    def failed(self, failure: ResolutionFailure, now: float) -> None:
        """Books that it had no answer, and why."""
        self._failures += 1
        self._quiet = 0
        self._quiet_at = now + self._pause_after(failure)

    def be_patient(self, now: float) -> None:
        """Books that something happened, from which on `settle` counts anew."""
        self._patience_began_at = max(self._patience_began_at, now)

    def expect(self, due_at: float) -> None:
        """Books that an endpoint is due then, if an answer that is asked for later lists it."""
        self._due_at = min(self._due_at, due_at)
        self.be_patient(due_at)

    def calls_over(self) -> None:
        """Books that no call is in flight any more, nor about to begin."""
        if not self._failures and self._books.answer:
            self._quiet = 0
            self._quiet_at = self._find_quiet_at(self._books.answer, busy=False)

    def _find_quiet_at(self, answer: Answer, busy: bool) -> float:
        """The time to ask again after this answer if nobody is due by then.

        The next answer of the API confirms the result at once; one of DNS may be a copy.
        """
        if self._is_copy:
            return answer.forgotten_at
        books = self._books
        took = self._over_at - self.asked_at
        if answer.exact and not (busy or any(books.owed()) or books.is_after_calls()):
            return self.asked_at + rules.shortest_gap_seconds(took)
        return self._over_at + rules.pause_seconds(self._quiet + 1, took if answer.exact else 0.0)
