"""`schema`: the JSON Schema of the configuration, for editors and CI."""

from __future__ import annotations

from collections.abc import Mapping

from worker.config.schema import json_schema
from worker.options import Options
from worker.stop import Stop
from worker.terminal.document import to_json


def run(_options: Options, _environment: Mapping[str, str], _stop: Stop) -> int:
    """Prints the schema. Returns the exit code."""
    print(to_json(json_schema()))
    return 0
