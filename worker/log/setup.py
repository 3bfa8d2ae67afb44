"""Sets structlog up, and completes each event: time, message, no secrets, bounded length.

`events` decides what an event says, and `formats` how its line is spelt. A secret is masked
before anything is cut, so that no part of one remains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import structlog

from worker.log.events import BY_NAME
from worker.log.formats import RENDERERS, LogFormat, json_line
from worker.log.masking import Masker
from worker.log.sentences import Event
from worker.log.sink import Sink
from worker.model import Endpoint
from worker.words import LEVELS, Level, worst

Log = structlog.typing.FilteringBoundLogger

ALWAYS_WRITTEN = ("run.", "broadcast.finished")
# The kubelet keeps that much of a termination message.
# https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
MAX_TERMINATION_MESSAGE_BYTES = 4096
MAX_BYTES = {"response_body": 256, "stack": 5000}
MAX_BYTES_OF_OTHERS = 2000
# These fields hold only this program's words, the user's own, or names and addresses of pods. A
# short secret may occur there by chance, and an alert that compares them has to find them whole.
NEVER_SECRET = frozenset(
    {
        *("event", "level", "timestamp", "run_id", "span_id", "error_type", "outcome", "reason"),
        *("broadcast", "request_url", "method", "discovery", "qname", "version", "signal"),
        *("worst_broadcast", "endpoint", "target_pod", "target_node", "target_uid"),
        *("failed_endpoints", "missed_endpoints", "not_ready_endpoints", "other_broadcasts"),
        *("verify", "worker_namespace", "worker_job", "worker_pod", "worker_node"),
    }
)


class Display(Protocol):
    """Shows a run to a person, instead of a line for each event."""

    def show(self, event: Event, passes: bool) -> None:
        """Gets every event, masked. `passes`: whether the log level lets it through."""


def configure(
    sink: Sink,
    log_format: LogFormat,
    log_level: Level,
    masker: Masker,
    display: Display | None = None,
) -> Log:
    """A logger that writes lines to the sink, or shows everything on the display if there is one.

    `run.*` and `broadcast.finished` are written at every level.
    """

    levels = {level for level in LEVELS if worst((level, log_level), LEVELS) == level}

    def passes(name: str, event: Event) -> bool:
        return event["event"].startswith(ALWAYS_WRITTEN) or name in levels

    def drop(_logger: object, name: str, event: Event) -> Event:
        if not passes(name, event):
            raise structlog.DropEvent
        return event

    # RFC 3339, in UTC.
    stamp = structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%fZ", utc=True)

    def complete(_logger: object, name: str, event: Event) -> Event:
        message = BY_NAME[event["event"]].message(event)
        head = {"timestamp": "", "level": name, "event": "", "message": message}
        entry = _tidy({**head, **event}, masker)
        endpoint = event.get("endpoint")
        if log_format == "ecs" and endpoint:
            entry["server_address"], entry["server_port"] = endpoint.socket_address
        return entry

    def render(_logger: object, _name: str, event: Event) -> bytes:
        return RENDERERS[log_format](event)

    def show(_logger: object, name: str, event: Event) -> bytes:
        assert display
        display.show(event, passes(name, event))
        raise structlog.DropEvent

    log: Log = structlog.wrap_logger(
        sink,
        processors=[stamp, complete, show] if display else [drop, stamp, complete, render],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    return log


def summary_line(fields: Mapping[str, Any], masker: Masker) -> bytes:
    """The termination message: the fields of `run.finished` as one JSON object."""
    return json_line(_tidy(fields, masker), MAX_TERMINATION_MESSAGE_BYTES)


def _tidy(event: Mapping[str, Any], masker: Masker) -> dict[str, Any]:
    """Drops fields without a value, rounds to microseconds, masks texts and cuts them."""
    tidy: dict[str, Any] = {}
    for key, value in event.items():
        if isinstance(value, float):
            value = round(value, 6)
        elif isinstance(value, bytes):
            value = _text(value)
        elif isinstance(value, Endpoint):
            value = str(value)
        if value is not None:
            tidy[key] = value
    texts = {key: value for key, value in tidy.items() if isinstance(value, str)}
    secret = masker.may_find("\0".join(texts[key] for key in texts.keys() - NEVER_SECRET))
    for key, text in texts.items():
        size = MAX_BYTES.get(key, MAX_BYTES_OF_OTHERS)
        shown = _cut(text, size)
        if secret and key not in NEVER_SECRET:
            # Given the text beyond the cut, so that a secret is recognized that the cut is in.
            shown = _cut(masker.mask(text, len(shown)), size)
        tidy[key] = shown
    return tidy


def _text(data: bytes) -> str:
    """What a pod sent, as text: UTF-8, be it cut off in a character, or else latin-1."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return data[: error.start].decode()
        return data.decode("latin-1")


def _cut(text: str, size: int) -> str:
    """At most `size` bytes of the text's beginning, in whole characters."""
    if len(text) * 4 <= size:  # it fits, whatever its characters are
        return text
    return text.encode(errors="replace")[:size].decode(errors="ignore")
