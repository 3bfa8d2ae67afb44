"""A configuration error with the line it is about and a caret below, as compilers show it.

For a person at a terminal. Of the line only what cannot hold a secret is shown: indentation, keys
that are known or named in the message, and values that a message may show; the rest is an ellipsis.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate
from pathlib import Path

from worker.config.keys import KEYS
from worker.config.load import FILE_KEYS
from worker.config.parts import AUTH, BACKOFF, BASIC, EXPECT, TLS
from worker.config.secret import WHERE
from worker.config.values import PEM
from worker.config.yaml import MAX_FILE_BYTES, ConfigError

ELLIPSIS = "…"
TAB = "→"
LEAST_COLUMNS = 20
TOP_KEYS = {key.name for key in KEYS}
# Of these, and of what stands below them, a value is shown.
SHOWN_KEYS = {key.name for key in KEYS if not key.secret}
NESTED_KEYS = {name for part in (AUTH, BACKOFF, BASIC, EXPECT, TLS, WHERE) for name in part.kinds}
KNOWN_KEYS = TOP_KEYS | NESTED_KEYS | set(FILE_KEYS)
TOP_KEY = re.compile(r"(?:defaults|broadcasts\[\d+\])\.([\w-]+)")
LAST_KEY = re.compile(r"([\w-]+)(?:\[\d+\])*$", re.ASCII)
LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # YAML 1.1's, by which libyaml counts


def with_line(error: ConfigError, columns: int = 80) -> str:
    """The error and, where its file can be read again, its line and a caret; no line end.

    Nothing in it steers a terminal.
    """
    return "\n".join(filter(None, (printable(str(error)), below(error, columns))))


def below(error: ConfigError, columns: int = 80) -> str:
    """The line and the caret alone; nothing if the file cannot be read again."""
    line = _line(error)
    return "" if line is None else render(error, line, columns)


def render(error: ConfigError, line: str, columns: int = 80) -> str:
    """What may be shown of the line, as much as fits around the caret, and the caret below."""
    gutter = f"{error.line:>5} | "
    room = max(columns - len(gutter), LEAST_COLUMNS)
    before, after = (_cells(part) for part in split(error, line))
    before = _fit(before, room * 2 // 3, keep_end=True)
    after = _fit(after, room - _width(before), keep_end=False)
    return f"{gutter}{before}{after}\n{'| ':>{len(gutter)}}{' ' * _width(before)}^"


def split(error: ConfigError, line: str) -> tuple[str, str]:
    """What may be shown of the line, before the error's column and from there on."""
    at = min((error.column or 1) - 1, len(line))
    indent = re.match(r"[\s-]*", line[:at])
    start = indent.end() if indent else 0
    found = LAST_KEY.search(error.key)
    key = found[1] if found else ""
    before, rest = line[:start], line[at:]
    if key and re.match(rf"[\"']?{re.escape(key)}[\"']?\s*:", rest):
        # The key is the mistake, and what its value is, nobody knows.
        return before + _left_out(start < at), f"{key}: {ELLIPSIS}"
    name = re.search(r"([\w-]+)[\"']?\s*:\s*$", line[:at], re.ASCII)
    if name and name[1] in {key, *KNOWN_KEYS}:
        before += _left_out(start < name.start(1)) + f"{name[1]}: "
    elif start < at:
        before += _first_key(line[start:at]) + _left_out(True)
    is_item = error.key.endswith("]")
    if (is_item or (name and name[1] == key)) and _may_be_shown(error.key, rest):
        value = _scalar(rest)
        return before, value + ELLIPSIS * (value != rest.rstrip())
    return before, _first_key(rest) + (ELLIPSIS if rest.strip() else "")


def _left_out(something: bool) -> str:
    return f"{ELLIPSIS} " if something else ""


def _first_key(text: str) -> str:
    """The key with which the text begins, if it is a known one."""
    found = re.match(r"(\s*)[\"']?([\w-]+)[\"']?\s*:(\s|$)", text, re.ASCII)
    return f"{found[1]}{found[2]}: " if found and found[2] in KNOWN_KEYS else ""


def _may_be_shown(path: str, text: str) -> bool:
    top = TOP_KEY.match(path)
    safe = top is not None and top[1] in SHOWN_KEYS
    # Not a URL with a password in it, a key in place of a word, or the start of a longer text.
    return safe and PEM not in text and "@" not in text and text[:1] not in {*"|>&!*"}


def _scalar(text: str) -> str:
    """The scalar at the start of a text, or the bracket of a collection."""
    if text[:1] in {"{", "["}:
        return text[0]
    quoted = re.match(r"'(?:[^']|'')*'|\"(?:[^\"\\]|\\.)*\"", text)
    plain = re.match(r"(?:(?!\s#|,\s|,$|[\]}\[{\"']|:\s|:$).)*", text)
    found = quoted or plain
    return found[0].rstrip() if found else ""


# --- as a terminal shows it -------------------------------------------------------------------


def printable(text: str) -> str:
    """Text in which no character steers a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _cells(text: str) -> str:
    return printable(text.replace("\t", TAB))


def _width(text: str) -> int:
    """How many columns of a terminal it takes."""
    return sum(_columns(c) for c in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _fit(text: str, columns: int, *, keep_end: bool) -> str:
    """As much of the start, or the end, as fits, with an ellipsis where something is missing."""
    if _width(text) <= columns:
        return text
    characters = text[::-1] if keep_end else text
    widths = accumulate(map(_columns, characters))
    kept = "".join(c for c, width in zip(characters, widths, strict=True) if width < columns)
    return ELLIPSIS + kept[::-1] if keep_end else kept + ELLIPSIS


def _line(error: ConfigError) -> str | None:
    """The line, from a file that can be read a second time: a pipe cannot."""
    if error.file is None or error.line is None or error.column is None:
        return None
    path = Path(error.file)
    try:
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            text = stream.read(MAX_FILE_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return None
    lines = LINE_BREAK.split(text)
    return lines[error.line - 1] if error.line <= len(lines) else None
