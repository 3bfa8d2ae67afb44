"""The table of events as docs/events.md, and as a JSON Schema of a log line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from worker import __version__
from worker.log.event_type import EventType
from worker.log.events import EVENTS
from worker.log.fields import BROADCAST, COMMON, Field, Type
from worker.words import CALL_ERRORS, OUTCOMES, REASONS, RESOLUTION_ERRORS, WAITS, Fault

TYPES: dict[Type, str] = {
    "string": "text, never empty",
    "integer": "a whole number",
    "number": "a decimal number; seconds are rounded to the microsecond",
    "boolean": "`true` or `false`",
}
INTRODUCTION = """\
# Events

<!-- Written by `make generated` from worker/log/events.py. -->

With `--log-format json`, each line is one JSON object. This is the default where standard output is
not a terminal. An object is flat and at most 8 KiB long. A field has the same name and the same
type in every event. A field without a value is absent, never null. Secrets are masked as `***`.
Text is cut at 2,000 bytes, `response_body` at 256 and `stack` at 5,000. No field has a name that
log shippers or stores use themselves (`job`, `pod`, `host`, `error`, …).

`run.*` and `broadcast.finished` are written at every `--log-level`, and `run.finished` is the last
line. The [version number](../CHANGELOG.md) covers the names of events and fields and the values of
fields: none changes or goes without a new version, while any version may add some. The tests check
every line that they see against this page.

The same as a JSON Schema of one line: [events.schema.json](events.schema.json). It describes this
version alone, so it rejects events and fields that a later version adds.

The format `console`, the default on a terminal, shows the time, the level, the broadcast and the
`message` of the same events. The formats `gcp` and `ecs` have the same fields under the names of
Google Cloud Logging and of the Elastic Common Schema: [alerting.md](alerting.md#google-cloud) says
how to collect them.
"""


def page() -> str:
    """docs/events.md."""
    parts = [
        INTRODUCTION,
        _table(("type", "meaning"), list(TYPES.items())),
        "## Fields of every line\n",
        _fields((*COMMON, BROADCAST)),
        "## Events\n",
        _table(
            ("event", "level"),
            [(f"[`{e.name}`](#{e.name.replace('.', '')})", ", ".join(e.levels)) for e in EVENTS],
        ),
        *map(_section, EVENTS),
        "## Values of error_type\n\nOf calls: `call.failed`, `endpoint.failed`, `endpoint.gone`.\n",
        _values(_said(CALL_ERRORS)),
        "Of DNS: `resolution.failed`.\n",
        _values(_said(RESOLUTION_ERRORS)),
        "## Values of outcome\n",
        _values(OUTCOMES),
        "## Values of reason\n\nOf `broadcast.finished`.\n",
        _values(REASONS),
        "Of `resolution.waiting`.\n",
        _values(WAITS),
    ]
    return "\n".join(parts)


def _section(event: EventType) -> str:
    return "\n".join(
        [
            f"### {event.name}\n",
            f"{event.description}\n",
            _fields(event.fields),
            f"```json\n{example(event)}\n```\n",
        ]
    )


def example(event: EventType) -> str:
    """A line as the program writes it."""
    entry: dict[str, Any] = {field.name: field.example for field in event.line_fields}
    entry |= {"event": event.name, "level": event.levels[-1], **event.example}
    entry = {name: value for name, value in entry.items() if value is not None}
    entry["message"] = event.message(entry)
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":"))


def _fields(fields: Sequence[Field]) -> str:
    rows = [
        (f"`{f.name}`", f.type, f.unit, f.meaning, f"when {f.when}" if f.when else "always")
        for f in fields
    ]
    return _table(("field", "type", "unit", "meaning", "present"), rows)


def _said(faults: Mapping[str, Fault]) -> dict[str, str]:
    return {w: f.meaning + ("" if f.retried else ". Not retried") for w, f in faults.items()}


def _values(values: Mapping[str, str]) -> str:
    return _table(("value", "meaning"), [(f"`{value}`", text) for value, text in values.items()])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:], ""])


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of one line in the format `json`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of pod-broadcast's log",
        "description": f"Version {__version__}, --log-format json.",
        "type": "object",
        "required": ["event"],
        "properties": {"event": {"enum": [event.name for event in EVENTS]}},
        "oneOf": [{"$ref": f"#/$defs/{event.name}"} for event in EVENTS],
        "$defs": {event.name: _event_schema(event) for event in EVENTS},
    }


def _event_schema(event: EventType) -> dict[str, Any]:
    properties = {field.name: _field_schema(field) for field in event.line_fields}
    properties["event"] = {"const": event.name}
    properties["level"]["enum"] = list(event.levels)
    return {
        "description": event.description,
        "properties": properties,
        "required": [field.name for field in event.line_fields if not field.when],
        "additionalProperties": False,
    }


def _field_schema(field: Field) -> dict[str, Any]:
    unit = f", in {field.unit}" if field.type == "number" or field.unit == "seconds" else ""
    made: dict[str, Any] = {"type": field.type, "description": f"{field.meaning}{unit}"}
    if field.values:
        made["enum"] = list(field.values)
    elif field.type == "string":
        made["minLength"] = 1
    return made
