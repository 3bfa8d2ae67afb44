"""The fields of log lines. `events` puts them together into events; `words` has what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from worker.words import CALL_ERRORS, LEVELS, OUTCOMES, REASONS, meanings

Type = Literal["string", "integer", "number", "boolean"]  # as JSON calls them
Value = str | int | float | bool


class Field(NamedTuple):
    """One field of a log line.

    `when` completes "the field is there when …"; empty: it is always there. `values` are all the
    words that the field can hold, each with its meaning; None: any value of the type.
    """

    name: str
    type: Type
    meaning: str
    example: Value
    unit: str = ""
    when: str = ""
    values: Mapping[str, str] | None = None


# --- fields that several events have ------------------------------------------------------------

VARIABLE_SET = "that variable is set"
COMMON = (
    Field(
        "timestamp",
        "string",
        "when the line was written: RFC 3339, UTC, microseconds",
        "2026-03-01T03:00:02.218391Z",
    ),
    Field(
        "level",
        "string",
        "how serious it is",
        "info",
        values=LEVELS,
    ),
    Field("event", "string", "the event's name: filter by this", "run.started"),
    Field("message", "string", "a sentence for a person; its wording may change", "…"),
    Field(
        "run_id",
        "string",
        "32 hex digits that identify the run; also the trace id of its calls",
        "9f3c61d0a5e84f0fb0a7c2d5e6184b3a",
    ),
    Field("worker_namespace", "string", "the value of POD_NAMESPACE", "default", when=VARIABLE_SET),
    Field(
        "worker_job", "string", "the value of JOB_NAME", "pod-broadcast-29381760", when=VARIABLE_SET
    ),
)
BROADCAST = Field(
    "broadcast",
    "string",
    "the broadcast's name",
    "clear-web-caches",
    when="the line is about one broadcast",
)

WORKER_POD = Field(
    "worker_pod",
    "string",
    "the value of POD_NAME",
    "pod-broadcast-29381760-x7k2p",
    when=VARIABLE_SET,
)
WORKER_NODE = Field("worker_node", "string", "the value of NODE_NAME", "node-3", when=VARIABLE_SET)

BY_DNS = "`discovery` is `dns`"
BY_API = "`discovery` is `endpointslices`"
NAMES_POD = f"{BY_API}, and it names one"
ENDPOINT = (
    Field(
        "endpoint",
        "string",
        "the pod's address, `IP:port`; without a port if that failed as `no_port`",
        "10.1.0.9:8080",
    ),
    Field("target_pod", "string", "the pod's name", "web-7d4b9-x2x", when=NAMES_POD),
    Field("target_node", "string", "its node's name", "node-3", when=NAMES_POD),
    Field(
        "target_uid",
        "string",
        "the pod's uid: a name and an address come back, a uid does not",
        "5bc04a48-6a48-4b5c-9bd0-6d4e3f5d2b51",
        when=NAMES_POD,
    ),
)
ATTEMPTS = Field("attempts", "integer", "how many calls were made to it", 5, "calls")
ROUND = Field("round", "integer", "number of the question in this broadcast, from 1", 1)
QNAME = Field(
    "qname",
    "string",
    "who was asked for: the absolute name without the final dot; of the Kubernetes API, "
    "`namespace/service`",
    "web-server-headless.default.svc.cluster.local",
)
ASKING = Field("duration_seconds", "number", "how long the answer took", 0.000712, "seconds")
DURATION = Field("duration_seconds", "number", "how long it took", 16.182377, "seconds")
STATUS_CODE = Field(
    "status_code", "integer", "the response's status code", 503, when="a status line came"
)
CALL_ERROR = Field(
    "error_type", "string", "what went wrong", "status", values=meanings(CALL_ERRORS)
)
ERROR_MESSAGE = Field("error_message", "string", "the details", "answered 503 Service Unavailable")
CALL_BEFORE_STATUS = (
    *ENDPOINT,
    ROUND,
    Field("attempt", "integer", "attempt number, from 1", 1),
)
CALL_AFTER_STATUS = (
    Field("duration_seconds", "number", "from connecting to the last byte", 0.003518, "seconds"),
    Field(
        "connect_seconds",
        "number",
        "how long the TCP connection took to open, without TLS",
        0.000402,
        "seconds",
        "a connection was accepted",
    ),
    Field("span_id", "string", "16 hex digits, as sent in `traceparent`", "0e6a4b1c92d7f853"),
)
DEADLINE = Field(
    "deadline_seconds",
    "number",
    "how long it can take: `deadline`, or the time until the run's `--deadline` if that is less",
    300.0,
    "seconds",
)
RETRY_IN = Field(
    "retry_in_seconds",
    "number",
    "the shortest time until the next call",
    1.0,
    "seconds",
    "the endpoint is called again",
)
RESPONSE_BODY = Field(
    "response_body",
    "string",
    "the first 256 bytes of the response's body",
    "warming up",
    when="`log_response` is set and a body came",
)
HINT = Field(
    "hint",
    "string",
    "what to look at first",
    "the method is POST, but the pods allow only GET: set method",
    when="the failures suggest something",
)
REASON = Field("reason", "string", "why it is not complete", "some_calls_failed", values=REASONS)
COUNTS = (
    Field("seen", "integer", "endpoints that were listed, at any time", 3, "endpoints"),
    Field("acknowledged", "integer", "of these, acknowledged: a call met `expect`", 2, "endpoints"),
    Field("failed", "integer", "of these, missed: each has its `endpoint.failed`", 1, "endpoints"),
    Field("gone", "integer", "of these, dead: each has its `endpoint.gone`", 0, "endpoints"),
    Field(
        "cancelled",
        "integer",
        "of these, given up or never called: each has its `endpoint.cancelled`",
        0,
        "endpoints",
    ),
)
MISSED = (
    "`10.1.0.9:8080 status 503 after 5 calls`, with EndpointSlices `web-7d4b9-x2x "
    "(10.1.0.9:8080) status 503 after 5 calls`, and after the first 1,900 bytes `and 7 more`"
)
MISSED_EXAMPLE = "web-7d4b9-x2x (10.1.0.9:8080) status 503 after 5 calls"
# Of the whole run.
NOT_COMPLETE = "a broadcast is not complete"
REPORTED = "the run was carried out (its exit code is neither 1 nor 2)"
BROADCASTS = tuple(
    Field(
        f"broadcasts_{outcome}",
        "integer",
        f"how many broadcasts are `{outcome}`",
        int(outcome == "partial"),
        "broadcasts",
        REPORTED,
    )
    for outcome in OUTCOMES
)
TOTALS = tuple(
    count._replace(meaning=f"`{count.name}` of all broadcasts together", when=REPORTED)
    for count in COUNTS
)
