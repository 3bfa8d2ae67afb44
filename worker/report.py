"""Reports -> exit code, level, summary, and the hint that saves a page at 3 a.m. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from worker.model import Broadcast, BroadcastReport, EndpointReport, Outcome, RunReport

EXIT_CODES: dict[Outcome, int] = {"complete": 0, "partial": 3, "failed": 4}
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_SIGNAL_BASE = 128  # plus the signal's number, as a shell has it
LISTED_ENDPOINTS = 20

Level = Literal["info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("info", "warning", "error")
OUTCOMES: tuple[Outcome, ...] = ("complete", "partial", "failed")


def exit_code(outcome: Outcome) -> int:
    """What a broadcast of this outcome alone would exit with."""
    return EXIT_CODES[outcome]


def run_outcome(broadcasts: Sequence[BroadcastReport]) -> Outcome:
    """The worst of the broadcasts' outcomes."""
    return max((report.outcome for report in broadcasts), key=OUTCOMES.index)


def run_exit_code(run: RunReport) -> int:
    """0 complete, 3 partial, 4 failed; 130 or 143 after a stop signal."""
    if run.stop_signal is not None:
        return EXIT_SIGNAL_BASE + run.stop_signal
    return exit_code(run_outcome(run.broadcasts))


def level(report: BroadcastReport) -> Level:
    """How loud the broadcast's last line is."""
    if report.outcome != "complete":
        return "error"
    return "warning" if report.count("gone") or not report.confirmed else "info"


def run_level(run: RunReport) -> Level:
    return max((level(report) for report in run.broadcasts), key=LEVELS.index)


def summary(run: RunReport) -> dict[str, str | int | float]:
    """The fields of `run.finished`."""
    outcomes = [report.outcome for report in run.broadcasts]
    return {
        "outcome": run_outcome(run.broadcasts),
        "exit_code": run_exit_code(run),
        "broadcasts_complete": outcomes.count("complete"),
        "broadcasts_partial": outcomes.count("partial"),
        "broadcasts_failed": outcomes.count("failed"),
        "seen": sum(len(report.endpoints) for report in run.broadcasts),
        "acknowledged": sum(report.count("acknowledged") for report in run.broadcasts),
        "failed": sum(report.count("failed") for report in run.broadcasts),
        "gone": sum(report.count("gone") for report in run.broadcasts),
        "cancelled": sum(report.count("cancelled") for report in run.broadcasts),
        "duration_seconds": run.duration_seconds,
    }


def failed_endpoints(report: BroadcastReport) -> str | None:
    """The first 20 that failed, as `10.0.0.7:8080 connect_timeout, …`, or None."""
    failed = [e for e in report.endpoints if e.verdict == "failed"]
    listed = [f"{e.endpoint} {e.error_type}" for e in failed[:LISTED_ENDPOINTS]]
    return ", ".join(listed + ["…"] * (len(failed) > LISTED_ENDPOINTS)) or None


def hint(broadcast: Broadcast, report: BroadcastReport) -> str | None:
    """What to look at first, where the failures are alike; or None."""
    if report.reason == "no_pods":
        service = broadcast.host.partition(".")[0]
        return (
            f"does the Service's selector match pods, are they ready, is the name right? "
            f"kubectl get endpointslices -l kubernetes.io/service-name={service}"
        )
    if report.reason == "not_headless":
        return "give the Service clusterIP: None, or name a second Service that has it"
    failed = [e for e in report.endpoints if e.verdict == "failed"]
    return _alike(broadcast, failed, report.count("acknowledged")) if failed else None


def _alike(broadcast: Broadcast, failed: list[EndpointReport], acknowledged: int) -> str | None:
    calls = [endpoint.last for endpoint in failed]
    errors = {call.error_type if call else None for call in calls}
    status_codes = {call.status_code if call else None for call in calls}
    last = calls[0]
    if errors == {"connect_refused"} and not acknowledged:
        return f"a headless Service maps no ports: is {broadcast.port} the container's port?"
    if errors == {"connect_timeout"} and not acknowledged:
        return "does a NetworkPolicy keep this pod from the others?"
    if errors != {"status"} or last is None:
        return None
    if status_codes == {405}:
        allowed = f"allow {last.allow}" if last.allow else "do not allow that"
        return f"the method is {broadcast.method}, and the pods {allowed}: set method"
    if status_codes <= {400, 421}:
        return "does the app check the Host header? set headers.Host to the name that it expects"
    if status_codes == {404} and "envoy" in (last.server or ""):
        return "the mesh's proxy answered, not the app: set headers.Host to a name it routes"
    return None
