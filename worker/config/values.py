"""The kinds of value that a key can have: how each is read, and what the JSON Schema says of it.

A kind returns what the Broadcast needs, or raises ConfigInvalid. Which keys there are is decided in
`keys`; kinds that only one key has are in `parts`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol
from unicodedata import normalize
from urllib.parse import unquote

from worker.config.errors import Errors, Place
from worker.config.yaml import Member, Node, join
from worker.model import BodyFile

Schema = dict[str, Any]

SHOWN_CHARACTERS = 60  # of a value, in a message
NOT_SHOWN = "a value that is not shown"
PEM = "-----BEGIN"  # a key or a certificate where its path belongs
NEVER_SUGGESTED = "insecure_skip_verify"
LEAST_LIKENESS = 0.75  # difflib's own 0.6 takes `status` for `tags`

DURATION_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60}
DURATION_UNITS["h"] = 3600
# https://pkg.go.dev/time#ParseDuration, without a sign: no duration here is negative.
DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
MAX_DURATION_CHARACTERS = 100  # its pattern can be read in many ways, which takes its time
DURATION = re.compile(rf"0|({DURATION_PART.pattern})+", re.ASCII)
DURATION_SCHEMA = r"^(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$"
WORDS_OF_UNITS = {
    "ms": "ms msec msecs millisecond milliseconds",
    "s": "s sec secs second seconds",
    "m": "m min mins minute minutes",
    "h": "h hr hrs hour hours",
}
LONGEST = "24h"


class Scope(NamedTuple):
    """The inputs of reading beside the text, and its results beside the values.

    Relative paths start at `folder`, the configuration file's. `secrets`, `names` (of broadcasts),
    `body_files` and `texts` (of other files) grow while all files are read, and `referred` counts
    the characters of which JSON has copies.
    """

    folder: Path
    environment: Mapping[str, str]
    secrets: set[str]
    names: dict[str, Place]
    body_files: dict[Path, BodyFile]
    texts: dict[Path, str]
    referred: Counter[str]


class Kind(Protocol):
    """A kind of value."""

    def read(self, node: Node, scope: Scope) -> Any: ...

    def schema(self) -> Schema: ...


# --- messages -----------------------------------------------------------------------------------


def describe(node: Node, secret: bool = False) -> str:
    """The value, for a message; only its kind if it may be a secret."""
    value = node.value
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if secret:
        return NOT_SHOWN
    return shown(value) if isinstance(value, str) else str(value)


def shown(text: str) -> str:
    """The start of a text, in quotes where it would be misread without them.

    Never that of a key, or of what may have a user and a password before an @, however spelt.
    """
    read = normalize("NFKC", unquote(text))
    if PEM in text or 0 <= read.find(":") < read.rfind("@"):
        return NOT_SHOWN
    cut = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    plain = re.fullmatch(r"\S(.*\S)?", cut) and cut.isprintable()
    return cut if plain and not re.fullmatch(r"[\d.]+|true|false|null|nothing", cut) else repr(cut)


def nearest(word: str, known: Collection[str]) -> str:
    """The known word that is spelled most alike; empty if none is alike enough.

    Never the key that turns verification off: nobody is to come to it by a spelling mistake.
    """
    from difflib import get_close_matches  # 5 ms, and most configurations have no error

    words = [name for name in known if name != NEVER_SUGGESTED]
    return next(iter(get_close_matches(word.lower(), words, n=1, cutoff=LEAST_LIKENESS)), "")


def read_keys(
    fields: Mapping[str, Member],
    kinds: Mapping[str, Kind],
    scope: Scope,
    errors: Errors,
    hints: Mapping[str, str],
) -> dict[str, Any]:
    """The values that can be read. `hints` are for keys that are not in `kinds`."""
    values = {}
    for name, (place, node) in fields.items():
        with errors:
            if name not in kinds:
                hint = hints.get(name) or hint_for_key(name, fields, kinds)
                raise place.error(f"unknown key: {hint}")
            values[name] = kinds[name].read(node, scope)
    return values


def hint_for_key(name: str, fields: Collection[str], known: Collection[str]) -> str:
    """The hint about an unknown key that is one of the fields."""
    near = nearest(name, [key for key in known if key not in fields])
    if near:
        return f"did you mean {near}?"
    return f"the keys here are {', '.join(key for key in known if key != NEVER_SUGGESTED)}"


# --- scalars ------------------------------------------------------------------------------------


class Text(NamedTuple):
    """Text that matches a pattern, which Python and JSON Schema read alike.

    `most`: characters that it may have; None if the file is the only limit.
    """

    what: str
    pattern: str
    secret: bool = False  # it may be one
    most: int | None = 4096  # as many as a path may have on Linux

    def read(self, node: Node, _scope: Scope) -> str:
        if isinstance(node.value, str) and self.most and len(node.value) > self.most:
            raise node.error(f"expected at most {self.most} characters, got {len(node.value)}")
        if self._matches(node.value):
            return str(node.value)
        is_number = isinstance(node.value, (int, float))
        hint = ": quote it if it is text" if is_number and self._matches(str(node.value)) else ""
        raise node.error(f"expected {self.what}, got {describe(node, self.secret)}{hint}")

    def _matches(self, value: object) -> bool:
        return isinstance(value, str) and bool(re.fullmatch(self.pattern, value, re.ASCII))

    def schema(self) -> Schema:
        most = {"maxLength": self.most} if self.most else {}
        return {"type": "string", "pattern": f"^({self.pattern})$", **most}


class Choice(NamedTuple):
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, node: Node, _scope: Scope) -> str:
        if isinstance(node.value, str) and node.value in self.words:
            return node.value
        raise node.error(f"expected one of {', '.join(self.words)}, got {describe(node)}")

    def schema(self) -> Schema:
        return {"enum": list(self.words)}


class Boolean:
    """true or false."""

    def read(self, node: Node, _scope: Scope) -> bool:
        if isinstance(node.value, bool):
            return node.value
        raise node.error(f"expected true or false, got {describe(node)}")

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Integer(NamedTuple):
    """A whole number."""

    least: int
    most: int

    def read(self, node: Node, _scope: Scope) -> int:
        value = node.value
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
        if number is not None and self.least <= number <= self.most:
            return number
        expected = f"a whole number from {self.least} to {self.most}"
        raise node.error(f"expected {expected}, got {describe(node)}")

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


def parse_duration(text: str) -> float:
    """Go's durations (`1m30s`), in seconds. Raises ValueError, which says what was expected."""
    if len(text) > MAX_DURATION_CHARACTERS or not DURATION.fullmatch(text):
        found = text if re.fullmatch(r"[0-9.]{1,30}", text) else shown(text)
        raise ValueError(f"expected a duration such as 10s, got {found}")
    return sum(float(n) * DURATION_UNITS[unit] for n, unit in DURATION_PART.findall(text))


