"""structlog set-up: what every line carries, in which format, and what no line may carry.

A secret is masked before anything is cut, so that no piece of one is left over.
"""

from __future__ import annotations

import functools
import json
import os
import re
import select
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Literal, Protocol
from urllib.parse import quote, quote_plus

import structlog

from worker.log.formats import to_ecs, to_gcp
from worker.stop import Stop

LogFormat = Literal["json", "console", "gcp", "ecs"]
LevelName = Literal["info", "warning", "error"]
Event = MutableMapping[str, Any]
Log = structlog.typing.FilteringBoundLogger

LEVELS: dict[str, int] = {"info": 20, "warning": 30, "error": 40}
ALWAYS_WRITTEN = ("run.", "broadcast.finished")
MAX_LINE_BYTES = 8 * 1024
MAX_TERMINATION_MESSAGE_BYTES = 4096
MAX_BYTES = {"response_body": 256, "stack": 5000}
MAX_BYTES_OF_OTHERS = 2000
STALL_SECONDS = 30.0
STALL_SECONDS_AFTER_STOP = 0.5
MASK = "***"
# Our own words, in which a short secret may occur by chance.
NEVER_SECRET = frozenset(
    {"event", "level", "timestamp", "run_id", "span_id", "error_type", "outcome", "reason"}
)

WAITING = {
    "cached_answer": "for a newer DNS answer",
    "min_pods": "for DNS to list more pods",
    "no_answer": "for DNS to list somebody",
}


def _call_failed(e: Event) -> str:
    again = e.get("retry_in_seconds")
    what_next = "not called again" if again is None else f"next call in {again:.1f} s or later"
    return f"{e['endpoint']}: {e['error_message']}; {what_next}"


def _broadcast_finished(e: Event) -> str:
    text = f"{e['outcome']}: {_counts(e)}"
    if e.get("reason"):
        text += f" ({e['reason']})"
    if not e["confirmed"]:
        text += "; no newer DNS answer confirmed it"
    return f"{text}. {e['hint']}" if e.get("hint") else text


def _config_invalid(e: Event) -> str:
    place = [str(e[key]) for key in ("config_file", "line", "column", "key") if e.get(key)]
    return (
        ":".join(place[:3]) + "".join(f": {key}" for key in place[3:]) + f": {e['error_message']}"
    )


def _run_finished(e: Event) -> str:
    if e.get("error_message"):
        return f"exit code {e['exit_code']}: {e['error_message']}"
    return f"{e['outcome']}, exit code {e['exit_code']}: {_counts(e)}"


def _counts(e: Event) -> str:
    others = [f"{e[what]} {what}" for what in ("failed", "gone", "cancelled") if e.get(what)]
    return ", ".join([f"{e['acknowledged']} of {e['seen']} endpoints acknowledged", *others])


# Every event, and its sentence for a person.
MESSAGES: dict[str, Callable[[Event], str]] = {
    "run.started": lambda e: (
        f"pod-broadcast {e['version']}: {e['broadcasts']} broadcast{'s' * (e['broadcasts'] > 1)}"
    ),
    "broadcast.started": lambda e: f"{e['method']} {e['request_url']}, {e['concurrency']} at once",
    "endpoints.resolved": lambda e: (
        f"{e['qname']} lists {e['endpoints']} endpoints: {e['newcomers']} new, {e['left']} left"
    ),
    "resolution.failed": lambda e: f"{e['qname']}: {e['error_message']}",
    "resolution.waiting": lambda e: f"waiting {e['wait_seconds']:.1f} s {WAITING[e['reason']]}",
    "call.succeeded": lambda e: (
        f"{e['endpoint']} answered {e['status_code']} in {e['duration_seconds']:.3f} s"
    ),
    "call.failed": _call_failed,
    "endpoint.gone": lambda e: (
        f"{e['endpoint']} is gone: it never accepted a connection, and left DNS"
    ),
    "endpoint.failed": lambda e: (
        f"{e['endpoint']} was missed: {e['error_type']}, {e['attempts']} calls"
    ),
    "endpoint.cancelled": lambda e: f"{e['endpoint']} was given up after {e['attempts']} calls",
    "broadcast.finished": _broadcast_finished,
    "shutdown.requested": lambda e: f"{e['signal']}: no new calls from here on",
    "config.invalid": _config_invalid,
    "run.crashed": lambda e: f"this is a bug: {e['error_type']}: {e['error_message']}",
    "run.finished": _run_finished,
}


class Display(Protocol):
    """Shows a run to a person, instead of a line for each event."""

    def show(self, event: Event, passes: bool) -> None:
        """Is told every event, masked, and whether the log level lets it pass."""


