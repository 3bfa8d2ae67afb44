"""Who may be called for the first time: the canaries before any other, and nobody once too many
have failed. Pure.
"""

from __future__ import annotations

from worker.model import Answer, Endpoint
from worker.rounds.books import Books, Entry
from worker.words import GivenUp


class Admission:
    """Decides for one broadcast, by its `canary` and `max_failed`. It writes `Books.given_up`."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.canaries: dict[Endpoint, None] = {}  # in the order in which they were chosen
        self.is_open = not books.broadcast.canary  # to everybody
        self._failed = 0

    def choose(self, answer: Answer) -> None:
        """Completes the canaries: the first ones of the answer, in place of those that are lost.

        One that has failed already, since it has no port, ends the broadcast as any canary does.
        """
        entries = self._books.entries
        stay = (each for each in self.canaries if not self._is_lost(entries[each]))
        self.canaries = dict.fromkeys(stay)
        for endpoint in answer.endpoints:
            if len(self.canaries) == self._books.broadcast.canary:
                return
            self.canaries[endpoint] = None
            if entries[endpoint].phase == "failed":
                self._give_up("canary_failed")

    def _is_lost(self, entry: Entry) -> bool:
        """True if it is no more, or not ready and not in use, before anything came of it."""
        if entry.gone:
            return entry.phase not in {"acknowledged", "failed"}
        waits = entry.phase in {"owed", "queued", "proving"}
        return waits and not self._books.is_listed(entry)

    def admits(self, endpoint: Endpoint) -> bool:
        """True if the endpoint may be called now. Whoever was called once may be called again."""
        if self._books.entries[endpoint].attempts:
            return True
        return not self._books.given_up and (self.is_open or endpoint in self.canaries)

    def failed(self, endpoint: Endpoint) -> None:
        """Books that an endpoint failed for good."""
        most = self._books.broadcast.max_failed
        self._failed += 1
        if not self.is_open and endpoint in self.canaries:
            self._give_up("canary_failed")
        elif most is not None and self._failed > most:
            self._give_up("max_failed")

    def opens(self) -> bool:
        """True once, when all canaries have acknowledged: everybody may be called then.

        Where fewer are there than `canary` says, each of them is one, and so is the next newcomer.
        """
        books = self._books
        if self.is_open or books.given_up or len(self.canaries) < books.broadcast.canary:
            return False
        self.is_open = all(books.entries[e].phase == "acknowledged" for e in self.canaries)
        return self.is_open

    def end(self) -> None:
        """Books that nothing more will come: those who were held back are never called."""
        held_back = (e for e in self._books.entries.values() if e.may_be_called and not e.attempts)
        if not self.is_open and any(held_back):
            self._give_up("canary_failed")

    def _give_up(self, reason: GivenUp) -> None:
        """The first reason stands."""
        self._books.given_up = self._books.given_up or reason
