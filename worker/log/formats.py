"""A complete log entry -> the bytes of its line, in each format. Pure.

Which fields an entry has is decided in `setup`. Here they get the names that Google Cloud Logging
or the Elastic Common Schema has for them; every format is one flat JSON object, but for the
console's sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from worker.log.sentences import Event

LogFormat = Literal["json", "console", "gcp", "ecs"]

MAX_LINE_BYTES = 8 * 1024

# The fields that the logging agent moves to the LogEntry itself; the others become its jsonPayload.
# https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields
GCP_FIELDS = {
    "timestamp": "time",
    "level": "severity",
    "span_id": "logging.googleapis.com/spanId",
}
GCP_TRACE = "logging.googleapis.com/trace"

# https://www.elastic.co/docs/reference/ecs/ecs-field-reference
ECS_VERSION = "9.4.0"
ECS_FIELDS = {
    "timestamp": "@timestamp",
    "level": "log.level",
    "message": "message",
    "event": "event.action",
    "reason": "event.reason",
    "run_id": "trace.id",
    "span_id": "span.id",
    "version": "service.version",
    "error_type": "error.type",
    "error_message": "error.message",
    "stack": "error.stack_trace",
    "request_url": "url.full",
    "method": "http.request.method",
    "status_code": "http.response.status_code",
    "response_body": "http.response.body.content",
    "qname": "dns.question.name",
    "worker_namespace": "orchestrator.namespace",
    "server_address": "server.ip",
    "server_port": "server.port",
}
# Fields that ECS does not have get a prefix.
ECS_CUSTOM = "pod_broadcast."
ECS_OUTCOMES = {"complete": "success", "partial": "failure", "failed": "failure"}
ECS_OUTCOMES_OF_EVENTS = {
    "call.succeeded": "success",
    "call.failed": "failure",
    "endpoint.failed": "failure",
    "resolution.failed": "failure",
    "run.crashed": "failure",
}


def to_gcp(event: Mapping[str, Any]) -> dict[str, Any]:
    """Names for Google Cloud Logging. The run is the trace; the agent adds the project's name."""
    entry = {GCP_FIELDS.get(key, key): value for key, value in event.items()}
    entry["severity"] = event["level"].upper()
    return entry | {GCP_TRACE: event["run_id"]}


def to_ecs(event: Mapping[str, Any]) -> dict[str, Any]:
    """Names for the Elastic Common Schema. `event.duration` is in nanoseconds."""
    entry = {ECS_FIELDS.get(key, ECS_CUSTOM + key): value for key, value in event.items()}
    entry |= {"ecs.version": ECS_VERSION, "service.name": "pod-broadcast"}
    seconds = entry.pop(ECS_CUSTOM + "duration_seconds", None)
    if seconds is not None:
        entry["event.duration"] = round(seconds * 1e9)
    outcome = ECS_OUTCOMES.get(event.get("outcome", "")) or ECS_OUTCOMES_OF_EVENTS.get(
        event["event"]
    )
    if outcome:
        entry["event.outcome"] = outcome
    return entry


# An event is never circular; not looking for that saves time.
_encode = json.JSONEncoder(check_circular=False, ensure_ascii=False, separators=(",", ":")).encode


def json_line(entry: Event, limit: int = MAX_LINE_BYTES) -> bytes:
    """One JSON object and a line end, at most `limit` bytes: the longest texts are cut in half
    until it fits. Changes the entry.
    """
    line = to_json(entry)
    while len(line) >= limit:
        texts = (key for key in entry if isinstance(entry[key], str))
        longest = max(texts, key=lambda key: len(entry[key]))
        entry[longest] = entry[longest][: len(entry[longest]) // 2]
        line = to_json(entry)
    return line + b"\n"


def to_json(value: Any, encode: Callable[[Any], str] = _encode) -> bytes:
    """JSON in which what is not printable is escaped, be it allowed (RFC 8259, 7).

    A terminal obeys C1 controls and overrides of the direction of text, and some readers of logs
    break lines at U+0085, U+2028 or U+2029.
    """
    text = encode(value)
    if not text.isprintable():
        text = text.encode(errors="replace").decode()
        text = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    return text.encode(errors="replace")


def console_line(entry: Event) -> str:
    """The entry as a person reads it, without a line end."""
    at = entry["timestamp"][11:23]
    name = f"{entry['broadcast']}: " if "broadcast" in entry else ""
    return printable(f"{at} {entry['level']:<7} {name}{entry['message']}")


def encode_line(line: str) -> bytes:
    """A line of text as bytes, with a line end."""
    return line.encode(errors="replace") + b"\n"


def printable(text: str) -> str:
    """Text in which control characters are spelt out: a pod's words must not steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


RENDERERS: dict[LogFormat, Callable[[Event], bytes]] = {
    "json": json_line,
    "console": lambda entry: encode_line(console_line(entry)),
    "gcp": lambda entry: json_line(to_gcp(entry)),
    "ecs": lambda entry: json_line(to_ecs(entry)),
}
