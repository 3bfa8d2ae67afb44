"""Log entries in the words of Google Cloud Logging and of the Elastic Common Schema. Pure.

What is written, masked and cut is decided in `logs`. Here a field gets another name, and what a
format asks for besides: one object, flat, as in our own format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Where an agent looks for what becomes the LogEntry's own; the rest is its jsonPayload.
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
}
# Fields that ECS does not know have a namespace of their own.
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
    """The trace is the run, which the agent completes by the project's name."""
    entry = {GCP_FIELDS.get(key, key): value for key, value in event.items()}
    entry["severity"] = event["level"].upper()
    return entry | {GCP_TRACE: event["run_id"]}


def to_ecs(event: Mapping[str, Any]) -> dict[str, Any]:
    """Durations become nanoseconds; of an endpoint its address and port are told apart too."""
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
    if "endpoint" in event:
        address, _, port = event["endpoint"].rpartition(":")
        entry |= {"server.ip": address.strip("[]"), "server.port": int(port)}
    return entry
