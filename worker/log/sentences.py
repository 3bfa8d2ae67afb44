"""The sentences that events say to a person, made of their fields. `events` has which says what."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from worker.model import named
from worker.words import OUTCOMES, after

Event = MutableMapping[str, Any]  # one event as it is logged: the name of a field -> its value

# The purpose of each wait in `resolution.waiting`, in the middle of a sentence.
WAITING = {
    "cached_answer": "for a newer answer",
    "min_pods": "for more pods to be listed",
    "absent": "in case a pod that is no longer listed comes back",
    "no_answer": "for a pod to be listed",
}
NOT_CONFIRMED = "not confirmed by a newer answer"
# The reason why a broadcast was over before its first answer.
NOBODY_CALLED = {"cancelled": "the run was stopped", "deadline": "the deadline passed"}


def endpoint(e: Event) -> str:
    return named(e["endpoint"], e.get("target_pod"))


def call_failed(e: Event) -> str:
    again = e.get("retry_in_seconds")
    what_next = "not called again" if again is None else f"next call in {again:.1f} s or later"
    return f"{endpoint(e)}: {e['error_message']}; {what_next}"


def endpoint_failed(e: Event) -> str:
    cause = ": ".join(filter(None, [e["error_type"], e.get("error_message")]))
    return f"{endpoint(e)} was missed {after(e['attempts'])}: {cause}"


def broadcast_finished(e: Event) -> str:
    reason, text = e.get("reason"), f"{e['outcome']}: {_counts(e)}"
    if reason in NOBODY_CALLED and not e["rounds"]:
        text = f"{e['outcome']}: nobody was called before {NOBODY_CALLED[reason]}"
    elif reason and not e.get(reason):  # else the counts have the word already
        text += f" ({reason})"
    elif not reason and not e["confirmed"]:
        text += f"; {NOT_CONFIRMED}"
    if (e.get("responses") or 0) > 1:
        text += f"; {e['responses']} different responses"
    if e.get("not_ready"):
        text += (
            f"; {e['not_ready']} not called, since they are not ready: {e['not_ready_endpoints']}"
        )
    return f"{text}. Hint: {e['hint']}" if e.get("hint") else text


def config_invalid(e: Event) -> str:
    place = [str(e[key]) for key in ("config_file", "line", "column") if e.get(key)]
    return ": ".join(filter(None, [":".join(place), e.get("key"), e["error_message"]]))


def run_finished(e: Event) -> str:
    """The worst broadcast first: who reads no more than this line has to know where to look."""
    text = run_result(e)
    if worst := e.get("worst_broadcast"):
        text += f"; {worst}: {e['reason']}"
    others = {"Hint": "hint", "Missed": "missed_endpoints", "Others": "other_broadcasts"}
    return text + "".join(f". {word}: {e[name]}" for word, name in others.items() if e.get(name))


def run_result(e: Event) -> str:
    """Outcome and exit code: the whole where a table above it has the rest."""
    if e.get("error_message"):
        return f"exit code {e['exit_code']}: {e['error_message']}"
    text = f"{e['outcome']}, exit code {e['exit_code']}: "
    if not e.get("worst_broadcast"):
        return text + _counts(e)
    broadcasts = sum(e[f"broadcasts_{outcome}"] for outcome in OUTCOMES)
    # Where all who are in one broadcast acknowledged, another may be without anybody.
    several = f"{e['broadcasts_complete']} of {broadcasts} broadcasts complete"
    return text + (several if broadcasts > 1 else _counts(e))


def _counts(e: Event) -> str:
    others = [f"{e[what]} {what}" for what in ("failed", "gone", "cancelled") if e.get(what)]
    return ", ".join([f"{e['acknowledged']} of {e['seen']} endpoints acknowledged", *others])
