"""Shortens a history, and writes found.py: for each broken rule of broken.py one that shows it.

Not by Hypothesis, whose shrinking takes minutes for each.
"""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.simulation.cluster import Scenario
from worker.model import Broadcast, Verify

FILE = Path(__file__).with_name("found.py")
ALIKE = {"name", "exchange", "url"}  # of all broadcasts here
HEAD = '''"""A history for each broken rule of broken.py. Written by `make simulate`."""

from __future__ import annotations

from tests.records import broadcast, verified
from tests.simulation.cluster import Cache, Fault, History, PodState, Scenario

HISTORIES: dict[str, Scenario] = {
'''


def write(histories: Mapping[str, Scenario]) -> None:
    """Stores the histories, by the names of the broken rules."""
    lines = [f"    {name!r}: {source(history)},\n" for name, history in sorted(histories.items())]
    FILE.write_text("".join([HEAD, *lines, "}\n"]))
    for command in (["format"], ["check", "--fix"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, "--quiet", str(FILE)], check=True)


def source(value: object) -> str:
    """The expression that makes this value, without what is a default."""
    if isinstance(value, Broadcast):
        fields = dict(_fields(value)) | dict(_fields(value.exchange))
        others = (f"{name}={source(each)}" for name, each in fields.items() if name not in ALIKE)
        return f"broadcast({', '.join(others)})"
    if isinstance(value, Verify):
        times = dict(_fields(value)).keys() - {"exchange"}
        return (
            f"verified({', '.join(f'{name}={getattr(value, name)!r}' for name in sorted(times))})"
        )
    if fields := dict(_fields(value)):
        arguments = [f"{name}={source(each)}" for name, each in fields.items()]
        return f"{type(value).__name__}({', '.join(arguments)})"
    if isinstance(value, tuple):
        return f"({''.join(f'{source(each)}, ' for each in value)})"
    return "float('inf')" if value == math.inf else repr(value)


def shortened(scenario: Scenario, shows: Callable[[Scenario], bool]) -> Scenario:
    """The scenario without whatever can be left out of it, one by one, so that it still shows."""
    for shorter in _shorter(scenario):
        try:
            still = shows(shorter)
        except (ArithmeticError, LookupError, RuntimeError, StopIteration, ValueError):
            continue  # that cannot be left out
        if still:
            return shortened(shorter, shows)
    return scenario


def _shorter(value: Any) -> Iterator[Any]:
    """Like the value, but for one thing: left out of a list, or as it is by default."""
    if fields := dict(_fields(value)):
        defaults = _defaults(value)
        for name, each in fields.items():
            smaller = [defaults[name]] if defaults[name] is not dataclasses.MISSING else []
            for one in (*smaller, *_shorter(each)):
                yield _replaced(value, name, one)
    elif isinstance(value, tuple):
        for index, each in enumerate(value):
            before, after = value[:index], value[index + 1 :]
            yield before + after
            for one in _shorter(each):
                yield (*before, one, *after)


def _replaced(record: Any, name: str, value: object) -> Any:
    if dataclasses.is_dataclass(record):
        return dataclasses.replace(record, **{name: value})  # type: ignore[type-var]
    return record._replace(**{name: value})


def _defaults(value: object) -> dict[str, object]:
    """What the class of a record has for each field, MISSING where it has nothing."""
    if dataclasses.is_dataclass(value):
        return {field.name: field.default for field in dataclasses.fields(value)}
    names = getattr(value, "_fields", ())
    return dict.fromkeys(names, dataclasses.MISSING) | getattr(value, "_field_defaults", {})


def _fields(value: object) -> Iterator[tuple[str, object]]:
    """The fields of a record that are not as its class has them by default."""
    for name, default in _defaults(value).items():
        if getattr(value, name) != default:
            yield name, getattr(value, name)
