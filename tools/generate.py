"""Writes the documentation that is made from the program's tables (`make generated`).

tests/unit/test_generated.py fails when one of the files is out of date.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tools import configuration, events
from worker.config.schema import json_schema

ROOT = Path(__file__).parents[1]


def _json(schema: object) -> str:
    return json.dumps(schema, indent=2) + "\n"


# Each file, and what makes its text.
FILES: dict[str, Callable[[], str]] = {
    "docs/configuration.md": configuration.page,
    "docs/events.md": events.page,
    "docs/events.schema.json": lambda: _json(events.schema()),
    "config/schema.json": lambda: _json(json_schema()),
}

if __name__ == "__main__":
    for name, make in FILES.items():
        (ROOT / name).write_text(make())
