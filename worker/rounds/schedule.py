"""Which broadcast begins next, and how many calls may start: what broadcasts share in one run.

Pure, as `ledger` is, which decides within one broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

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
        return bool(before.ending) if self._sequential else before.first_calls_made

    def shares(self, now: float) -> Iterator[tuple[int, int]]:
        """Who may start how many calls now. Each is to start them before the next share is asked.

        The run has no more calls in flight than its largest broadcast may have. Whoever has the
        fewest is served first, so that none that is slow keeps the others from their calls.
        """
        while room := self._most_in_flight - sum(ledger.in_flight for ledger in self.ledgers):
            waiting = [n for n, each in enumerate(self.ledgers) if each.waits_for_room(now)]
            if not waiting:
                return
            least = min(waiting, key=lambda number: self.ledgers[number].in_flight)
            yield least, math.ceil(room / len(waiting))

    def record_stop(self, cut_at: float) -> None:
        """Books a stop signal: no new call starts, and calls in flight are cut at `cut_at`."""
        self._cut_at = cut_at
        for ledger in self.ledgers:
            ledger.record_stop(cut_at)
