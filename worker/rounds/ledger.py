"""One broadcast's books, where everything is decided: who is owed a call and when, who is gone,
whether an answer is newer, when to ask again, when it is over and what came of it.

Pure: no clock, socket, thread or log. `run` reports what happened, with the time at which it
happened, and does what `next_step` says. docs/how-it-works.md explains the rules.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from itertools import islice
from typing import NamedTuple

from worker.model import (
    Answer,
    Broadcast,
    BroadcastReport,
    CallError,
    CallResult,
    Ending,
    Endpoint,
    EndpointReport,
    Outcome,
    Reason,
    ResolutionFailure,
    Verdict,
)
from worker.rounds.steps import Ask, Call, Cut, CutReason, Finish, Step, Wait, WaitReason

# A cache counts whole seconds: two answers closer than this may be one copy (RFC 1035, 3.2.1).
TTL_ROUNDING_SECONDS = 1.0
# The first question after an answer: late enough to be a newer one where nothing caches.
ASK_AGAIN_SECONDS = 1.02
ASK_AGAIN_MAX_SECONDS = 5.0
# A question ends at the deadline by itself. One that is later than this is not waited for.
LATE_ANSWER_SECONDS = 0.5

RETRIED_STATUS_CODES = frozenset({408, 425, 429})
NEVER_RETRIED: frozenset[CallError] = frozenset(
    {"redirect", "tls", "body_mismatch", "deadline", "cancelled"}
)
NOT_ACCEPTED: frozenset[CallError] = frozenset(
    {"connect_refused", "connect_timeout", "unreachable"}
)


class Change(NamedTuple):
    """How an answer differs from the one before; `newer` than the one the calls were made from."""

    endpoints: int
    newcomers: int
    left: int
    newer: bool | None
    nobody: bool  # nobody is listed where somebody should be


class Booked(NamedTuple):
    """A call's attempt number, from 1, and the seconds until the next call, if one will come."""

    attempt: int
    retry_in_seconds: float | None


class Entry(NamedTuple):
    """What is known of one endpoint."""

    listed_in: Answer
    attempts: int = 0
    acknowledged: bool = False
    reached: bool = False  # a connection was accepted once, whatever came of it
    last: CallResult | None = None
    call_again_at: float = 0.0


def is_newer(answer: Answer, other: Answer) -> bool:
    """Whether `answer` cannot be the cached copy that `other` was, by their times of expiry."""
    return answer.expires_earliest_at > other.expires_latest_at + TTL_ROUNDING_SECONDS


def is_retried(result: CallResult) -> bool:
    """Whether another call may turn this failure into an acknowledgement."""
    if result.error_type == "status":
        status_code = result.status_code or 0
        return not 400 <= status_code < 500 or status_code in RETRIED_STATUS_CODES
    return result.error_type not in NEVER_RETRIED


def backoff_seconds(broadcast: Broadcast, attempts: int, retry_after: float | None) -> float:
    """The wait after so many failed calls; a Retry-After raises it, up to the maximum."""
    doubled = broadcast.backoff_initial_seconds * 2.0 ** min(attempts - 1, 60)
    return min(max(doubled, retry_after or 0.0), broadcast.backoff_max_seconds)