def write_duration(seconds: float) -> str:
    """A duration as it can be written in a configuration, in the largest unit that fits it."""
    nanoseconds = round(seconds * 1e9)
    sizes = {unit: round(DURATION_UNITS[unit] * 1e9) for unit in ("h", "m", "s", "ms", "us", "ns")}
    unit = next(u for u, size in sizes.items() if nanoseconds % size == 0) if nanoseconds else "s"
    return f"{nanoseconds // sizes[unit]}{unit}"


class Duration(NamedTuple):
    """A duration, in seconds when read."""

    zero: bool = True

    def read(self, node: Node, scope: Scope) -> float:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise node.error(f"expected a duration such as 10s, got {describe(node)}")
        try:
            seconds = parse_duration(str(value))
        except ValueError as error:
            raise node.error(f"{error}{self._hint(str(value), node, scope)}") from None
        if seconds > parse_duration(LONGEST):
            raise node.error(f"expected at most {LONGEST}, got {value}")
        if not seconds and not self.zero:
            raise node.error(f"expected a duration greater than zero, got {value}")
        return seconds

    def _hint(self, text: str, node: Node, scope: Scope) -> str:
        guess = _with_units(text)
        if guess:
            with Errors():  # it may be out of bounds
                self.read(node._replace(value=guess), scope)
                return hint_for_duration(text)
        return ""

    def schema(self) -> Schema:
        length = {"maxLength": MAX_DURATION_CHARACTERS}
        text = {"type": "string", "pattern": DURATION_SCHEMA, **length}
        return {"anyOf": [text, {"const": 0}]} if self.zero else text


