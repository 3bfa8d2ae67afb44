"""Decides what all broadcasts share: which begins next, and how many calls each may start.

Pure, as `ledger` is, which decides within one broadcast.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from worker.model import Broadcast
from worker.rounds.ledger import Ledger


class Schedule:
    """Broadcasts begin in their order. Each `Ledger` is made when its broadcast begins.

    The next begins when the one before lets it (`Ledger.lets_next_begin_at`); with `sequential`,
    when the one before is finished. Once the run is stopped or `deadline_at` is over, all begin, to
    report that they were not carried out.
    """

    def __init__(
        self, broadcasts: Sequence[Broadcast], sequential: bool, deadline_at: float = math.inf
    ) -> None:
        self._broadcasts = broadcasts
        self._sequential = sequential
        self._deadline_at = deadline_at
        self._most_in_flight = max((b.concurrency for b in broadcasts), default=0)
        self._cut_at: float | None = None  # of a stop signal
        self._turn = itertools.count()
        self._served: dict[int, int] = {}  # the last turn in which a broadcast got places
        self.ledgers: list[Ledger] = []  # of the broadcasts that have begun, by their number

    def begin(self, now: float) -> int | None:
        """Begins the next broadcast if it may begin now, and returns its number."""
        number = len(self.ledgers)
        if number == len(self._broadcasts) or now < self.begins_at:
            return None
        ledger = Ledger(self._broadcasts[number], now, self._deadline_at)
        if self._cut_at is not None:
            ledger.record_stop(self._cut_at)
        self.ledgers.append(ledger)
        return number

    @property
    def begins_at(self) -> float:
        """The time at which the next broadcast begins; infinity if something must happen first."""
        if len(self.ledgers) == len(self._broadcasts):
            return math.inf
        if not self.ledgers or self._cut_at is not None:
            return -math.inf
        before = self.ledgers[-1]
        if before.books.ending:
            return -math.inf
        lets_begin_at = math.inf if self._sequential else before.lets_next_begin_at
        return min(lets_begin_at, self._deadline_at)

    def shares(self, now: float) -> Iterator[tuple[int, int]]:
        """Yields who may start calls now, and how many. Start those before you take the next pair.

        The run has no more calls in flight than its largest broadcast may have. The broadcast that
        was served longest ago is first, so that none waits while another is served twice.
        """
        while room := self._most_in_flight - sum(each.books.in_flight for each in self.ledgers):
            waiting = [n for n, each in enumerate(self.ledgers) if each.waits_for_room(now)]
            if not waiting:
                return
            longest = min(waiting, key=lambda number: self._served.get(number, -1))
            self._served[longest] = next(self._turn)
            yield longest, math.ceil(room / len(waiting))

    def record_stop(self, cut_at: float) -> None:
        """Books a stop signal: no new call starts, and calls in flight are cut at `cut_at`."""
        self._cut_at = cut_at
        for ledger in self.ledgers:
            ledger.record_stop(cut_at)
