"""What the whole log of a run of one broadcast is, entry by entry, from what happened in it.

A test says what happened between `broadcast.started` and `broadcast.finished`; `check_log` knows
what the others make of it: the counts, the outcome, the levels and the exit code follow from the
calls and the verdicts, by the contract's rules and not by the program's code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from tests.loopback.program import Entry, Finished, stable
from worker import __version__

NAME = "clear"
WEB = "web.default.svc.cluster.local"
QUESTIONS = ("endpoints.resolved", "resolution.failed")
WAITS = ("cached_answer", "min_pods", "no_answer", "absent")


def _entry(level: str, event: str, **fields: Any) -> Entry:
    present = {name: value for name, value in fields.items() if value is not None}
    return {"level": level, "event": event, "broadcast": NAME, **present}


def resolved(
    round_number: int,
    endpoints: int,
    newcomers: int = 0,
    left: int = 0,
    qname: str = WEB,
    ttl_seconds: int = 5,
) -> Entry:
    return _entry(
        "info",
        "endpoints.resolved",
        round=round_number,
        qname=qname,
        endpoints=endpoints,
        newcomers=newcomers,
        left=left,
        ttl_seconds=ttl_seconds,
    )


def listed(
    round_number: int, endpoints: int, newcomers: int = 0, left: int = 0, not_ready: int = 0
) -> Entry:
    """As `resolved`, of the Kubernetes API."""
    entry = resolved(round_number, endpoints, newcomers, left, qname="shop/web")
    del entry["ttl_seconds"]
    return entry | {"not_ready": not_ready}


def no_answer(
    round_number: int, error_type: str, error_message: str, last: bool = False, qname: str = WEB
) -> Entry:
    return _entry(
        "error" if last else "warning",
        "resolution.failed",
        round=round_number,
        qname=qname,
        error_type=error_type,
        error_message=error_message,
    )


def succeeded(
    endpoint: str, round_number: int = 1, attempt: int = 1, status_code: int = 200
) -> Entry:
    return _entry(
        "info",
        "call.succeeded",
        endpoint=endpoint,
        round=round_number,
        attempt=attempt,
        status_code=status_code,
    )


def failed(
    endpoint: str,
    error_type: str,
    error_message: str,
    round_number: int = 1,
    attempt: int = 1,
    retry_in_seconds: float | None = None,
    status_code: int | None = None,
    response_body: str | None = None,
) -> Entry:
    return _entry(
        "error" if retry_in_seconds is None else "warning",
        "call.failed",
        endpoint=endpoint,
        round=round_number,
        attempt=attempt,
        error_type=error_type,
        error_message=error_message,
        retry_in_seconds=retry_in_seconds,
        status_code=status_code,
        response_body=response_body,
    )


def missed(endpoint: str, error_type: str, attempts: int, listed: bool = True) -> Entry:
    return _entry(
        "error",
        "endpoint.failed",
        endpoint=endpoint,
        attempts=attempts,
        error_type=error_type,
        listed=listed,
    )


def gone(endpoint: str, error_type: str | None, attempts: int = 1) -> Entry:
    return _entry(
        "warning", "endpoint.gone", endpoint=endpoint, attempts=attempts, error_type=error_type
    )


def reached(
    endpoints: Iterable[str], qname: str = WEB, ttl_seconds: int = 5, status_code: int = 200
) -> list[Entry]:
    """What happens when everybody acknowledges, and a newer answer says the same."""
    endpoints = list(endpoints)
    count, answer = len(endpoints), {"qname": qname, "ttl_seconds": ttl_seconds}
    return [
        resolved(1, count, newcomers=count, **answer),  # type: ignore[arg-type]
        *(succeeded(endpoint, status_code=status_code) for endpoint in endpoints),
        resolved(2, count, **answer),  # type: ignore[arg-type]
    ]


def check_log(
    finished: Finished,
    request_url: str,
    happened: Iterable[Entry],
    *,
    reason: str | None = None,
    confirmed: bool = True,
    method: str = "POST",
    concurrency: int = 16,
    deadline_seconds: float = 300.0,
    min_pods: int = 1,
    not_ready: Sequence[str] | None = None,
) -> None:
    """Compares all entries, the exit code and standard error.

    How often and how long it was waited is the clock's matter, and so is how often DNS was asked
    meanwhile: waits are checked by their form, and answers that changed nothing by their numbers.
    Of hints test_hints.py has the sentences. With `not_ready`, the Kubernetes API was asked, and
    these are the pods that were not called.
    """
    happened = _with_last_calls(happened)
    started = finished.only("run.started")
    done = _finished(happened, reason, confirmed, not_ready)
    counts = {name: done[name] for name in ("seen", "acknowledged", "failed", "gone", "cancelled")}
    expected = [
        {
            "level": "info",
            "event": "run.started",
            "version": __version__,
            "config_files": started["config_files"],
            "broadcasts": 1,
        },
        _entry(
            "info",
            "broadcast.started",
            request_url=request_url,
            method=method,
            concurrency=concurrency,
            discovery="dns" if not_ready is None else "endpointslices",
            min_pods=min_pods,
            deadline_seconds=deadline_seconds,
        ),
        *happened,
        done,
        {
            "level": done["level"],
            "event": "run.finished",
            "outcome": done["outcome"],
            "exit_code": done["exit_code"],
            **{
                f"broadcasts_{outcome}": int(done["outcome"] == outcome)
                for outcome in ("complete", "partial", "failed")
            },
            **counts,
            **_worst(done, happened),
        },
    ]
    entries = _without_waits(finished, confirmed)
    questions = [entry for entry in entries if entry["event"] in QUESTIONS]
    assert [entry["round"] for entry in questions] == [*range(1, len(questions) + 1)]
    assert finished.only("broadcast.finished")["rounds"] == len(questions)
    actual, wanted = _without_quiet(entries, confirmed), _without_quiet(expected, confirmed)
    assert _in_order(actual) == _in_order(wanted)
    assert (finished.exit_code, finished.stderr) == (done["exit_code"], "")
    assert len({entry["run_id"] for entry in finished.entries}) == 1


def _with_last_calls(happened: Iterable[Entry]) -> list[Entry]:
    """The entries, in which who failed says what its last call came to."""
    last: dict[str, Entry] = {}
    entries = []
    for entry in happened:
        if entry["event"] == "call.failed":
            kept = ("status_code", "error_message")
            last[entry["endpoint"]] = {name: entry[name] for name in kept if name in entry}
        if entry["event"] == "endpoint.failed":
            entry = last.get(entry["endpoint"], {}) | entry
        entries.append(entry)
    return entries


def _worst(done: Entry, happened: Iterable[Entry]) -> Entry:
    """What `run.finished` says of the broadcast, which is the only one."""
    if "reason" not in done:
        return {}
    cancelled = [
        f"{_named(entry)} cancelled {_after(entry)}"
        for entry in happened
        if entry["event"] == "endpoint.cancelled"
    ]
    missed = ", ".join(filter(None, [done.get("failed_endpoints"), *cancelled]))
    fields = {"worst_broadcast": done["broadcast"], "reason": done["reason"]}
    return fields | ({"missed_endpoints": missed} if missed else {})


def _fitting(entries: list[str]) -> str | None:
    """As many as are whole in 1,900 bytes with the number of those that are not shown."""
    text, shown = ", ".join(entries), len(entries)
    while len(text) > 1900:
        shown -= 1
        text = ", ".join([*entries[:shown], f"and {len(entries) - shown} more"])
    return text or None


def _after(entry: Entry) -> str:
    attempts = entry["attempts"]
    return f"after {attempts} call{'s' * (attempts > 1)}" if attempts else "without a call"


def _finished(
    happened: list[Entry], reason: str | None, confirmed: bool, not_ready: Sequence[str] | None
) -> Entry:
    """`broadcast.finished`, as sections 6 and 7 of the contract have it."""
    events = [entry["event"] for entry in happened]
    acknowledged, misses = events.count("call.succeeded"), events.count("endpoint.failed")
    dead, cancelled = events.count("endpoint.gone"), events.count("endpoint.cancelled")
    outcome = "complete" if reason is None else "partial" if acknowledged else "failed"
    listed = [
        f"{_named(entry)} {entry['error_type']}"
        + f" {entry.get('status_code')}" * (entry["error_type"] == "status")
        + f" {_after(entry)}"
        for entry in happened
        if entry["event"] == "endpoint.failed"
    ]
    return _entry(
        "error" if reason else "warning" if dead or not_ready or not confirmed else "info",
        "broadcast.finished",
        outcome=outcome,
        exit_code={"complete": 0, "partial": 3, "failed": 4}[outcome],
        reason=reason,
        seen=acknowledged + misses + dead + cancelled,
        acknowledged=acknowledged,
        failed=misses,
        gone=dead,
        cancelled=cancelled,
        not_ready=None if not_ready is None else len(not_ready),
        rounds=sum(event in {"endpoints.resolved", "resolution.failed"} for event in events),
        calls=events.count("call.succeeded") + events.count("call.failed"),
        confirmed=confirmed,
        failed_endpoints=_fitting(listed),
        not_ready_endpoints=", ".join(not_ready or ()) or None,
    )


def _named(entry: Entry) -> str:
    pod, endpoint = entry.get("target_pod"), entry["endpoint"]
    return f"{pod} ({endpoint})" if pod else str(endpoint)


def _without_waits(finished: Finished, confirmed: bool) -> list[Entry]:
    entries = []
    for entry in map(stable, finished.entries):
        if entry["event"] == "resolution.waiting":
            assert entry.pop("wait_seconds") > 0
            assert entry.pop("reason") in WAITS
            assert entry == _entry("info", "resolution.waiting")
        else:
            assert isinstance(entry.pop("hint", ""), str)
            entries.append(entry)
    answers = [entry for entry in entries if entry["event"] == "endpoints.resolved"]
    newer = [entry.pop("newer", None) for entry in answers]
    if confirmed and answers:
        assert newer[-1] is True
    assert all(each in {None, True, False} for each in newer)
    return entries


def _without_quiet(entries: Iterable[Entry], confirmed: bool) -> list[Entry]:
    """Without answers that brought nothing: no change, no call, and no confirmation. Rounds are
    counted anew.
    """
    entries = [dict(entry) for entry in entries]
    called = {entry["round"] for entry in entries if entry["event"].startswith("call.")}
    if confirmed:
        called.add(max((e["round"] for e in entries if e["event"] in QUESTIONS), default=0))
    kept = [
        entry
        for entry in entries
        if entry["event"] != "endpoints.resolved"
        or entry["newcomers"]
        or entry["left"]
        or entry["round"] in called
    ]
    numbers = [entry["round"] for entry in kept if entry["event"] in QUESTIONS]
    for entry in kept:
        if "round" in entry:
            entry["round"] = numbers.index(entry["round"]) + 1
        entry.pop("rounds", None)
    return kept


def _in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Calls of one round end in any order."""
    grouped = itertools.groupby(entries, key=lambda entry: entry["event"].startswith("call."))
    return [
        entry
        for calls, group in grouped
        for entry in (sorted(group, key=lambda e: str(e["endpoint"])) if calls else group)
    ]
