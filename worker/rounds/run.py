"""The shell of the rounds: does what `ledger` says, in a `World`, and logs it.

It decides nothing: who is owed a call, how long to wait and what came of it are `ledger`'s.
"""

from __future__ import annotations

from typing import assert_never

from worker.log.setup import LEVELS, Log
from worker.model import Broadcast, BroadcastReport, CallResult, ResolutionFailure
from worker.report.hints import hint
from worker.report.outcome import exit_code, failed_endpoints, level
from worker.rounds.ledger import Ask, Booked, Call, Finish, Ledger, Wait
from worker.rounds.world import World
from worker.stop import Stopped


def run(broadcast: Broadcast, world: World, log: Log) -> BroadcastReport:
    """One broadcast, from the first question to `broadcast.finished`."""
    log = log.bind(broadcast=broadcast.name)
    log.info(
        "broadcast.started",
        request_url=broadcast.url,
        method=broadcast.method,
        concurrency=broadcast.concurrency,
        deadline_seconds=broadcast.deadline_seconds,
    )
    ledger = Ledger(broadcast, world.now())
    while True:
        if world.stopped():
            ledger.record_stop()
        step = ledger.next_step(world.now())
        match step:
            case Ask():
                _ask(ledger, world, log)
            case Call(endpoints):
                for result in world.calls(endpoints, ledger.deadline_at):
                    booked = ledger.record_call(result, world.now())
                    _log_call(result, booked, ledger.rounds, log)
                ledger.end_round(world.now())
            case Wait(seconds, reason):
                if reason != "backoff":  # of that, call.failed has spoken
                    log.info("resolution.waiting", reason=reason, wait_seconds=seconds)
                world.wait(seconds)
            case Finish():
                report = ledger.report(world.now())
                _log_report(broadcast, report, log)
                return report
            case _:
                assert_never(step)


def _ask(ledger: Ledger, world: World, log: Log) -> None:
    asked_at = world.now()
    try:
        answer = world.ask(ledger.deadline_at)
    except Stopped:
        return
    now = world.now()
    if isinstance(answer, ResolutionFailure):
        ledger.record_failure(answer, now)
        failure = answer
    else:
        change = ledger.record_answer(answer, now)
        if not change.nobody:
            log.info(
                "endpoints.resolved",
                round=ledger.rounds,
                qname=answer.qname,
                endpoints=change.endpoints,
                newcomers=change.newcomers,
                left=change.left,
                ttl_seconds=answer.ttl_seconds,
                newer=change.newer,
                duration_seconds=now - asked_at,
            )
            return
        records = "NXDOMAIN" if answer.rcode == "NXDOMAIN" else "NODATA"
        text = f"{records}: no ready pods, or no such Service"
        failure = ResolutionFailure(answer.qname, "no_pods", text)
    write = log.error if isinstance(ledger.next_step(now), Finish) else log.warning
    write(
        "resolution.failed",
        round=ledger.rounds,
        qname=failure.qname,
        error_type=failure.error_type,
        error_message=failure.error_message,
        duration_seconds=now - asked_at,
    )


def _log_call(result: CallResult, booked: Booked, round_number: int, log: Log) -> None:
    fields = {
        "endpoint": str(result.endpoint),
        "round": round_number,
        "attempt": booked.attempt,
        "status_code": result.status_code,
        "duration_seconds": result.duration_seconds,
        "connect_seconds": result.connect_seconds,
        "span_id": result.span_id,
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
        response_body=result.response_body,
    )


def _log_report(broadcast: Broadcast, report: BroadcastReport, log: Log) -> None:
    """A line for each endpoint that did not acknowledge, and the one that counts them."""
    for endpoint in report.endpoints:
        fields = {"endpoint": str(endpoint.endpoint), "attempts": endpoint.attempts}
        match endpoint.verdict:
            case "gone":
                log.warning("endpoint.gone", **fields, error_type=endpoint.error_type)
            case "failed":
                log.error(
                    "endpoint.failed",
                    **fields,
                    error_type=endpoint.error_type,
                    left_dns=endpoint.left_dns,
                )
            case "cancelled":
                log.error("endpoint.cancelled", **fields)
    log.log(
        LEVELS[level(report)],
        "broadcast.finished",
        outcome=report.outcome,
        exit_code=exit_code(report.outcome),
        reason=report.reason,
        seen=len(report.endpoints),
        acknowledged=report.count_of("acknowledged"),
        failed=report.count_of("failed"),
        gone=report.count_of("gone"),
        cancelled=report.count_of("cancelled"),
        rounds=report.rounds,
        calls=report.calls,
        confirmed=report.confirmed,
        duration_seconds=report.duration_seconds,
        failed_endpoints=failed_endpoints(report),
        hint=hint(broadcast, report),
    )