class Sink:
    """Writes lines to a file descriptor. `lost` tells whether one could not be written.

    A reader that takes nothing for STALL_SECONDS is given up, after a stop signal sooner: a run
    must end whoever reads its log.
    """

    def __init__(self, descriptor: int, stop: Stop) -> None:
        self._descriptor = descriptor
        self._stop = stop
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)
        self.lost = False

    def write(self, line: bytes) -> None:
        while line and not self.lost:
            try:
                self._wait_for_room()
                # More than this may block, though there is room (pipe(7)).
                line = line[os.write(self._descriptor, line[: select.PIPE_BUF]) :]
            except OSError:
                self.lost = True

    def _wait_for_room(self) -> None:
        """Raises TimeoutError."""
        if self._room.poll(0):
            return
        waited = 0.0
        while waited < (STALL_SECONDS_AFTER_STOP if self._stop.requested else STALL_SECONDS):
            if self._room.poll(100):
                return
            waited += 0.1
        raise TimeoutError

    info = warning = error = write  # structlog calls the method that it was called with


class Masker:
    """Replaces secret values, in every encoding in which a pod or a library may echo them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _encodings(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def mask(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text


def _encodings(secret: str) -> Iterable[str]:
    data = secret.encode()
    percent = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    yield secret
    yield from percent
    yield from (re.sub("%..", lambda match: match[0].lower(), form) for form in percent)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    for encode in (b64encode, urlsafe_b64encode):
        yield encode(data).decode().rstrip("=")
        # Within something longer it starts at any of three places, and its last digit may differ.
        for shift in range(3):
            digits = encode(bytes(shift) + data).decode().rstrip("=")
            whole = digits[shift + (shift > 0) : (shift + len(data)) * 8 // 6]
            if len(whole) >= 8:
                yield whole


def summary_line(fields: dict[str, Any], masker: Masker) -> bytes:
    """The termination message: one JSON object, of which the kubelet keeps 4,096 bytes."""
    return _to_json(_tidy(fields, masker), MAX_TERMINATION_MESSAGE_BYTES)


def configure(
    sink: Sink,
    log_format: LogFormat,
    log_level: LevelName,
    masker: Masker,
    display: Display | None = None,
) -> Log:
    """A logger that writes to `sink`, or shows all on the display if there is one.

    `run.*` and `broadcast.finished` pass every level.
    """

    def passes(name: str, event: Event) -> bool:
        return LEVELS[name] >= LEVELS[log_level] or event["event"].startswith(ALWAYS_WRITTEN)

    def drop(_logger: object, name: str, event: Event) -> Event:
        if not passes(name, event):
            raise structlog.DropEvent
        return event

    def complete(_logger: object, name: str, event: Event) -> Event:
        message = MESSAGES[event["event"]](event)
        head = {"timestamp": _timestamp(), "level": name, "event": "", "message": message}
        return _tidy({**head, **event}, masker)

    def render(_logger: object, _name: str, event: Event) -> bytes:
        return RENDERERS[log_format](event)

    def show(_logger: object, name: str, event: Event) -> bytes:
        assert display
        display.show(event, passes(name, event))
        raise structlog.DropEvent

    log: Log = structlog.wrap_logger(
        sink,
        processors=[complete, show] if display else [drop, complete, render],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    return log


def _timestamp() -> str:
    """RFC 3339, in UTC."""
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{_to_the_second(seconds)}.{microseconds:06}Z"


@functools.lru_cache(maxsize=1)  # many lines have the same, and it is a tenth of a line's cost
def _to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _tidy(event: Event, masker: Masker) -> dict[str, Any]:
    """Fields without a value left out, durations in whole microseconds, text masked, then cut."""
    tidy: dict[str, Any] = {}
    for key, value in event.items():
        if isinstance(value, float):
            value = round(value, 6)
        elif isinstance(value, (str, bytes)) and key not in NEVER_SECRET:
            text = value if isinstance(value, str) else value.decode(errors="replace")
            value = _cut(masker.mask(text), MAX_BYTES.get(key, MAX_BYTES_OF_OTHERS))
        if value is not None:
            tidy[key] = value
    return tidy


def _cut(text: str, size: int) -> str:
    if len(text) * 4 <= size:
        return text
    return text.encode(errors="replace")[:size].decode(errors="ignore")


# Without a look for circles, which an event has none of.
_encode = json.JSONEncoder(check_circular=False, ensure_ascii=False, separators=(",", ":")).encode


def _to_json(event: Event, limit: int = MAX_LINE_BYTES) -> bytes:
    line = _encode(event).encode(errors="replace")
    while len(line) >= limit:
        longest = max(
            (key for key in event if isinstance(event[key], str)), key=lambda k: len(event[k])
        )
        event[longest] = event[longest][: len(event[longest]) // 2]
        line = _encode(event).encode(errors="replace")
    return line + b"\n"


def console_line(event: Event) -> str:
    """The event as a person reads it, without a line end."""
    at = event["timestamp"][11:23]
    name = f"{event['broadcast']}: " if "broadcast" in event else ""
    return printable(f"{at} {event['level']:<7} {name}{event['message']}")


def encode_line(line: str) -> bytes:
    return line.encode(errors="replace") + b"\n"


def printable(text: str) -> str:
    """A pod's words must not steer the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


RENDERERS: dict[LogFormat, Callable[[Event], bytes]] = {
    "json": _to_json,
    "console": lambda event: encode_line(console_line(event)),
    "gcp": lambda event: _to_json(to_gcp(event)),
    "ecs": lambda event: _to_json(to_ecs(event)),
}
