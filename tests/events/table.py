"""The events and their fields: one table, from which docs/events.md is written (`make generated`)
and by which every line is judged that the process suite sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tests.events.values import CALL_ERRORS, OUTCOMES, REASONS, RESOLUTION_ERRORS, SIGNALS, WAITS
from worker import __version__

Kind = Literal["text", "integer", "seconds", "boolean"]
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `absent`: when a line lacks it; never, if that is empty."""

    name: str
    kind: Kind
    meaning: str
    absent: str = ""
    values: dict[str, str] | None = None  # all that it can be


@dataclass(frozen=True, slots=True)
class Event:
    """One event. The example holds what differs from the common fields."""

    name: str
    levels: tuple[str, ...]
    when: str
    fields: tuple[Field, ...]
    example: Entry


COMMON = (
    Field("timestamp", "text", "RFC 3339, UTC, microseconds"),
    Field("level", "text", "`info`, `warning` or `error`"),
    Field("event", "text", "which event it is: the name to filter by"),
    Field("message", "text", "one sentence for a person; its wording is no interface"),
    Field("run_id", "text", "32 hex digits, the run's own; also the trace id of its calls"),
    Field("worker_namespace", "text", "POD_NAMESPACE", "the variable is not set"),
    Field("worker_job", "text", "JOB_NAME", "the variable is not set"),
    Field("broadcast", "text", "the broadcast's name", "it is about the whole run"),
)

ENDPOINT = Field("endpoint", "text", "the pod's address, `IP:port`")
ATTEMPTS = Field("attempts", "integer", "calls that were made to it")
ROUND = Field("round", "integer", "which DNS answer of this broadcast it was, from 1")
QNAME = Field("qname", "text", "the absolute name that was asked for, without its final dot")
DURATION = Field("duration_seconds", "seconds", "how long the whole of it took")
RESOLVING = Field("duration_seconds", "seconds", "how long the lookup took")
CALL = (
    ENDPOINT,
    ROUND,
    Field("attempt", "integer", "the how-manieth call to this endpoint it was"),
    Field("status_code", "integer", "the response's", "no response came so far"),
    Field("duration_seconds", "seconds", "from connecting to the last byte"),
    Field(
        "connect_seconds",
        "seconds",
        "how long TCP took to connect; TLS is not counted",
        "no connection was accepted",
    ),
    Field("span_id", "text", "16 hex digits, as sent in `traceparent`"),
)
COUNTS = (
    Field("seen", "integer", "endpoints that DNS ever listed"),
    Field("acknowledged", "integer", "of these: a call met `expect`"),
    Field("failed", "integer", "of these: missed, each with its `endpoint.failed`"),
    Field("gone", "integer", "of these: dead, each with its `endpoint.gone`"),
    Field("cancelled", "integer", "of these: given up at a stop signal"),
)
NO_REPORT = "the run ended early (exit code 1 or 2)"

POD, OTHER = "10.1.0.7:8080", "10.1.0.9:8080"
WEB = "web-server-headless.default.svc.cluster.local"

