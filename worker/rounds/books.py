"""The books of one broadcast: its endpoints, the last answer, and the calls in flight.

`ledger` writes the books and decides by them. `verdict` reads them once the broadcast is over.
Their methods tell who is owed a call, who may come back, if the result is confirmed, and what is
lacking.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from worker.model import Answer, Broadcast, CallResult, Endpoint, ResolutionFailure, Target
from worker.rounds import rules
from worker.words import RESOLUTION_ERRORS, Ending, GivenUp, WaitReason

MAX_TEXTS = 200  # of pods, 4 KiB each, that differ: only a hint needs one of them
Phase = Literal["owed", "queued", "called", "proving", "polled", "proved", "acknowledged", "failed"]


class Proof(NamedTuple):
    """The verification of an endpoint, which took the request at `accepted_at`.

    `ends_at`: the time by which it has to be proved. `missing`: what its last poll lacked.
    """

    accepted_at: float
    ends_at: float
    polls: int = 0
    missing: str | None = None
    seconds: float | None = None  # from `accepted_at` to the poll that held


class Entry(NamedTuple):
    """The state of one endpoint.

    `phase`: it is owed a call, waits in the queue for a place, has a call in flight, acknowledged,
    or failed for good. `due_at` is the earliest time of its next call. With `verify`, between the
    call and the acknowledgement: it is owed a poll, has one in flight, or (proved) one has held,
    and an answer has to show that it was this pod's.
    """

    listed_in: Answer  # the last one
    listed_by: int  # the number of the question that it answered
    missing_from: Answer | None = None  # the first answer since then that does not list it
    phase: Phase = "owed"
    due_at: float = -math.inf
    attempts: int = 0  # calls that have ended
    called_by: int = 0  # `listed_by` when its last call began
    reached: bool = False  # a connection was accepted once, whatever came of it
    gone: bool = False  # its pod is no more, by the last answer
    last: CallResult | None = None
    said: int | None = None  # a hash of its last response, where all are logged
    proof: Proof | None = None  # once it took the request, where there is a `verify`

    @property
    def may_be_called(self) -> bool:
        """True unless it took the request, failed for good, or is no more."""
        return self.phase in {"owed", "queued", "called"} and not self.gone


def newcomer(endpoint: Endpoint, answer: Answer, number: int) -> Entry:
    """The entry of an endpoint that this answer, to the question of that number, lists first.

    Without a port there is nothing to call: it has failed.
    """
    entry = Entry(answer, number)
    if endpoint.port:
        return entry
    missed = CallResult(endpoint, span_id="", duration_seconds=0.0, error_type="no_port")
    return entry._replace(phase="failed", last=missed)


@dataclass(slots=True)
class Books:
    """All times are seconds of one monotonic clock."""

    broadcast: Broadcast
    started_at: float
    deadline_at: float
    entries: dict[Endpoint, Entry] = field(default_factory=dict)
    answer: Answer | None = None  # the last good one
    answer_asked_at: float = -math.inf
    # Of the answers that calls were made from, the last to expire; or the first, if it led to none.
    in_force: Answer | None = None
    failure: ResolutionFailure | None = None  # of the last question
    capped: Answer | None = None  # the last that may list fewer endpoints than there are
    calls: int = 0
    polls: int = 0
    in_flight: int = 0  # calls and polls
    last_call_ended_at: float = -math.inf
    questions: int = 0  # that are over
    stopped: bool = False
    given_up: GivenUp | None = None  # nobody new is called
    ending: Ending | None = None
    texts: dict[str, str] = field(default_factory=dict)  # that pods said, one copy of each

    def after_call(self, before: Entry, result: CallResult) -> Entry:
        """The entry with what is kept of a call that has ended."""
        said = before.said
        if self.broadcast.exchange.log_response == "all" and result.status_code:
            said = hash((result.status_code, result.response_body))
        return before._replace(
            attempts=before.attempts + 1,
            reached=before.reached or rules.was_connected(result),
            last=self.kept(result) if result.error_type else None,
            said=said,
        )

    def kept(self, failed: CallResult) -> CallResult:
        """The failed call as it is kept until the report: its kind, and the texts for a hint.

        They are bounded in sum: pods may say the same by the thousands, and hostile ones do not.
        """
        return failed._replace(
            response_body=None,
            error_message=self._one_copy(failed.error_message),
            allow=self._one_copy(failed.allow),
            server=self._one_copy(failed.server),
            location=self._one_copy(failed.location),
        )

    def _one_copy(self, text: str | None) -> str | None:
        if text is None or (text not in self.texts and len(self.texts) >= MAX_TEXTS):
            return None
        return self.texts.setdefault(text, text)

    def target(self, endpoint: Endpoint) -> Target | None:
        """The endpoint's pod, where the witness knows it."""
        return self.entries[endpoint].listed_in.targets.get(endpoint)

    @property
    def is_hopeless(self) -> bool:
        """True if no later answer can help.

        A right that is missing after there was an answer may be back in a moment: an API server
        that starts does not know the Roles yet.
        """
        if not self.failure:
            return False
        fault = RESOLUTION_ERRORS[self.failure.error_type]
        return not fault.retried and (not self.answer or fault.shows == "somebody")

    def is_listed(self, entry: Entry) -> bool:
        return entry.listed_in is self.answer

    def is_owed(self, entry: Entry) -> bool:
        """True if it is to be called. Before its first call, it need not be listed any more."""
        if not entry.attempts:
            return entry.may_be_called and not self.given_up
        return entry.may_be_called and self.is_listed(entry)

    def is_unproved(self, entry: Entry) -> bool:
        """True if it took the request, and it is not known yet what comes of it."""
        return entry.phase in {"proving", "polled", "proved"} and not entry.gone

    def owed(self) -> Iterator[Entry]:
        return filter(self.is_owed, self.entries.values())

    def may_come_back(self, entry: Entry) -> bool:
        """True if it is missing, and its return would lead to a call or show that it is not gone.

        A pod that restarts is not listed for a while. Its cache may be on a volume, and come back.
        """
        missing = not self.is_listed(entry) and not entry.gone and entry.phase != "acknowledged"
        return missing and (not entry.reached or entry.may_be_called)

    def too_few(self) -> bool:
        """True if fewer than min_pods acknowledged or are listed: more pods may come."""
        present = sum(e.phase == "acknowledged" or self.is_listed(e) for e in self.entries.values())
        return present < self.broadcast.min_pods

    def is_after_calls(self) -> bool:
        """True if the last answer is one of after all calls.

        It was asked for after the last call had ended, and it cannot be a cached copy of an answer
        that calls were made from.
        """
        return (
            not self.in_flight
            and self.answer is not None
            and self.in_force is not None
            and self.answer_asked_at >= self.last_call_ended_at
            and self.answer.is_newer_than(self.in_force)
        )

    def confirmed(self) -> bool:
        """True if an answer shows that nobody was missed."""
        if self.failure or self.given_up or not self.is_after_calls():
            return False
        return not any(self.is_owed(e) or self.is_unproved(e) for e in self.entries.values())

    @property
    def lack(self) -> WaitReason:
        """What it waits for while no call is in flight or about to begin."""
        if self.failure or (self.too_few() and not (self.answer and self.answer.endpoints)):
            return "no_answer"
        if any(self.owed()):
            return "backoff"
        if self.too_few():
            return "min_pods"
        if self.confirmed():
            return "absent"
        return "confirming" if self.answer and self.answer.exact else "cached_answer"
