"""The table as docs/events.md."""

from __future__ import annotations

import json

from tests.events.table import COMMON, EVENTS, Event, Field, Kind, documented
from tests.events.values import CALL_ERRORS, OUTCOMES, REASONS, RESOLUTION_ERRORS, WAITS
from worker.log.setup import MESSAGES

KINDS: dict[Kind, str] = {
    "text": "a string",
    "integer": "a whole number; a count, where no unit is said",
    "seconds": "a number of seconds, rounded to the microsecond",
    "boolean": "`true` or `false`",
}
INTRODUCTION = """\
# Events

<!-- Written by `make generated` from tests/events/. -->

With `--log-format json`, the default where standard output is no terminal, each line is one JSON
object: flat, with stable names, each name of one type everywhere, at most 8 KiB. A field without a
value is absent, never null. Names that log shippers or stores take for their own (`job`, `pod`,
`host`, `error`, …) do not occur. Secrets are masked as `***`. A text is cut at 2,000 bytes,
`response_body` at 256, `stack` at 5,000.

`run.*` and `broadcast.finished` are written whatever `--log-level` says, and `run.finished` is the
last line. Event names, fields and their values are what a [version number](../CHANGELOG.md) speaks
of; new ones may come with any version. Every line that the tests see is held against this page.

`console`, the default on a terminal, shows time, level, broadcast and `message` of the same events.
`gcp` and `ecs` have the same fields by the names of Google Cloud Logging and of the Elastic Common
Schema: [alerting.md](alerting.md#google-cloud) says how to take them in.
"""

ERRORS = """\
## Values of error_type

Of calls: `call.failed`, `endpoint.failed` and `endpoint.gone`.
"""


def page() -> str:
    """docs/events.md."""
    parts = [
        INTRODUCTION,
        _table("type", "", [(str(kind), text) for kind, text in KINDS.items()]),
        "## Fields of every line\n",
        _fields(COMMON),
        "## Events\n",
        _table(
            "event",
            "level",
            [(f"[`{e.name}`](#{e.name.replace('.', '')})", ", ".join(e.levels)) for e in EVENTS],
        ),
        *map(_section, EVENTS),
        ERRORS,
        _values(CALL_ERRORS),
        "Of DNS: `resolution.failed`.\n",
        _values(RESOLUTION_ERRORS),
        "## Values of outcome\n",
        _values(OUTCOMES),
        "## Values of reason\n\nOf `broadcast.finished`.\n",
        _values(REASONS),
        "Of `resolution.waiting`.\n",
        _values(WAITS),
    ]
    return "\n".join(parts)


def _section(event: Event) -> str:
    return "\n".join(
        [
            f"### {event.name}\n",
            f"{event.when}\n",
            _fields(event.fields),
            f"```json\n{example(event)}\n```\n",
        ]
    )


def example(event: Event) -> str:
    """A line as the program writes it."""
    entry = {
        "timestamp": "2026-03-01T03:00:02.218391Z",
        "level": event.levels[-1],
        "event": event.name,
        "message": MESSAGES[event.name](event.example),
        "run_id": "9f3c61d0a5e84f0fb0a7c2d5e6184b3a",
        "worker_namespace": "default",
        "worker_job": "pod-broadcast-29381760",
    }
    if any(field.name == "broadcast" for field in documented(event)):
        entry["broadcast"] = "clear-web-caches"
    return json.dumps(entry | event.example, ensure_ascii=False, separators=(",", ":"))


def _fields(fields: tuple[Field, ...]) -> str:
    rows = [f"| `{f.name}` | {f.kind} | {f.meaning} | {f.absent} |" for f in fields]
    return "\n".join(["| field | type | | absent when |", "|---|---|---|---|", *rows, ""])


def _values(values: dict[str, str]) -> str:
    return _table("value", "", [(f"`{value}`", text) for value, text in values.items()])


def _table(first: str, second: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"| {left} | {right} |" for left, right in rows]
    return "\n".join([f"| {first} | {second} |", "|---|---|", *lines, ""])
