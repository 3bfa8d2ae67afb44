"""Which broadcast begins next, and how many calls may start: what broadcasts share in one run.

Pure, as `ledger` is, which decides within one broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from worker.model import Broadcast
from worker.rounds.ledger import Ledger


class Schedule:
    """Broadcasts begin in their order. Each `Ledger` is made when its broadcast begins.

    The next begins when the one before has made its first call to every endpoint of its first
    answer, or had no such answer; with `sequential`, when the one before is finished. Once the run
    is stopped or `deadline_at` is over, all begin, to report that they were not carried out.
    """

    def __init__(
        self, broadcasts: Sequence[Broadcast], sequential: bool, deadline_at: float = math.inf
    ) -> None:
        self._broadcasts = broadcasts
        self._sequential = sequential
        self._deadline_at = deadline_at
        self._most_in_flight = max((b.concurrency for b in broadcasts), default=0)
        self._cut_at: float | None = None  # of a stop signal
        self.ledgers: list[Ledger] = []  # of the broadcasts that have begun, by their number
        self.in_flight = 0

    def begin(self, now: float) -> int | None:
        """Begins the next broadcast if it may begin now, and returns its number."""
        number = len(self.ledgers)
        if number == len(self._broadcasts) or not self._may_begin(now):
            return None
        ledger = Ledger(self._broadcasts[number], now, self._deadline_at)
        if self._cut_at is not None:
            ledger.record_stop(self._cut_at)
        self.ledgers.append(ledger)
        return number

    def _may_begin(self, now: float) -> bool:
        if not self.ledgers or self._cut_at is not None or now >= self._deadline_at:
            return True
        before = self.ledgers[-1]
        return before.finished if self._sequential else before.first_calls_made

    @property
    def room(self) -> int:
        """How many calls may start: the run has as many in flight as its largest broadcast may."""
        return self._most_in_flight - self.in_flight

    def record_stop(self, cut_at: float) -> None:
        """Books a stop signal: no new call starts, and calls in flight are cut at `cut_at`."""
        self._cut_at = cut_at
        for ledger in self.ledgers:
            ledger.record_stop(cut_at)
