"""One broadcast's books, where everything is decided: who is owed a call and when, who is gone,
whether an answer is newer, when to ask again, when it is over and what came of it.

Pure: no clock, socket, thread or log. `run` reports what happened, with the time at which it
happened, and does what `next_step` says. docs/how-it-works.md explains the rules.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from itertools import islice

from worker.model import (
    Answer,
    Broadcast,
    BroadcastReport,
    CallResult,
    Ending,
    Endpoint,
    EndpointReport,
    Outcome,
    Reason,
    ResolutionFailure,
    Verdict,
)
from worker.rounds import rules
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
    WaitReason,
)

# A question ends at the deadline by itself. One that is later than this is not waited for.
LATE_ANSWER_SECONDS = 0.5


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
        self._entries: dict[Endpoint, rules.Entry] = {}
        self._answer: Answer | None = None  # the last good one
        self._baseline: Answer | None = None  # what a newer answer must be newer than
        self._failure: ResolutionFailure | None = None  # of the last question
        self._first_empty: Answer | None = None  # since when DNS lists nobody any more
        self._capped = False  # there may be more endpoints than DNS lists
        self._uncalled = False  # no calls were made from the answer yet
        self._calling = False  # a round of calls is going on, of which …
        self._todo: deque[Endpoint] = deque()  # … these are not started
        self._next_start_at = started_at  # `stagger` holds across rounds
        self._cut = False
        self._quiet_questions = 0
        self._stopped = False
        self.ending: Ending | None = None  # once `next_step` has said Finish
        self.first_calls_made = False  # to all of the first answer, or there was no such answer
        self.rounds = self.calls = self.in_flight = 0

    def waits_for_room(self, now: float) -> bool:
        """Whether a call may start, if the run as a whole may start one."""
        free = self.in_flight < self._broadcast.concurrency
        return bool(self._todo) and free and now >= self._next_start_at

    # --- what to do ---------------------------------------------------------------------------

    def next_step(self, now: float, room: int) -> Step:
        """What to do now. `room`: how many calls the run as a whole may start at most."""
        if not self._calling:
            ending = self._find_ending(now)
            if ending:
                self.ending = ending
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
        if self._todo or self.in_flight:
            return self._call_or_wait(now, room)
        self._end_round(now)
        return self.next_step(now, room)

    def _call_or_wait(self, now: float, room: int) -> Step:
        if now >= self._cut_at and not self._cut:
            return Cut(self._cut_reason)
        wake_at = math.inf if self._cut else self._cut_at
        free = min(self._broadcast.concurrency - self.in_flight, len(self._todo))
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
        if self._failure and self._failure.error_type in rules.NEVER_RESOLVED:
            return "never_resolved"
        callable_now = self._uncalled and bool(self._owed())
        waits = self._too_few() or any(map(self._may_come_back, self._entries.values()))
        if not callable_now and self._confirmed() and not waits:
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

    def _owes(self, entry: rules.Entry) -> bool:
        return entry.listed_in is self._answer and self._still_owes(entry)

    def _still_owes(self, entry: rules.Entry) -> bool:
        """Whether a call to it could still come, if it is listed."""
        return not entry.acknowledged and self._may_be_called(entry)

    def _may_be_called(self, entry: rules.Entry) -> bool:
        """Whether another call is allowed and could succeed."""
        attempts_left = entry.attempts < self._broadcast.attempts
        return attempts_left and (entry.last is None or rules.is_retried(entry.last))

    def _confirmed(self) -> bool:
        return (
            self._failure is None
            and self._answer is not None
            and self._baseline is not None
            and rules.is_newer(self._answer, self._baseline)
            and not self._owed()
        )

    def _may_come_back(self, entry: rules.Entry) -> bool:
        """Whether it is missing, and it matters: it could be called again, or would not be gone.

        A pod that restarts leaves DNS, and comes back with its old cache where that is on a volume.
        """
        missing = entry.listed_in is not self._answer and not entry.acknowledged
        return missing and (not entry.reached or self._may_be_called(entry))

    def _too_few(self) -> bool:
        """Whether fewer than min_pods acknowledged or are listed: somebody may be yet to come."""
        present = sum(e.acknowledged or e.listed_in is self._answer for e in self._entries.values())
        return present < self._broadcast.min_pods

    def _wait_reason(self) -> WaitReason:
        if self._failure or (self._too_few() and not self._listed()):
            return "no_answer"
        if self._owed():
            return "backoff"
        if self._too_few():
            return "min_pods"
        return "absent" if self._confirmed() else "cached_answer"

    # --- what happened ------------------------------------------------------------------------

    def record_question(self) -> None:
        """Books that an `Ask` is under way."""
        self._asking = True

    def record_answer(self, answer: Answer, now: float) -> Change:
        """Books who is listed now.

        That nobody is listed any more is believed when a newer answer says the same: a server that
        has just started, or another one after a lost packet, may say so as well.
        """
        if not answer.endpoints and self._entries:
            self._first_empty = self._first_empty or answer
            if not rules.is_newer(answer, self._first_empty):
                self.record_failure(ResolutionFailure(answer.qname, "no_pods", "doubted"), now)
                return Change(0, 0, 0, None, nobody=True, doubted=True)
        else:
            self._first_empty = None
        self.rounds += 1
        self._asking = False
        self._failure = None
        self._uncalled = True
        previous, self._answer = self._answer, answer
        newcomers = 0
        for endpoint in answer.endpoints:
            entry = self._entries.get(endpoint)
            newcomers += entry is None
            self._entries[endpoint] = rules.listed(entry, answer)
        left = [endpoint for endpoint, e in self._entries.items() if e.listed_in is previous]
        for endpoint in left:
            entry = self._entries[endpoint] = self._entries[endpoint]._replace(missing_from=answer)
            if self._may_come_back(entry):
                settled_at = now + self._broadcast.settle_seconds
                self._patience_ends_at = max(self._patience_ends_at, settled_at)
        if answer.capped:
            self._capped = True
        elif answer.endpoints and previous and rules.is_newer(answer, previous):
            self._capped = False
        newer = rules.is_newer(answer, self._baseline) if self._baseline else None
        if not self._owed():
            self.first_calls_made = True
            self._baseline = self._baseline or answer
            if previous and not rules.is_newer(answer, previous):  # a cached copy: until it expires
                self._ask(answer.expires_latest_at + rules.ASK_AGAIN_SECONDS, now)
            else:
                self._ask(now + self._pause(), now)
        nobody = not answer.endpoints and self._too_few()
        return Change(len(answer.endpoints), newcomers, len(left), newer, nobody)

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
        self.in_flight += len(endpoints)
        self._next_start_at = now + self._broadcast.stagger_seconds

    def record_call(self, result: CallResult, now: float) -> Booked:
        """Books what a call came to. Returns which attempt it was, and when the next will be."""
        self.calls += 1
        self.in_flight -= 1
        before = self._entries[result.endpoint]
        entry = rules.Entry(
            listed_in=before.listed_in,
            attempts=before.attempts + 1,
            acknowledged=result.error_type is None,
            reached=before.reached or result.error_type not in rules.NOT_ACCEPTED,
            last=result._replace(response_body=None) if result.response_body else result,
        )
        seconds = None
        if self._owes(entry):
            seconds = rules.backoff_seconds(
                self._broadcast, entry.attempts, result.retry_after_seconds
            )
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
        self._quiet_questions += 1
        return rules.pause_seconds(self._quiet_questions)

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
            resolution_error=self._failure.error_type if self._failure else None,
            stale=self._answer is not None and self._answer.stale,
            duration_seconds=now - self._started_at,
            ending=self.ending,
        )

    def _judge(self, endpoint: Endpoint, entry: rules.Entry) -> EndpointReport:
        verdict: Verdict = "failed"
        error_type = entry.last.error_type if entry.last else None
        listed = entry.listed_in is self._answer
        if entry.acknowledged:
            verdict = "acknowledged"
        elif error_type == "cancelled" or (self.ending == "stopped" and self._still_owes(entry)):
            verdict = "cancelled"
        elif self.ending == "deadline" and self._owes(entry):
            error_type = "deadline"
        elif not listed and self._is_gone(entry):
            verdict = "gone"
        left_dns = verdict == "failed" and not listed
        return EndpointReport(endpoint, verdict, entry.attempts, error_type, left_dns, entry.last)

    def _is_gone(self, entry: rules.Entry) -> bool:
        """Whether it never accepted a connection, and DNS stopped listing it for good.

        It was missing until `settle` was over, and the last answer, which lists others, is newer
        than the first that did not list it: one unlucky copy in a cache proves nothing, nor does it
        that nobody is listed.
        """
        answer = self._answer
        return (
            not entry.reached
            and self.ending == "settle"
            and self._failure is None
            and answer is not None
            and bool(answer.endpoints)
            and entry.missing_from is not None
            and rules.is_newer(answer, entry.missing_from)
        )

    def _find_reason(self, counts: Counter[Verdict], deadline_hit: bool) -> Reason | None:
        """Why the broadcast is not complete, or None if it is."""
        if self._failure and self._failure.error_type in rules.NEVER_RESOLVED:
            return self._failure.error_type
        short = counts["acknowledged"] < self._broadcast.min_pods or self._answer is None
        if counts["cancelled"] or (self.ending == "stopped" and short and not counts["failed"]):
            return "cancelled"
        if counts["failed"]:
            if deadline_hit:
                return "deadline"
            return "some_calls_failed" if counts["acknowledged"] else "all_calls_failed"
        if self._failure and self._failure.error_type in rules.LIST_SOMEBODY:
            return self._failure.error_type
        if self._capped:
            return "dns_capped"
        if not short:
            return None
        if counts["acknowledged"]:
            return "min_pods"
        if self._failure:
            return self._failure.error_type
        return "no_pods" if self._answer else "deadline"
