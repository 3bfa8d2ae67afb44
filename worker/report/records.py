"""The records of a run that is over: what came of each endpoint, broadcast, and of the whole.

Durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from worker.model import CallResult, Endpoint, ResolutionFailure, Target, named
from worker.words import CallError, Ending, Outcome, Reason, Verdict


class EndpointReport(NamedTuple):
    """The report on one endpoint. `listed`: by the last answer. `last`: its last call.

    `target` is its pod, where the witness knows it. `verified_seconds`: from the request to the
    poll of `verify` that held.
    """

    endpoint: Endpoint
    verdict: Verdict
    attempts: int
    error_type: CallError | None = None
    listed: bool = True
    last: CallResult | None = None
    target: Target | None = None
    verified_seconds: float | None = None

    @property
    def name(self) -> str:
        """The endpoint for a person, with its pod's name where it is known."""
        return named(self.endpoint, self.target.pod if self.target else None)


class BroadcastReport(NamedTuple):
    """The report on one broadcast. Each endpoint is acknowledged, failed, gone or cancelled.

    `ending` is None if it was not carried out. `failure` is that of the last question, if it
    failed. `stale`: the last answer may be an old copy. `ended_by_run`: the run's deadline is
    earlier than its own. `responses`: how many different ones the endpoints gave last, by status
    code and the start of the body; None unless all are logged. `polls`: of `verify`, if there is
    one. `not_ready`: pods that the last answer names, and that were not called, since they are not
    ready.
    """

    name: str
    outcome: Outcome
    reason: Reason | None
    endpoints: tuple[EndpointReport, ...]
    rounds: int
    calls: int
    confirmed: bool
    duration_seconds: float
    ending: Ending | None = None
    failure: ResolutionFailure | None = None
    stale: bool = False
    ended_by_run: bool = False
    responses: int | None = None
    polls: int | None = None
    not_ready: Mapping[Endpoint, Target] = {}

    def count_of(self, verdict: Verdict) -> int:
        return sum(report.verdict == verdict for report in self.endpoints)

    @property
    def slowest(self) -> EndpointReport | None:
        """The endpoint that took longest to show the effect, of those that acknowledged."""
        verified = (each for each in self.endpoints if each.verified_seconds is not None)
        return max(verified, key=lambda each: each.verified_seconds or 0.0, default=None)


class RunReport(NamedTuple):
    """The reports on all broadcasts. `stop_signal`: the number of the first signal, if one came."""

    broadcasts: tuple[BroadcastReport, ...]
    duration_seconds: float
    stop_signal: int | None = None
