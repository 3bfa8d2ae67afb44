"""The records that a `Ledger` returns: the next step, or the effect of what was booked.

`Ask`, `Call` and `Cut` are carried out, then booked with the ledger.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from worker.model import Endpoint, Exchange, Target
from worker.rounds.books import Proof
from worker.words import Ending, WaitReason

CutReason = Literal["deadline", "cancelled"]


class Ask(NamedTuple):
    """Ask who the endpoints are, then `record_question`. No answer after `ends_at` is of use."""

    ends_at: float


class Call(NamedTuple):
    """Start this exchange with each of the endpoints, then `record_started`.

    A call that is not over at `ends_at` has failed.
    """

    exchange: Exchange
    endpoints: tuple[Endpoint, ...]
    ends_at: float = math.inf


class Expire(NamedTuple):
    """The time of this endpoint's proof is over: `record_expired`."""

    endpoint: Endpoint


class Cut(NamedTuple):
    """End the calls in flight at once, as failures of this kind, then `record_cut`."""

    reason: CutReason


class Wait(NamedTuple):
    """Do nothing before `until`, unless something happens earlier."""

    until: float
    reason: WaitReason


class Finish(NamedTuple):
    """It is over."""

    ending: Ending


Step = Ask | Call | Expire | Cut | Wait | Finish


class Change(NamedTuple):
    """The effect of an answer. `newer`: it is newer than those that calls were made from."""

    endpoints: int
    newcomers: int
    left: int
    newer: bool | None
    nobody: bool  # nobody is listed where somebody should be
    doubted: bool = False  # it counts only if a newer answer repeats it


class Booked(NamedTuple):
    """A call's attempt number, from 1, the number of the question that listed its endpoint before
    it began, the seconds until the next call, if one will come, and the pod, if it is known.

    Of a poll, `proof` is how far the proof is, and `over` tells that there was not enough time.
    """

    attempt: int
    round: int
    retry_in_seconds: float | None
    target: Target | None = None
    proof: Proof | None = None
    over: bool = False