EVENTS = (
    Event(
        "run.started",
        ("info",),
        "The configuration is read and right.",
        (
            Field("version", "text", "the worker's"),
            Field("config_files", "text", "the files that were read, with commas"),
            Field("broadcasts", "integer", "how many are selected"),
            Field("worker_pod", "text", "POD_NAME", "the variable is not set"),
            Field("worker_node", "text", "NODE_NAME", "the variable is not set"),
        ),
        {
            "version": __version__,
            "config_files": "/etc/pod-broadcast/clear-web-caches.yaml",
            "broadcasts": 1,
            "worker_pod": "pod-broadcast-29381760-x7k2p",
            "worker_node": "node-3",
        },
    ),
    Event(
        "broadcast.started",
        ("info",),
        "A broadcast begins. Broadcasts run one after another.",
        (
            Field("request_url", "text", "`url`"),
            Field("method", "text", "`method`"),
            Field("concurrency", "integer", "`concurrency`: calls in flight at once"),
            Field("deadline_seconds", "seconds", "`deadline`"),
        ),
        {
            "request_url": "http://web-server-headless:8080/clear-caches",
            "method": "POST",
            "concurrency": 16,
            "deadline_seconds": 300.0,
        },
    ),
    Event(
        "endpoints.resolved",
        ("info",),
        "DNS answered: a round begins.",
        (
            ROUND,
            QNAME,
            Field("endpoints", "integer", "listed in this answer"),
            Field("newcomers", "integer", "of these: not listed before"),
            Field("left", "integer", "listed in the last answer and not in this one"),
            Field("ttl_seconds", "integer", "the answer's TTL, in seconds"),
            RESOLVING,
            Field(
                "newer",
                "boolean",
                "whether it cannot be the cached copy that the calls were made from",
                "it is the first answer",
            ),
        ),
        {
            "round": 2,
            "qname": WEB,
            "endpoints": 3,
            "newcomers": 1,
            "left": 0,
            "ttl_seconds": 5,
            "newer": True,
            "duration_seconds": 0.000712,
        },
    ),
    Event(
        "resolution.failed",
        ("warning", "error"),
        "DNS gave no answer, or listed nobody where somebody should be. Level `error` when "
        "that was the last question of the broadcast.",
        (
            ROUND,
            QNAME,
            Field("error_type", "text", "what is wrong", values=RESOLUTION_ERRORS),
            Field("error_message", "text", "which server said what"),
            RESOLVING,
        ),
        {
            "round": 1,
            "qname": WEB,
            "error_type": "dns_servfail",
            "error_message": "10.96.0.10:53 answered SERVFAIL",
            "duration_seconds": 0.002204,
        },
    ),
    Event(
        "resolution.waiting",
        ("info",),
        "Nobody is owed a call, and it is not over.",
        (
            Field("reason", "text", "what it waits for", values=WAITS),
            Field("wait_seconds", "seconds", "until the next question"),
        ),
        {"reason": "cached_answer", "wait_seconds": 1.019422},
    ),
    Event(
        "call.succeeded",
        ("info",),
        "A pod acknowledged.",
        tuple(Field(f.name, f.kind, f.meaning) if f.absent else f for f in CALL),
        {
            "endpoint": POD,
            "round": 1,
            "attempt": 1,
            "status_code": 200,
            "duration_seconds": 0.004187,
            "connect_seconds": 0.000391,
            "span_id": "5fb1f80d5a7d9c31",
        },
    ),
    Event(
        "call.failed",
        ("warning", "error"),
        "A call failed. Level `warning` if the endpoint is called again, `error` if not.",
        (
            *CALL,
            Field("error_type", "text", "what is wrong", values=CALL_ERRORS),
            Field("error_message", "text", "the details"),
            Field(
                "retry_in_seconds",
                "seconds",
                "how long it waits at least before the next call",
                "the endpoint is not called again",
            ),
            Field(
                "response_body",
                "text",
                "the first 256 bytes of the response's body",
                "`log_response` is not set, or no body came",
            ),
        ),
        {
            "endpoint": OTHER,
            "round": 1,
            "attempt": 1,
            "status_code": 503,
            "duration_seconds": 0.003518,
            "connect_seconds": 0.000402,
            "span_id": "0e6a4b1c92d7f853",
            "error_type": "status",
            "error_message": "answered 503 Service Unavailable",
            "retry_in_seconds": 1.0,
            "response_body": "warming up",
        },
    ),
    Event(
        "endpoint.gone",
        ("warning",),
        "A pod that DNS listed is dead: it never accepted a connection, and left DNS. Nothing is "
        "owed to it.",
        (
            ENDPOINT,
            ATTEMPTS,
            Field("error_type", "text", "of its last call", values=CALL_ERRORS),
        ),
        {"endpoint": OTHER, "attempts": 1, "error_type": "connect_timeout"},
    ),
    Event(
        "endpoint.failed",
        ("error",),
        "A pod was missed.",
        (
            ENDPOINT,
            ATTEMPTS,
            Field("error_type", "text", "why", values=CALL_ERRORS),
            Field("left_dns", "boolean", "whether the last answer no longer lists it"),
        ),
        {"endpoint": OTHER, "attempts": 5, "error_type": "status", "left_dns": False},
    ),
    Event(
        "endpoint.cancelled",
        ("error",),
        "A stop signal came before the pod acknowledged.",
        (ENDPOINT, ATTEMPTS),
        {"endpoint": OTHER, "attempts": 0},
    ),
    Event(
        "broadcast.finished",
        ("info", "warning", "error"),
        "A broadcast is over. Level `error` if it is not complete, `warning` if it is, but "
        "somebody is gone or no newer answer confirmed it. It is written whatever `--log-level` "
        "says.",
        (
            Field("outcome", "text", "what it came to", values=OUTCOMES),
            Field("exit_code", "integer", "what this broadcast alone would exit with: 0, 3 or 4"),
            Field("reason", "text", "why it is not complete", "it is complete", REASONS),
            *COUNTS,
            Field("rounds", "integer", "questions to DNS"),
            Field("calls", "integer", "calls that were made"),
            Field("confirmed", "boolean", "whether a newer answer showed nobody new"),
            DURATION,
            Field(
                "failed_endpoints",
                "text",
                "the first 20 that failed, as `10.1.0.9:8080 status, …`",
                "nobody failed",
            ),
            Field("hint", "text", "what to look at first", "the failures do not suggest one"),
        ),
        {
            "outcome": "partial",
            "exit_code": 3,
            "reason": "some_calls_failed",
            "seen": 3,
            "acknowledged": 2,
            "failed": 1,
            "gone": 0,
            "cancelled": 0,
            "rounds": 6,
            "calls": 7,
            "confirmed": True,
            "duration_seconds": 16.182377,
            "failed_endpoints": f"{OTHER} status",
            "hint": "the method is POST, and the pods allow GET: set method",
        },
    ),
    Event(
        "shutdown.requested",
        ("warning",),
        "A stop signal arrived. No call starts after this line.",
        (Field("signal", "text", "which", values=SIGNALS),),
        {"signal": "SIGTERM"},
    ),
    Event(
        "config.invalid",
        ("error",),
        "A mistake in the configuration; one line for each.",
        (
            Field("config_file", "text", "where", "an option of the command line is wrong"),
            Field("line", "integer", "from 1", "it has no one place"),
            Field("column", "integer", "from 1", "it has no one place"),
            Field(
                "key",
                "text",
                "the key's path, as in `broadcasts[0].timeout`; of a command line, the option",
                "it is the whole file's",
            ),
            Field("error_message", "text", "what was expected and what was found"),
        ),
        {
            "config_file": "/etc/pod-broadcast/clear-web-caches.yaml",
            "line": 3,
            "column": 3,
            "key": "broadcasts[0].timout",
            "error_message": "unknown key: did you mean timeout?",
        },
    ),
    Event(
        "run.crashed",
        ("error",),
        "A bug.",
        (
            Field("error_type", "text", "the exception's class"),
            Field("error_message", "text", "its text, secrets masked"),
            Field("stack", "text", "where it happened, without any values"),
        ),
        {
            "error_type": "AssertionError",
            "error_message": "no answer",
            "stack": '  File "/opt/pod-broadcast/worker/cli.py", line 143, in main\n',
        },
    ),
    Event(
        "run.finished",
        ("info", "warning", "error"),
        "The last line on every path that the process controls. It is written whatever "
        "`--log-level` says, and goes to the termination message.",
        (
            Field("outcome", "text", "the worst of the broadcasts'", values=OUTCOMES),
            Field("exit_code", "integer", "the [exit code](exit-codes.md)"),
            *(
                Field(
                    f"broadcasts_{outcome}",
                    "integer",
                    f"how many broadcasts are `{outcome}`",
                    NO_REPORT,
                )
                for outcome in OUTCOMES
            ),
            *(
                Field(f.name, f.kind, f"the sum of the broadcasts' `{f.name}`", NO_REPORT)
                for f in COUNTS
            ),
            Field("duration_seconds", "seconds", DURATION.meaning, "the command line is wrong"),
            Field("error_message", "text", "why it ended early", "it did not"),
        ),
        {
            "outcome": "partial",
            "exit_code": 3,
            "broadcasts_complete": 1,
            "broadcasts_partial": 1,
            "broadcasts_failed": 0,
            "seen": 8,
            "acknowledged": 7,
            "failed": 1,
            "gone": 0,
            "cancelled": 0,
            "duration_seconds": 17.305118,
        },
    ),
)
BY_NAME = {event.name: event for event in EVENTS}


def documented(event: Event) -> tuple[Field, ...]:
    """All its fields, the common ones included."""
    outside = event.name.startswith(("run.started", "run.finished", "config.", "shutdown."))
    common = tuple(f for f in COMMON if f.name != "broadcast" or not outside)
    return (*common, *event.fields)