class Ledger:
    """One broadcast's books. Every time is a second of one monotonic clock.

    `run_deadline_at` is when the whole run has to be over; the broadcast's own deadline may be
    earlier, and the earlier one counts.
    """

    def __init__(
        self, broadcast: Broadcast, started_at: float, run_deadline_at: float = math.inf
    ) -> None:
        self._broadcast = broadcast
        self._started_at = started_at
        self._deadline_at = min(started_at + broadcast.deadline_seconds, run_deadline_at)
        self.deadline_seconds = max(self._deadline_at - started_at, 0.0)
        self._cut_at = self._deadline_at
        self._cut_reason: CutReason = "deadline"
        self._patience_ends_at = started_at + broadcast.settle_seconds
        self._ask_at: float | None = started_at  # None: patience is spent
        self._asking = False
        self._entries: dict[Endpoint, Entry] = {}
        self._answer: Answer | None = None  # the last good one
        self._baseline: Answer | None = None  # what a newer answer must be newer than
        self._failure: ResolutionFailure | None = None  # of the last question
        self._longest_ttl = 0
        self._uncalled = False  # no calls were made from the answer yet
        self._calling = False  # a round of calls is going on, of which …
        self._todo: deque[Endpoint] = deque()  # … these are not started
        self._in_flight = 0
        self._next_start_at = started_at  # `stagger` holds across rounds
        self._cut = False
        self._quiet_questions = 0
        self._stopped = False
        self._ending: Ending | None = None
        self.first_calls_made = False  # to all of the first answer, or there was no such answer
        self.rounds = 0
        self.calls = 0

    @property
    def finished(self) -> bool:
        """Whether `next_step` has said Finish."""
        return self._ending is not None

    @property
    def in_flight(self) -> int:
        """How many calls are in flight."""
        return self._in_flight

    def waits_for_room(self, now: float) -> bool:
        """Whether a call may start, if the run as a whole may start one."""
        free = self._in_flight < self._broadcast.concurrency
        return bool(self._todo) and free and now >= self._next_start_at

    # --- what to do ---------------------------------------------------------------------------

    def next_step(self, now: float, room: int) -> Step:
        """What to do now. `room`: how many calls the run as a whole may start at most."""
        if not self._calling:
            ending = self._find_ending(now)
            if ending:
                self._ending = ending
                self.first_calls_made = True
                return Finish(ending)
            if self._asking:
                return Wait(self._deadline_at + LATE_ANSWER_SECONDS, "question")
            if not self._uncalled or not (owed := self._owed()):
                return self._ask_or_wait(now)
            self._todo.extend(owed)
            self._calling = True
        if self._stopped or now >= self._deadline_at:
            self._todo.clear()
        if self._todo or self._in_flight:
            return self._call_or_wait(now, room)
        self._end_round(now)
        return self.next_step(now, room)

    def _call_or_wait(self, now: float, room: int) -> Step:
        if now >= self._cut_at and not self._cut:
            return Cut(self._cut_reason)
        wake_at = math.inf if self._cut else self._cut_at
        free = min(self._broadcast.concurrency - self._in_flight, len(self._todo))
        if free > 0 and now < self._next_start_at:
            return Wait(min(self._next_start_at, wake_at), "calls")
        if min(free, room) <= 0:
            return Wait(wake_at, "calls")
        count = 1 if self._broadcast.stagger_seconds else min(free, room)
        return Call(tuple(islice(self._todo, count)))

    def _ask_or_wait(self, now: float) -> Step:
        assert self._ask_at is not None  # else patience is spent, which is an ending
        if now < self._ask_at:
            return Wait(min(self._ask_at, self._deadline_at), self._wait_reason())
        return Ask(self._deadline_at)

    def _find_ending(self, now: float) -> Ending | None:
        if self._failure and self._failure.error_type == "not_headless":
            return "not_headless"
        callable_now = self._uncalled and bool(self._owed())
        if not callable_now and self._confirmed() and not self._too_few():
            return "confirmed"
        if self._stopped:
            return "stopped"
        if now >= self._deadline_at + (LATE_ANSWER_SECONDS if self._asking else 0.0):
            return "deadline"
        if not callable_now and not self._asking and self._ask_at is None:
            return "settle"
        return None

    def _owed(self) -> tuple[Endpoint, ...]:
        """The endpoints of the last answer that another call may still win over, in its order."""
        return tuple(endpoint for endpoint in self._listed() if self._owes(self._entries[endpoint]))

    def _listed(self) -> tuple[Endpoint, ...]:
        return self._answer.endpoints if self._answer else ()

    def _owes(self, entry: Entry) -> bool:
        return (
            entry.listed_in is self._answer
            and not entry.acknowledged
            and entry.attempts < self._broadcast.attempts
            and (entry.last is None or is_retried(entry.last))
        )

    def _confirmed(self) -> bool:
        return (
            self._failure is None
            and self._answer is not None
            and self._baseline is not None
            and self._is_newer(self._answer, self._baseline)
            and not self._owed()
        )

    def _is_newer(self, answer: Answer, other: Answer) -> bool:
        """As `is_newer`, but for caches that count down to 0 and then serve that for a while."""
        stale = answer.ttl_seconds == 0 and self._longest_ttl > 0
        return not stale and is_newer(answer, other)

    def _too_few(self) -> bool:
        """Whether fewer than min_pods acknowledged or are listed: somebody may be yet to come."""
        present = sum(e.acknowledged or e.listed_in is self._answer for e in self._entries.values())
        return present < self._broadcast.min_pods

    def _wait_reason(self) -> WaitReason:
        if self._failure or (self._too_few() and not self._listed()):
            return "no_answer"
        if self._owed():
            return "backoff"
        return "min_pods" if self._too_few() else "cached_answer"

    # --- what happened ------------------------------------------------------------------------

    def record_question(self) -> None:
        """Books that an `Ask` is under way."""
        self._asking = True

    def record_answer(self, answer: Answer, now: float) -> Change:
        """Books who is listed now."""
        self.rounds += 1
        self._asking = False
        self._failure = None
        self._uncalled = True
        previous, self._answer = self._answer, answer
        left = sum(entry.listed_in is previous for entry in self._entries.values())
        newcomers = 0
        for endpoint in self._listed():
            entry = self._entries.get(endpoint)
            newcomers += entry is None
            left -= entry is not None and entry.listed_in is previous
            self._entries[endpoint] = entry._replace(listed_in=answer) if entry else Entry(answer)
        self._longest_ttl = max(self._longest_ttl, answer.ttl_seconds)
        newer = self._is_newer(answer, self._baseline) if self._baseline else None
        if not self._owed():
            self.first_calls_made = True
            self._baseline = self._baseline or answer
            if previous and not self._is_newer(answer, previous):  # a cached copy: until it expires
                self._ask(answer.expires_latest_at + ASK_AGAIN_SECONDS, now)
            else:
                self._ask(now + self._pause(), now)
        nobody = not answer.endpoints and self._too_few()
        return Change(len(answer.endpoints), newcomers, left, newer, nobody)

    def record_failure(self, failure: ResolutionFailure, now: float) -> None:
        """Books that a question had no answer, and why."""
        self.rounds += 1
        self._asking = False
        self.first_calls_made = True
        self._failure = failure
        self._uncalled = False
        self._ask(now + self._pause(), now)

    def record_started(self, endpoints: tuple[Endpoint, ...], now: float) -> None:
        """Books that calls to these endpoints, of a `Call`, are in flight."""
        for _ in endpoints:
            self._todo.popleft()
        self._in_flight += len(endpoints)
        self._next_start_at = now + self._broadcast.stagger_seconds

    def record_call(self, result: CallResult, now: float) -> Booked:
        """Books what a call came to. Returns which attempt it was, and when the next will be."""
        self.calls += 1
        self._in_flight -= 1
        before = self._entries[result.endpoint]
        entry = Entry(
            listed_in=before.listed_in,
            attempts=before.attempts + 1,
            acknowledged=result.error_type is None,
            reached=before.reached or result.error_type not in NOT_ACCEPTED,
            last=result._replace(response_body=None) if result.response_body else result,
        )
        seconds = None
        if self._owes(entry):
            seconds = backoff_seconds(self._broadcast, entry.attempts, result.retry_after_seconds)
            entry = entry._replace(call_again_at=now + seconds)
            if self._stopped or entry.call_again_at >= self._deadline_at:
                seconds = None  # that call will not come
        self._entries[result.endpoint] = entry
        return Booked(entry.attempts, seconds)

    def record_cut(self) -> None:
        """Books that the calls in flight were told to end."""
        self._cut = True

    def _end_round(self, now: float) -> None:
        """All calls that were made from the answer are over."""
        assert self._answer is not None  # calls are made from an answer
        answered_at = self._answer.expires_latest_at - self._answer.ttl_seconds
        # Of several caches, one may list fewer and expire earlier. Whichever copy the calls were
        # made from, seeing one of them again proves nothing, so the latest is what counts.
        if not self._baseline or self._answer.expires_latest_at > self._baseline.expires_latest_at:
            self._baseline = self._answer
        self._calling = False
        self._uncalled = False
        self.first_calls_made = True
        self._quiet_questions = 0
        waits = [entry.call_again_at for entry in self._entries.values() if self._owes(entry)]
        self._patience_ends_at = max([now, *waits]) + self._broadcast.settle_seconds
        if waits:
            self._ask_at = max(waits)
        else:
            self._ask(answered_at + self._pause(), now)

    def record_stop(self, cut_at: float) -> None:
        """Books a stop signal: no new call starts, and calls in flight are cut at `cut_at`.

        Who is owed a call is cancelled. A second signal may make `cut_at` earlier.
        """
        self._stopped = True
        if cut_at < self._cut_at:
            self._cut_at, self._cut_reason = cut_at, "cancelled"

    def _ask(self, at: float, now: float) -> None:
        """Sets the time of the next question; once more when patience ends, then never again."""
        self._ask_at = min(at, self._patience_ends_at) if now < self._patience_ends_at else None

    def _pause(self) -> float:
        """Seconds between two questions, more as it drags on."""
        pause = min(ASK_AGAIN_SECONDS * 2.0**self._quiet_questions, ASK_AGAIN_MAX_SECONDS)
        self._quiet_questions = min(self._quiet_questions + 1, 10)
        return pause

    # --- what came of it ----------------------------------------------------------------------

    def report(self, now: float) -> BroadcastReport:
        """What the broadcast came to, once `next_step` has said Finish."""
        endpoints = tuple(self._judge(endpoint, e) for endpoint, e in self._entries.items())
        counts = Counter(report.verdict for report in endpoints)
        reason = self._find_reason(counts, any(e.error_type == "deadline" for e in endpoints))
        outcome: Outcome = "complete"
        if reason:
            outcome = "partial" if counts["acknowledged"] else "failed"
        return BroadcastReport(
            name=self._broadcast.name,
            outcome=outcome,
            reason=reason,
            endpoints=endpoints,
            rounds=self.rounds,
            calls=self.calls,
            confirmed=self._confirmed(),
            duration_seconds=now - self._started_at,
            ending=self._ending,
        )

    def _judge(self, endpoint: Endpoint, entry: Entry) -> EndpointReport:
        verdict: Verdict = "failed"
        error_type = entry.last.error_type if entry.last else None
        listed = entry.listed_in is self._answer
        if entry.acknowledged:
            verdict = "acknowledged"
        elif error_type == "cancelled" or (self._ending == "stopped" and self._owes(entry)):
            verdict = "cancelled"
        elif self._ending == "deadline" and self._owes(entry):
            error_type = "deadline"
        elif not listed and self._is_gone(entry):
            verdict = "gone"
        left_dns = verdict == "failed" and not listed
        return EndpointReport(endpoint, verdict, entry.attempts, error_type, left_dns, entry.last)

    def _is_gone(self, entry: Entry) -> bool:
        """Whether a newer answer than the last that listed it misses one that never accepted."""
        assert self._answer is not None  # somebody is known, so somebody was listed
        return not entry.reached and self._is_newer(self._answer, entry.listed_in)

    def _find_reason(self, counts: Counter[Verdict], deadline_hit: bool) -> Reason | None:
        """Why the broadcast is not complete, or None if it is."""
        if self._failure and self._failure.error_type == "not_headless":
            return "not_headless"
        short = counts["acknowledged"] < self._broadcast.min_pods or self._answer is None
        if counts["cancelled"] or (self._ending == "stopped" and short and not counts["failed"]):
            return "cancelled"
        if counts["failed"]:
            if deadline_hit:
                return "deadline"
            return "some_calls_failed" if counts["acknowledged"] else "all_calls_failed"
        if not short:
            return None
        if counts["acknowledged"]:
            return "min_pods"
        if self._failure:
            return self._failure.error_type
        return "no_pods" if self._answer else "deadline"
