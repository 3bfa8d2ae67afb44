"""Every event that the log has: its levels, its fields, and its sentence for a person.

This table is the public interface of the log. docs/events.md and docs/events.schema.json are made
from it (`make generated`), and the tests hold every line against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, NamedTuple

from worker import __version__
from worker.log import fields
from worker.log.fields import Field, Value
from worker.words import OUTCOMES, REASONS, RESOLUTION_ERRORS, SIGNALS, WAITS, meanings

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


class EventType(NamedTuple):
    """One kind of event.

    `description` says when it is written. `message` makes the sentence for a person from the
    event's fields. `example` is what an example line has in place of the fields' own examples;
    None leaves the field out.
    """

    name: str
    levels: tuple[str, ...]
    description: str
    fields: tuple[Field, ...]
    message: Callable[[Event], str]
    example: Mapping[str, Value | None] = {}
    of_one_broadcast: bool = True

    @property
    def line_fields(self) -> tuple[Field, ...]:
        """All fields of its lines, in the order in which they are documented."""
        if self.of_one_broadcast:
            return (*fields.COMMON, fields.BROADCAST._replace(when=""), *self.fields)
        return (*fields.COMMON, *self.fields)


# --- sentences ----------------------------------------------------------------------------------


def _call_failed(e: Event) -> str:
    again = e.get("retry_in_seconds")
    what_next = "not called again" if again is None else f"next call in {again:.1f} s or later"
    return f"{e['endpoint']}: {e['error_message']}; {what_next}"


def _after(calls: int) -> str:
    return f"after {_calls(calls)}" if calls else "without a call"


def _calls(number: int) -> str:
    return f"{number} call{'s' * (number > 1)}"


def _broadcast_finished(e: Event) -> str:
    reason, text = e.get("reason"), f"{e['outcome']}: {_counts(e)}"
    if reason in NOBODY_CALLED and not e["rounds"]:
        text = f"{e['outcome']}: nobody was called before {NOBODY_CALLED[reason]}"
    elif reason and not e.get(reason):  # else the counts have the word already
        text += f" ({reason})"
    elif not reason and not e["confirmed"]:
        text += f"; {NOT_CONFIRMED}"
    return f"{text}. Hint: {e['hint']}" if e.get("hint") else text


def _config_invalid(e: Event) -> str:
    place = [str(e[key]) for key in ("config_file", "line", "column") if e.get(key)]
    return ": ".join(filter(None, [":".join(place), e.get("key"), e["error_message"]]))


def _run_finished(e: Event) -> str:
    if e.get("error_message"):
        return f"exit code {e['exit_code']}: {e['error_message']}"
    return f"{e['outcome']}, exit code {e['exit_code']}: {_counts(e)}"


def _counts(e: Event) -> str:
    others = [f"{e[what]} {what}" for what in ("failed", "gone", "cancelled") if e.get(what)]
    return ", ".join([f"{e['acknowledged']} of {e['seen']} endpoints acknowledged", *others])


# --- the table ----------------------------------------------------------------------------------

EVENTS: tuple[EventType, ...] = (
    EventType(
        "run.started",
        ("info",),
        "The configuration has been read and is valid.",
        (
            Field("version", "string", "the worker's version", __version__),
            Field(
                "config_files",
                "string",
                "the files that were read, separated by commas",
                "/etc/pod-broadcast/clear-web-caches.yaml",
            ),
            Field("broadcasts", "integer", "how many broadcasts are selected", 1, "broadcasts"),
            fields.WORKER_POD,
            fields.WORKER_NODE,
        ),
        lambda e: (
            f"pod-broadcast {e['version']}: "
            f"{e['broadcasts']} broadcast{'s' * (e['broadcasts'] > 1)}"
        ),
        of_one_broadcast=False,
    ),
    EventType(
        "broadcast.started",
        ("info",),
        "A broadcast begins. Broadcasts overlap, so the lines of several may alternate.",
        (
            Field("request_url", "string", "`url`", "http://web-server-headless:8080/clear-caches"),
            Field("method", "string", "`method`", "POST"),
            Field("concurrency", "integer", "`concurrency`: calls in flight at once", 16, "calls"),
            fields.DEADLINE,
        ),
        lambda e: f"{e['method']} {e['request_url']}, at most {_calls(e['concurrency'])} at once",
    ),
    EventType(
        "endpoints.resolved",
        ("info",),
        "An answer came. Who is listed and owed a call joins the queue.",
        (
            fields.ROUND,
            fields.QNAME,
            Field("endpoints", "integer", "how many this answer lists", 3, "endpoints"),
            Field("newcomers", "integer", "of these, not listed before", 1, "endpoints"),
            Field("left", "integer", "listed in the last answer, but not in this", 0, "endpoints"),
            Field("ttl_seconds", "integer", "the answer's TTL", 5, "seconds"),
            fields.ASKING,
            Field(
                "newer",
                "boolean",
                "whether it cannot be a cached copy of an answer that calls were made from",
                True,
                when="an earlier answer led to calls, or listed nobody to call",
            ),
        ),
        lambda e: (
            f"{e['qname']} lists {e['endpoints']} endpoints: "
            f"{e['newcomers']} new, {e['left']} no longer listed"
        ),
        {"round": 2},
    ),
    EventType(
        "resolution.failed",
        ("warning", "error"),
        "A question had no answer, or one that lists no endpoint. The level is `error` if the "
        "broadcast does not ask again.",
        (
            fields.ROUND,
            fields.QNAME,
            Field(
                "error_type",
                "string",
                "what went wrong",
                "dns_servfail",
                values=meanings(RESOLUTION_ERRORS),
            ),
            fields.ERROR_MESSAGE._replace(
                meaning="which server said what", example="10.96.0.10:53 answered SERVFAIL"
            ),
            fields.ASKING,
        ),
        lambda e: f"{e['qname']}: {e['error_message']}",
    ),
    EventType(
        "resolution.waiting",
        ("info",),
        "No endpoint is owed a call, but the broadcast is not over: it waits, and asks again.",
        (
            Field("reason", "string", "why it waits", "cached_answer", values=WAITS),
            Field("wait_seconds", "number", "time until the next question", 1.019422, "seconds"),
        ),
        lambda e: f"waiting {e['wait_seconds']:.1f} s {WAITING[e['reason']]}",
    ),
    EventType(
        "call.succeeded",
        ("info",),
        "An endpoint acknowledged the request.",
        (
            *fields.CALL_BEFORE_STATUS,
            fields.STATUS_CODE._replace(example=200, when=""),
            *(f._replace(when="") for f in fields.CALL_AFTER_STATUS),
        ),
        lambda e: f"{e['endpoint']} answered {e['status_code']} in {e['duration_seconds']:.3f} s",
    ),
    EventType(
        "call.failed",
        ("warning", "error"),
        "A call failed. The level is `warning` if the endpoint is called again, else `error`.",
        (
            *fields.CALL_BEFORE_STATUS,
            fields.STATUS_CODE,
            *fields.CALL_AFTER_STATUS,
            fields.CALL_ERROR,
            fields.ERROR_MESSAGE,
            fields.RETRY_IN,
            Field(
                "response_body",
                "string",
                "the first 256 bytes of the response's body",
                "warming up",
                when="`log_response` is set and a body came",
            ),
        ),
        _call_failed,
        {"level": "warning"},
    ),
    EventType(
        "endpoint.gone",
        ("warning",),
        "An endpoint never accepted a connection, and was not listed again until `settle` was "
        "over. It is owed no call.",
        (
            fields.ENDPOINT,
            fields.ATTEMPTS,
            fields.CALL_ERROR._replace(
                meaning="how its last call failed", example="connect_timeout"
            ),
        ),
        lambda e: (
            f"{e['endpoint']} is gone: it never accepted a connection, and is no longer listed"
        ),
        {"attempts": 1},
    ),
    EventType(
        "endpoint.failed",
        ("error",),
        "An endpoint was missed.",
        (
            fields.ENDPOINT,
            fields.ATTEMPTS,
            fields.CALL_ERROR._replace(meaning="why"),
            Field("listed", "boolean", "whether the last answer lists it", True),
        ),
        lambda e: f"{e['endpoint']} was missed {_after(e['attempts'])}: {e['error_type']}",
    ),
    EventType(
        "endpoint.cancelled",
        ("error",),
        "A stop signal came before the endpoint acknowledged; or it was never called, because the "
        "name turned out not to be that of a headless Service.",
        (fields.ENDPOINT, fields.ATTEMPTS),
        lambda e: f"{e['endpoint']} was given up {_after(e['attempts'])}",
        {"attempts": 0},
    ),
    EventType(
        "broadcast.finished",
        ("info", "warning", "error"),
        "A broadcast is over. The level is `error` if it is not complete, and `warning` if it is "
        "complete but an endpoint is gone or no newer answer confirmed it. This line is written "
        "at every `--log-level`.",
        (
            Field("outcome", "string", "the result", "partial", values=OUTCOMES),
            Field("exit_code", "integer", "exit code of this broadcast alone: 0, 3 or 4", 3),
            Field(
                "reason",
                "string",
                "why it is not complete",
                "some_calls_failed",
                when="it is not complete",
                values=REASONS,
            ),
            *fields.COUNTS,
            Field("rounds", "integer", "how many questions were asked", 6, "questions"),
            Field("calls", "integer", "how many calls were made", 7, "calls"),
            Field("confirmed", "boolean", "whether a newer answer listed nobody new", True),
            fields.DURATION,
            Field(
                "failed_endpoints",
                "string",
                "the first 20 endpoints that failed, as `10.1.0.9:8080 status, …`",
                "10.1.0.9:8080 status",
                when="an endpoint failed",
            ),
            fields.HINT,
        ),
        _broadcast_finished,
    ),
    EventType(
        "shutdown.requested",
        ("warning",),
        "A stop signal arrived. No call starts after this line.",
        (Field("signal", "string", "which one", "SIGTERM", values=SIGNALS),),
        lambda e: f"{e['signal']}: no new calls from here on",
        of_one_broadcast=False,
    ),
    EventType(
        "config.invalid",
        ("error",),
        "A mistake in the configuration. Each mistake has a line.",
        (
            Field(
                "config_file",
                "string",
                "the file",
                "/etc/pod-broadcast/clear-web-caches.yaml",
                when="the mistake is in a file, not in an option",
            ),
            Field("line", "integer", "line number, from 1", 3, when="it has a position"),
            Field("column", "integer", "column number, from 1", 3, when="it has a position"),
            Field(
                "key",
                "string",
                "path of the key, as in `broadcasts[0].timeout`; or the option, or its variable",
                "broadcasts[0].timout",
                when="it belongs to a key or an option",
            ),
            fields.ERROR_MESSAGE._replace(
                meaning="what was expected, and what was found",
                example="unknown key: did you mean timeout?",
            ),
        ),
        _config_invalid,
        of_one_broadcast=False,
    ),
    EventType(
        "config.warning",
        ("warning",),
        "A part of resolv.conf cannot be used and is skipped, as the C library does.",
        (
            Field("config_file", "string", "the file", "/etc/resolv.conf"),
            Field("line", "integer", "line number, from 1", 2),
            Field(
                "warning_message",
                "string",
                "the line, and what of it is skipped and why",
                "nameserver 10.96.0.10:53: skipped 10.96.0.10:53, which is not an IP address",
            ),
        ),
        lambda e: f"{e['config_file']}:{e['line']}: {e['warning_message']}",
        of_one_broadcast=False,
    ),
    EventType(
        "run.crashed",
        ("error",),
        "The program has a bug. Please report it.",
        (
            fields.BROADCAST._replace(when="it happened in one broadcast"),
            Field("error_type", "string", "the exception's class", "AssertionError"),
            fields.ERROR_MESSAGE._replace(
                meaning="the exception's text, with secrets masked", example="no answer"
            ),
            Field(
                "stack",
                "string",
                "where it happened, without any values",
                '  File "/opt/pod-broadcast/worker/cli.py", line 143, in main\n',
            ),
        ),
        lambda e: f"this is a bug: {e['error_type']}: {e['error_message']}",
        of_one_broadcast=False,
    ),
    EventType(
        "run.finished",
        ("info", "warning", "error"),
        "The last line, whatever happened, as long as the program could still write one. It is "
        "written at every `--log-level`, and it is also the termination message.",
        (
            Field(
                "outcome",
                "string",
                "the worst of all broadcasts",
                "partial",
                values=OUTCOMES,
            ),
            Field("exit_code", "integer", "the [exit code](exit-codes.md)", 3),
            *fields.BROADCASTS,
            *fields.TOTALS,
            fields.DURATION._replace(when="the command line is valid", example=17.305118),
            fields.ERROR_MESSAGE._replace(
                meaning="why the run ended early",
                example="configuration: /etc/a.yaml:3:3: broadcasts[0].timout: unknown key",
                when="the exit code is 1 or 2, or a stop signal came before the run began",
            ),
        ),
        _run_finished,
        {"error_message": None},
        of_one_broadcast=False,
    ),
)
BY_NAME: dict[str, EventType] = {event.name: event for event in EVENTS}
