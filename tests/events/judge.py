"""Log lines against the table. `tests.loopback.program` has every line judged that a test sees."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tests.events.table import BY_NAME, COMMON, EVENTS, Entry, Kind, documented

TYPES: dict[Kind, type] = {"text": str, "integer": int, "seconds": float, "boolean": bool}


def check_output(stdout: str) -> None:
    """Judges each line of `--log-format json`; passes over what is none."""
    for line in stdout.splitlines():
        if line.startswith('{"timestamp":'):
            check(json.loads(line))


def check(entry: Entry) -> None:
    """Fails where the entry is not what the table says."""
    assert entry["event"] in BY_NAME, f"{entry['event']} is not in tests/events/table.py"
    event = BY_NAME[entry["event"]]
    fields = {field.name: field for field in documented(event)}
    assert entry["level"] in event.levels, f"{event.name} at level {entry['level']}"
    for name, value in entry.items():
        assert name in fields, f"{event.name}: {name} is not in tests/events/table.py"
        field = fields[name]
        assert type(value) is TYPES[field.kind], f"{event.name}: {name}: {value!r}: {field.kind}"
        assert value != "", f"{event.name}: {name} is empty, and should be absent"
        if field.values:
            assert value in field.values, (
                f"{event.name}: {name}: {value} is not in tests/events/table.py"
            )
    missing = {name for name, field in fields.items() if not field.absent} - entry.keys()
    assert not missing, f"{event.name}: without {sorted(missing)}"


def unseen(entries: Iterable[Entry]) -> list[str]:
    """The fields of the table that these lines lack. A common field that may be absent need not be
    on every event, but on some.
    """
    seen: dict[str, set[str]] = {event.name: set() for event in EVENTS}
    for entry in entries:
        seen[entry["event"]] |= entry.keys()
    anywhere = set().union(*seen.values())
    return [
        f"{event.name}: {field.name}"
        for event in EVENTS
        for field in documented(event)
        if field.name not in (anywhere if field in COMMON and field.absent else seen[event.name])
    ]
