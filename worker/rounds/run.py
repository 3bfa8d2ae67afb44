"""Does what the `ledger` of each broadcast says, in a `World`, and logs it. For one thread alone.

It decides nothing: `ledger` decides who is owed a call, how long to wait and what came of it, and
`schedule` decides which broadcast begins next.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence
from typing import assert_never

from worker.calls.loop import Ended
from worker.log.sentences import WAITING
from worker.log.setup import Log
from worker.model import Answer, Broadcast, CallResult, Endpoint, ResolutionFailure, Target
from worker.report import summary
from worker.report.outcome import level
from worker.report.records import BroadcastReport
from worker.rounds.schedule import Schedule
from worker.rounds.steps import Ask, Booked, Call, Cut, Expire, Finish, Wait
from worker.rounds.world import Message, World
from worker.stop import Done, StopSignal

NOBODY_ANY_MORE = "no endpoint is listed any more; this counts once a newer answer says the same"


class Rounds:
    """All broadcasts of a run, from `broadcast.started` to `broadcast.finished` of each.

    `grace_seconds`: for calls in flight after a stop signal. `deadline_at`: the run's deadline.
    `current`: the name of the broadcast that is being dealt with, for the report of a crash.
    """

    def __init__(
        self,
        broadcasts: Sequence[Broadcast],
        world: World,
        log: Log,
        *,
        grace_seconds: float,
        sequential: bool = False,
        deadline_at: float = math.inf,
    ) -> None:
        self._broadcasts = broadcasts
        self._world = world
        self._log = log
        self._logs = [log.bind(broadcast=broadcast.name) for broadcast in broadcasts]
        self._grace_seconds = grace_seconds
        self._schedule = Schedule(broadcasts, sequential, deadline_at)
        self._due_at: dict[int, float] = {}  # the times to go on with running broadcasts
        self._waits: dict[int, Wait] = {}
        self._asked_at: dict[int, float] = {}
        self._reports: dict[int, BroadcastReport] = {}
        self.current: str | None = None
        self.stop_signal: int | None = None

    def run(self) -> tuple[BroadcastReport, ...]:
        """Carries out all broadcasts. Returns their reports in the same order."""
        self._take(self._world.receive(self._world.now()))
        while len(self._reports) < len(self._broadcasts):
            now = self._world.now()
            for number in [number for number, due_at in self._due_at.items() if due_at <= now]:
                self._go_on(number)
            while (begun := self._schedule.begin(self._world.now())) is not None:
                self._begin(begun)
            for number, room in self._schedule.shares(self._world.now()):
                self._go_on(number, room)
            if self._due_at:
                until = min(self._schedule.begins_at, *self._due_at.values())
                self._take(self._world.receive(until))
        self.current = None
        # A signal that arrived while the last lines were written is still a stop.
        self._take(self._world.receive(self._world.now()))
        return tuple(self._reports[number] for number in range(len(self._broadcasts)))

    # --- what to do ---------------------------------------------------------------------------

    def _begin(self, number: int) -> None:
        broadcast = self._broadcasts[number]
        self.current = broadcast.name
        self._logs[number].info(
            "broadcast.started",
            request_url=broadcast.exchange.url.text,
            method=broadcast.exchange.method,
            concurrency=broadcast.concurrency,
            discovery=broadcast.discovery,
            min_pods=broadcast.min_pods,
            verify=broadcast.verify.exchange.url.text if broadcast.verify else None,
            canary=broadcast.canary or None,
            max_failed=broadcast.max_failed,
            deadline_seconds=self._schedule.ledgers[number].deadline_seconds,
        )
        self._go_on(number)

    def _go_on(self, number: int, room: int = 0) -> None:
        """Does what the ledger says, until it says to wait or that it is over.

        `room`: the most calls that it may start.
        """
        self.current = self._broadcasts[number].name
        ledger = self._schedule.ledgers[number]
        while True:
            now = self._world.now()
            step = ledger.next_step(now, room)
            match step:
                case Ask(ends_at):
                    self._asked_at[number] = now
                    self._world.ask(number, ends_at)
                    ledger.record_question(now)
                case Call(exchange, endpoints, ends_at):
                    self._world.call(number, exchange, endpoints, ends_at)
                    ledger.record_started(endpoints, now)
                    room -= len(endpoints)
                case Expire(endpoint):
                    booked = ledger.record_expired(endpoint, now)
                    _log_proof(endpoint, booked, self._logs[number])
                case Cut(reason):
                    self._world.cut(number, reason)
                    ledger.record_cut()
                case Wait(until, reason):
                    if reason in WAITING and step != self._waits.get(number):
                        seconds = until - now
                        self._logs[number].info(
                            "resolution.waiting", reason=reason, wait_seconds=seconds
                        )
                    self._waits[number] = step
                    self._due_at[number] = until
                    return
                case Finish():
                    report = ledger.report(now)
                    _log_report(self._broadcasts[number], report, self._logs[number])
                    self._reports[number] = report
                    self._due_at.pop(number, None)
                    return
                case _:
                    assert_never(step)

    # --- what happened ------------------------------------------------------------------------

    def _take(self, messages: Sequence[Message]) -> None:
        """Books what arrived. A broadcast whose books changed goes on at once."""
        for message in messages:
            match message:
                case Ended(number, outcome):
                    self._ended(number, outcome)
                    self._due_at[number] = -math.inf
                case Done(number, outcome):
                    if number not in self._reports:  # else it is too late
                        self._answered(number, outcome)
                        self._due_at[number] = -math.inf
                case StopSignal(number):
                    self._stop(number)
                    self._due_at = dict.fromkeys(self._due_at, -math.inf)
                case _:
                    assert_never(message)

    def _stop(self, signal_number: int) -> None:
        """The first signal leaves calls in flight the grace period, a second one cuts them."""
        now = self._world.now()
        if self.stop_signal is not None:
            self._schedule.record_stop(now)
            return
        self.stop_signal = signal_number
        self._schedule.record_stop(now + self._grace_seconds)
        self._log.warning("shutdown.requested", signal=signal.Signals(signal_number).name)

    def _ended(self, number: int, outcome: CallResult | Exception) -> None:
        self.current = self._broadcasts[number].name
        if isinstance(outcome, Exception):
            raise outcome
        ledger = self._schedule.ledgers[number]
        booked = ledger.record_call(outcome, self._world.now())
        if booked.proof:
            _log_proof(outcome.endpoint, booked, self._logs[number])
        else:
            _log_call(outcome, booked, self._logs[number])

    def _answered(self, number: int, outcome: Answer | ResolutionFailure | Exception) -> None:
        self.current = self._broadcasts[number].name
        if isinstance(outcome, Exception):
            raise outcome
        ledger, log, now = self._schedule.ledgers[number], self._logs[number], self._world.now()
        seconds = now - self._asked_at[number]
        by_api = self._broadcasts[number].discovery == "endpointslices"
        if isinstance(outcome, ResolutionFailure):
            ledger.record_failure(outcome, now)
            failure = outcome
        else:
            change = ledger.record_answer(outcome, now)
            if not change.nobody:
                log.info(
                    "endpoints.resolved",
                    round=ledger.books.questions,
                    qname=outcome.qname,
                    endpoints=change.endpoints,
                    newcomers=change.newcomers,
                    left=change.left,
                    not_ready=len(outcome.not_ready) if by_api else None,
                    ttl_seconds=None if by_api else outcome.ttl_seconds,
                    newer=change.newer,
                    duration_seconds=seconds,
                )
                return
            failure = outcome.nobody(NOBODY_ANY_MORE) if change.doubted else outcome.nobody()
        over = isinstance(ledger.next_step(now, room=0), Finish)
        write = log.error if over else log.warning
        write(
            "resolution.failed",
            round=ledger.books.questions,
            qname=failure.qname,
            error_type=failure.error_type,
            error_message=failure.error_message,
            duration_seconds=seconds,
        )


def _log_call(result: CallResult, booked: Booked, log: Log) -> None:
    fields = {
        "endpoint": result.endpoint,
        **_target_fields(result.endpoint, booked.target),
        "round": booked.round,
        "attempt": booked.attempt,
        "status_code": result.status_code,
        "duration_seconds": result.duration_seconds,
        "connect_seconds": result.connect_seconds,
        "span_id": result.span_id,
        "response_body": result.response_body,
    }
    if result.error_type is None:
        log.info("call.succeeded", **fields)
        return
    write = log.error if booked.retry_in_seconds is None else log.warning
    write(
        "call.failed",
        **fields,
        error_type=result.error_type,
        error_message=result.error_message,
        retry_in_seconds=booked.retry_in_seconds,
    )


def _log_proof(endpoint: Endpoint, booked: Booked, log: Log) -> None:
    """A line when the first poll of `verify` did not hold, one when one held, or time was up."""
    proof = booked.proof
    assert proof
    fields = {"endpoint": endpoint, **_target_fields(endpoint, booked.target), "polls": proof.polls}
    if proof.seconds is not None:
        log.info("verify.succeeded", **fields, verified_seconds=proof.seconds)
    elif booked.over:
        log.error("verify.failed", **fields, error_type="not_verified", error_message=proof.missing)
    elif proof.polls == 1:
        log.info("verify.waiting", **fields, error_message=proof.missing)


def _target_fields(endpoint: Endpoint, target: Target | None) -> dict[str, str | None]:
    """The pod behind the endpoint: an address and a name come back, a uid does not."""
    if not target:
        return {}
    return {
        "target_pod": target.pod or None,
        "target_node": target.node or None,
        "target_uid": endpoint.uid or None,
    }


def _log_report(broadcast: Broadcast, report: BroadcastReport, log: Log) -> None:
    """A line for each endpoint that did not acknowledge, and the one that counts them."""
    for endpoint in report.endpoints:
        fields = {
            "endpoint": endpoint.endpoint,
            **_target_fields(endpoint.endpoint, endpoint.target),
            "attempts": endpoint.attempts,
        }
        match endpoint.verdict:
            case "gone":
                log.warning("endpoint.gone", **fields, error_type=endpoint.error_type)
            case "failed":
                log.error("endpoint.failed", **fields, **summary.of_endpoint(endpoint))
            case "cancelled":
                log.error("endpoint.cancelled", **fields, reason=report.reason)
    write = getattr(log, level(report))
    write("broadcast.finished", **summary.of_broadcast(broadcast, report))
