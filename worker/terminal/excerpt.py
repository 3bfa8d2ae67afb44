"""A configuration error with its line of the file and a caret below it, as compilers show it.

For a person at a terminal. A line is shown whole, without its comment, if every value that reaches
into it belongs to a key that holds no secret; otherwise it is not shown at all.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from worker.config.errors import ConfigError, ConfigInvalid, Errors, Place
from worker.config.keys import KEYS
from worker.config.load import FILE_KEYS
from worker.config.values import PEM
from worker.config.yaml import MAX_FILE_BYTES, Node, parse
from worker.log.formats import printable

ELLIPSIS = "…"
TAB = "→"
LEAST_COLUMNS = 20
LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # YAML 1.1's, by which libyaml counts

PUBLIC_KEYS = {key.name: key.kind.schema() for key in KEYS if not key.secret}
PUBLIC_PATHS = PUBLIC_KEYS.keys() | {
    f"{name}.{part}" for name, kind in PUBLIC_KEYS.items() for part in kind.get("properties", ())
}
SHOWN_PATHS = {f"{top}.{path}" for top in FILE_KEYS for path in PUBLIC_PATHS}


def with_line(error: ConfigError, columns: int = 80) -> str:
    """The error, and its line with a caret if that can be shown; no line end.

    No character in it steers a terminal.
    """
    return "\n".join(filter(None, (printable(str(error)), below(error, columns))))


def below(error: ConfigError, columns: int = 80) -> str:
    """The line and the caret alone, at most so many columns wide; empty if it is not shown."""
    if error.file is None or error.line is None or error.column is None:
        return ""
    lines = _lines(Path(error.file))
    line = lines[error.line - 1].partition("#")[0].rstrip() if error.line <= len(lines) else ""
    if error.column > len(line) or not _is_public(lines, error.line):
        return ""
    gutter = f"{error.line:>5} | "
    room = max(columns - len(gutter), LEAST_COLUMNS)
    at = error.column - 1
    before, after = (printable(part.replace("\t", TAB)) for part in (line[:at], line[at:]))
    before = _fit(before[::-1], room * 2 // 3)[::-1]
    after = _fit(after, room - _width(before))
    return f"{gutter}{before}{after}\n{'| ':>{len(gutter)}}{' ' * _width(before)}^"


def _lines(path: Path) -> list[str]:
    """Those of a file that can be read a second time: a pipe cannot."""
    try:
        if not path.is_file():
            return []
        with path.open("rb") as stream:
            text = stream.read(MAX_FILE_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return []
    return LINE_BREAK.split(text)


# --- what is no secret --------------------------------------------------------------------------


class _Start(NamedTuple):
    """Where a key or a scalar begins, and whether it is certainly no secret."""

    line: int
    column: int
    public: bool


def _is_public(lines: Sequence[str], number: int) -> bool:
    """Whether no value that reaches into the line can be a secret.

    Those are the values that begin on it and, unless the first of them is the first thing on the
    line, the last one that begins above it.
    """
    line = lines[number - 1]
    try:
        starts = _starts(lines)
    except ConfigInvalid:
        # Not YAML, so nobody knows which text belongs to which value. The line is shown if it is
        # YAML by itself, and there is no place for a secret in it or anywhere above.
        try:
            above, own = _starts(lines[: number - 1]), _starts(["- " + line.lstrip("- \t")])
        except ConfigInvalid:
            return False
        return all(start.public for start in above + own)
    own = [start for start in starts if start.line == number]
    indentation = line[: own[0].column - 1] if own else line
    if indentation.strip(" -"):
        last = max((start[:2] for start in starts if start.line < number), default=None)
        own += [start for start in starts if start[:2] == last]
    return all(start.public for start in own)


def _starts(lines: Sequence[str]) -> list[_Start]:
    """Those of all values of a text. Raises ConfigInvalid if any of it cannot be read."""
    errors = Errors()
    root = parse("\n".join(lines).encode(), "", errors)
    errors.raise_any()
    return sorted(_walk(root)) if lines else []


def _walk(node: Node) -> Iterator[_Start]:
    if isinstance(node.value, dict):
        for place, value in node.value.values():
            yield _start(place)
            yield from _walk(value)
    elif isinstance(node.value, tuple):
        for item in node.value:
            yield from _walk(item)
    else:
        yield _start(node.place, str(node.value))


def _start(place: Place, text: str = "") -> _Start:
    path = ".".join(part.partition("[")[0] for part in place.key.split("."))
    # A URL may hold a password: an @, or a colon before something else than // or a port. A key may
    # be written in place of a name.
    ports = [part.partition("/")[0] for part in text.split(":")[1:]]
    safe = "@" not in text and PEM not in text and all(p.isdecimal() or not p for p in ports)
    public = path in SHOWN_PATHS if text else path in {*SHOWN_PATHS, *FILE_KEYS}
    return _Start(place.line or 0, place.column or 0, public and safe)


# --- as a terminal shows it ---------------------------------------------------------------------


def _width(text: str) -> int:
    """How many columns of a terminal it takes."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _fit(text: str, columns: int) -> str:
    """As much of the start as fits, with an ellipsis if something is missing."""
    if _width(text) <= columns:
        return text
    widths = accumulate(map(_columns, text))
    return "".join(c for c, width in zip(text, widths, strict=True) if width < columns) + ELLIPSIS