def hint_for_duration(text: str) -> str:
    """The hint about a text that is no duration; empty if its meaning cannot be guessed."""
    guess = _with_units(text)
    meant = " if seconds are meant" if guess == f"{text}s" else ""
    return f": write {guess}{meant}" if guess else ""


def _with_units(text: str) -> str:
    """`10`, `10 minutes` or `1 hour and 30 min` with Go's units; empty if it is none of these."""
    if len(text) > MAX_DURATION_CHARACTERS:
        return ""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return f"{text}s"
    units = {word: unit for unit, words in WORDS_OF_UNITS.items() for word in words.split()}
    part = rf"([0-9]+(?:\.[0-9]+)?)\s*({'|'.join(sorted(units, key=len, reverse=True))})\b"
    if not re.fullmatch(rf"({part}[\s,]*(and )?)+", text.lower(), re.ASCII):
        return ""
    return "".join(n + units[word] for n, word in re.findall(part, text.lower(), re.ASCII))


# --- collections --------------------------------------------------------------------------------


class ListOf(NamedTuple):
    """A list of values of one kind."""

    what: str
    kind: Kind
    least: int = 0

    def read(self, node: Node, scope: Scope) -> tuple[Any, ...]:
        if not isinstance(node.value, tuple) or len(node.value) < self.least:
            raise node.error(f"expected {self.what}, got {describe(node)}")
        errors, values = Errors(), []
        for item in node.value:
            with errors:
                values.append(self.kind.read(item, scope))
        errors.raise_any()
        return tuple(values)

    def schema(self) -> Schema:
        least = {"minItems": self.least} if self.least else {}
        return {"type": "array", "items": self.kind.schema(), **least}


class Described(NamedTuple):
    """A kind of a key in a mapping, and what editors and the reference page say of that key."""

    kind: Kind
    description: str
    example: Any
    default: Any = None

    def read(self, node: Node, scope: Scope) -> Any:
        return self.kind.read(node, scope)

    def schema(self) -> Schema:
        default = {} if self.default is None else {"default": self.default}
        said = {"description": self.description, **default, "examples": [self.example]}
        return {**said, **self.kind.schema()}


class Fields(NamedTuple):
    """A mapping of which the keys are known; a dictionary of those that are there, when read."""

    what: str
    kinds: Mapping[str, Kind]
    required: tuple[str, ...] = ()
    exactly_one: bool = False  # of the keys
    secret: bool = False  # a value in place of the mapping may be one

    def read(self, node: Node, scope: Scope) -> dict[str, Any]:
        if not isinstance(node.value, dict):
            raise node.error(f"expected {self.what}, got {describe(node, self.secret)}")
        errors = Errors()
        values = read_keys(node.value, self.kinds, scope, errors, {})
        for name in self.required:
            if name not in node.value:
                place = node.place._replace(key=join(node.place.key, name))
                errors.add(place.error("this key is required"))
        errors.raise_any()
        if self.exactly_one and len(values) != 1:
            found = "both" if values else "neither"
            raise node.error(f"expected either {self.what}, got {found}")
        return values

    def schema(self) -> Schema:
        required = {"required": list(self.required)} if self.required else {}
        one = {"minProperties": 1, "maxProperties": 1} if self.exactly_one else {}
        return {
            "type": "object",
            "properties": {name: kind.schema() for name, kind in self.kinds.items()},
            "additionalProperties": False,
            **required,
            **one,
        }


class Converted(NamedTuple):
    """A kind of which the value becomes something else; `convert` may raise ConfigInvalid."""

    kind: Kind
    convert: Callable[[Any, Node, Scope], Any]
    more: Mapping[str, Any] = MappingProxyType({})  # of the schema, beside the kind's own

    def read(self, node: Node, scope: Scope) -> Any:
        return self.convert(self.kind.read(node, scope), node, scope)

    def schema(self) -> Schema:
        return self.kind.schema() | dict(self.more)
