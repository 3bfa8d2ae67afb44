"""Which endpoints are owed a poll of `verify`, in which order, and whose time is over. Pure.

An endpoint is polled while the last answer lists it: its address may be another pod's later.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque

from worker.model import CallResult, Endpoint, Verify
from worker.rounds.books import Books, Entry, Phase, Proof
from worker.rounds.steps import Call


class Proofs:
    """The endpoints that took the request and are not proved yet. It writes their entries.

    Times are seconds of one monotonic clock.
    """

    def __init__(self, books: Books, verify: Verify) -> None:
        self._books = books
        self._verify = verify
        self._order = itertools.count()
        self._timers: list[tuple[float, int, Endpoint]] = []  # a heap: when to look at it again
        self._due: deque[Endpoint] = deque()  # those that wait for a place, the first one longest
        self._open = 0  # endpoints that are owed a poll, or have one in flight

    @property
    def is_open(self) -> bool:
        """True if an endpoint is owed a poll, or has one in flight."""
        return self._open > 0

    def begin(self, entry: Entry, endpoint: Endpoint, now: float) -> Entry:
        """Books that the endpoint took the request. Its first poll is due at once."""
        self._open += 1
        proof = Proof(now, now + self._verify.within_seconds)
        return self._again(entry._replace(phase="proving", proof=proof), endpoint, now)

    def _again(self, entry: Entry, endpoint: Endpoint, due_at: float) -> Entry:
        heapq.heappush(self._timers, (due_at, next(self._order), endpoint))
        return entry._replace(due_at=due_at)

    def look(self, now: float) -> Endpoint | None:
        """Finds out who is due. Returns an endpoint of which the time is over, if there is one.

        The time of one that waits for a place stands still.
        """
        books = self._books
        while self._timers and self._timers[0][0] <= now:
            at, _, endpoint = self._timers[0]
            entry = books.entries[endpoint]
            waits = entry.phase == "proving" and not entry.gone
            listed = books.is_listed(entry)
            if waits and not listed and entry.proof and now >= entry.proof.ends_at:
                return endpoint
            heapq.heappop(self._timers)
            if waits and listed and entry.due_at == at:
                self._due.append(endpoint)
            elif waits and not listed:
                self._wait_for_return(entry, endpoint)
        return None

    def _wait_for_return(self, entry: Entry, endpoint: Endpoint) -> None:
        assert entry.proof
        heapq.heappush(self._timers, (entry.proof.ends_at, next(self._order), endpoint))

    def next_due(self, now: float) -> Endpoint | None:
        """The endpoint that has waited longest for its poll."""
        books = self._books
        while self._due:
            entry = books.entries[self._due[0]]
            waits = entry.phase == "proving" and entry.due_at <= now
            if waits and books.is_listed(entry):
                return self._due[0]
            endpoint = self._due.popleft()
            if waits:
                self._wait_for_return(entry, endpoint)
        return None

    @property
    def looks_at(self) -> float:
        """The time at which `look` has something to find; infinity if there is none."""
        return self._timers[0][0] if self._timers else math.inf

    def poll(self, now: float) -> Call | None:
        """The poll to start now, of the endpoint that has waited longest."""
        endpoint = self.next_due(now)
        if not endpoint:
            return None
        return Call(self._verify.exchange, (endpoint,), self._ends_at(endpoint, now))

    def _ends_at(self, endpoint: Endpoint, now: float) -> float:
        """The end of its time, of which none was lost while it waited for a place."""
        entry = self._books.entries[endpoint]
        assert entry.proof
        return entry.proof.ends_at + now - entry.due_at

    # --- what happened ------------------------------------------------------------------------

    def started(self, endpoint: Endpoint, now: float) -> None:
        """Books that its poll is in flight."""
        self._due.popleft()
        entry = self._books.entries[endpoint]
        assert entry.proof
        ends_at, polls = self._ends_at(endpoint, now), entry.proof.polls + 1
        proof = entry.proof._replace(ends_at=ends_at, polls=polls)
        self._books.entries[endpoint] = entry._replace(phase="polled", proof=proof)

    def ended(self, result: CallResult, now: float) -> Entry:
        """The entry after a poll, which failed for good if no time is left for another one."""
        books, endpoint = self._books, result.endpoint
        entry = books.entries[endpoint]
        proof = entry.proof
        assert proof
        books.polls += 1
        if result.error_type is None:
            # Of the API's pods, an answer has to show that it was this one.
            exact = books.answer is not None and books.answer.exact
            self._open -= not entry.gone
            proof = proof._replace(seconds=now - proof.accepted_at, missing=None)
            phase: Phase = "proved" if exact else "acknowledged"
            return entry._replace(phase=phase, due_at=now, proof=proof)
        if result.error_type in {"cancelled", "deadline"}:
            return entry._replace(phase="proving")
        entry = entry._replace(phase="proving", proof=proof._replace(missing=result.error_message))
        due_at = now + self._verify.every_seconds
        if due_at < proof.ends_at or entry.gone:
            return self._again(entry, endpoint, due_at)
        return self._failed(entry, endpoint)

    def give_up(self, endpoint: Endpoint) -> Entry:
        """The entry of an endpoint of which the time is over."""
        return self._failed(self._books.entries[endpoint], endpoint)

    def _failed(self, entry: Entry, endpoint: Endpoint) -> Entry:
        assert entry.proof
        self._open -= 1
        missing = entry.proof.missing
        message = f"not within {self._verify.within_seconds:g} s" + (
            f": {missing}" if missing else ""
        )
        last = CallResult(endpoint, "", 0.0, error_type="not_verified", error_message=message)
        return entry._replace(phase="failed", last=self._books.kept(last))

    def listed(self, entry: Entry, endpoint: Endpoint, asked_at: float, now: float) -> Entry:
        """The entry of an endpoint that an answer lists, which was asked for at `asked_at`."""
        self._open += entry.gone and entry.phase in {"proving", "polled"}
        if entry.phase == "proving" and entry.missing_from:
            return self._again(entry, endpoint, max(entry.due_at, now))
        return self.exists(entry, asked_at)

    def exists(self, entry: Entry, asked_at: float) -> Entry:
        """The entry of a pod that the API knows, be it ready or not: its proof was its own."""
        if entry.phase == "proved" and entry.due_at <= asked_at:
            return entry._replace(phase="acknowledged")
        return entry

    def gone(self, before: Entry) -> None:
        """Books that a pod is no more."""
        self._open -= before.phase in {"proving", "polled"}
