"""The kinds of value that a key can have: how each is read, and what the JSON Schema says of it.

Which keys there are is the business of `keys`. A kind that finds a mistake notes it in the Scope
and returns MISTAKEN, so that one reading finds all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from worker.config import meant
from worker.config.yaml import ConfigError, Node, Place, join, plain

Schema = dict[str, Any]

SHOWN_CHARACTERS = 60
NOT_SHOWN = "something else, which is not shown"

DURATION_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60}
DURATION_UNITS["h"] = 3600
# https://pkg.go.dev/time#ParseDuration, without a sign: nothing here can last less than nothing.
DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
DURATION = re.compile(rf"0|({DURATION_PART.pattern})+", re.ASCII)
DURATION_SCHEMA = r"^(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$"
PEM = "-----BEGIN"  # a key or a certificate where its path belongs


class Mistaken:
    """In place of a value that could not be read; the mistake is noted."""


MISTAKEN: Final = Mistaken()


class Scope:
    """What reading takes beside the text, and what it finds beside the values.

    `folder`: that of the file; paths in it are relative to it.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        errors: list[ConfigError],
        secrets: set[str],
    ) -> None:
        self.folder = folder
        self.environment = environment
        self.errors = errors
        self.secrets = secrets

    def fail(self, place: Place, path: str, message: str) -> Mistaken:
        self.errors.append(place.error(path, message))
        return MISTAKEN

    def expected(self, what: str, node: Node, path: str) -> Mistaken:
        return self.fail(node.place, path, f"expected {what}, got {describe(node)}")


class Kind(Protocol):
    """A kind of value."""

    def read(self, node: Node, path: str, scope: Scope) -> Any | Mistaken: ...

    def schema(self) -> Schema: ...


def describe(node: Node) -> str:
    """What stands there, for a message."""
    value = node.value
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return str(value)
    return shown(value)


def describe_secret(node: Node) -> str:
    """The same of what may be a secret."""
    return NOT_SHOWN if isinstance(node.value, (str, int, float)) else describe(node)


def shown(text: str) -> str:
    """A text as a message shows it: the start of it, in quotes where those say more."""
    if PEM in text:
        return NOT_SHOWN
    cut = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    plain = re.fullmatch(r"\S(.*\S)?", cut) and cut.isprintable()
    return cut if plain and not re.fullmatch(r"[\d.]+|true|false|null|nothing", cut) else repr(cut)


def write(suggestion: str) -> str:
    """The end of a message: what was probably meant, if that can be guessed."""
    return f": write {suggestion}" if suggestion else ""


def parse_duration(text: str) -> float:
    """Go's durations (`1m30s`), in seconds. Raises ValueError, which says what was expected."""
    if not DURATION.fullmatch(text):
        found = text if re.fullmatch(r"[0-9.]+", text) else shown(text)
        hint = write(meant.duration(text))
        raise ValueError(f"expected a duration such as 10s, got {found}{hint}")
    return sum(float(n) * DURATION_UNITS[unit] for n, unit in DURATION_PART.findall(text))


# --- scalars ------------------------------------------------------------------------------------


class Text(NamedTuple):
    """Text that a pattern describes."""

    what: str
    pattern: str  # one that Python and JSON Schema read alike
    secret: bool = False  # it may be meant to be one
    meant: Callable[[str], str] = str  # a guess, made of what stands there

    def read(self, node: Node, path: str, scope: Scope) -> str | Mistaken:
        value = node.value
        if self._matches(value):
            return str(value)
        found = describe_secret(node) if self.secret else describe(node)
        if isinstance(value, (int, float)):
            found += ": quote it if it is text"
        elif isinstance(value, str) and self._matches(guess := self.meant(value)):
            found += write(guess)
        return scope.fail(node.place, path, f"expected {self.what}, got {found}")

    def _matches(self, value: object) -> bool:
        return isinstance(value, str) and bool(re.fullmatch(self.pattern, value, re.ASCII))

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^({self.pattern})$"}


class Choice(NamedTuple):
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, node: Node, path: str, scope: Scope) -> str | Mistaken:
        if isinstance(node.value, str) and node.value in self.words:
            return node.value
        alike = [word for word in self.words if _alike(word, str(node.value).lower())]
        hint = write(alike[0] if len(alike) == 1 else "")
        message = f"expected one of {', '.join(self.words)}, got {describe(node)}{hint}"
        return scope.fail(node.place, path, message)

    def schema(self) -> Schema:
        return {"enum": list(self.words)}


def _alike(word: str, found: str) -> bool:
    return word in found or (bool(found) and found in word)


class Boolean:
    """true or false."""

    def read(self, node: Node, path: str, scope: Scope) -> bool | Mistaken:
        if isinstance(node.value, bool):
            return node.value
        message = f"expected true or false, got {describe(node)}{write(meant.truth(node.value))}"
        return scope.fail(node.place, path, message)

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Integer(NamedTuple):
    """A whole number."""

    least: int
    most: int

    def read(self, node: Node, path: str, scope: Scope) -> int | Mistaken:
        value = node.value
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
        if number is not None and self.least <= number <= self.most:
            return number
        digits = re.fullmatch(r"0*([0-9]{1,9})(\.0*)?", str(value), re.ASCII)
        near = digits and not isinstance(value, int) and self.least <= int(digits[1]) <= self.most
        found = describe(node) + write(digits[1] if digits and near else "")
        expected = f"a whole number from {self.least} to {self.most}"
        return scope.fail(node.place, path, f"expected {expected}, got {found}")

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


class Duration(NamedTuple):
    """A duration, in seconds when read."""

    most: str = "24h"
    zero: bool = True

    def read(self, node: Node, path: str, scope: Scope) -> float | Mistaken:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            return scope.expected("a duration such as 10s", node, path)
        try:
            seconds = parse_duration(str(value))
        except ValueError as error:
            return scope.fail(node.place, path, str(error))
        if seconds > parse_duration(self.most):
            return scope.expected(f"at most {self.most}", node, path)
        if not seconds and not self.zero:
            return scope.expected("a duration longer than nothing", node, path)
        return seconds

    def schema(self) -> Schema:
        text = {"type": "string", "pattern": DURATION_SCHEMA}
        return {"anyOf": [text, {"const": 0}]} if self.zero else text


class Converted(NamedTuple):
    """A kind of which the value becomes something else; `convert` may refuse it by ValueError."""

    kind: Kind
    convert: Callable[[Any], Any]

    def read(self, node: Node, path: str, scope: Scope) -> Any | Mistaken:
        value = self.kind.read(node, path, scope)
        if isinstance(value, Mistaken):
            return MISTAKEN
        try:
            return self.convert(value)
        except ValueError as error:
            return scope.fail(node.place, path, str(error))

    def schema(self) -> Schema:
        return self.kind.schema()


# --- collections --------------------------------------------------------------------------------


class ListOf(NamedTuple):
    """A list of values of one kind."""

    what: str
    kind: Kind
    least: int = 0

    def read(self, node: Node, path: str, scope: Scope) -> tuple[Any, ...] | Mistaken:
        if not isinstance(node.value, tuple) or len(node.value) < self.least:
            hint = write(_as_list(node))
            return scope.fail(node.place, path, f"expected {self.what}, got {describe(node)}{hint}")
        values = [self.kind.read(n, f"{path}[{i}]", scope) for i, n in enumerate(node.value)]
        return MISTAKEN if MISTAKEN in values else tuple(values)

    def schema(self) -> Schema:
        least = {"minItems": self.least} if self.least else {}
        return {"type": "array", "items": self.kind.schema(), **least}


def _as_list(node: Node) -> str:
    """What stands there as the list that is wanted there."""
    if node.value is None or isinstance(node.value, (dict, tuple)):
        return ""
    parts = [part.strip() for part in str(node.value).split(",")]
    return f"[{', '.join(parts)}]" if all(re.fullmatch(r"[\w./-]{1,20}", p) for p in parts) else ""


class Described(NamedTuple):
    """A kind of a key in a mapping, and what editors and the reference page say of that key."""

    kind: Kind
    description: str
    example: Any
    default: Any = None

    def read(self, node: Node, path: str, scope: Scope) -> Any | Mistaken:
        return self.kind.read(node, path, scope)

    def schema(self) -> Schema:
        default = {} if self.default is None else {"default": self.default}
        said = {"description": self.description, **default, "examples": [self.example]}
        return {**said, **self.kind.schema()}


class Fields(NamedTuple):
    """A mapping of which the keys are known."""

    what: str
    kinds: Mapping[str, Kind]
    required: tuple[str, ...] = ()
    secret: bool = False  # what stands there instead may be one
    short: Callable[[Any], str] = lambda _: ""  # a guess, made of a value instead of the mapping

    def read(self, node: Node, path: str, scope: Scope) -> dict[str, Any] | Mistaken:
        """Without the keys that are not there; MISTAKEN if there is any mistake in it."""
        if not isinstance(node.value, dict):
            found = describe_secret(node) if self.secret else describe(node)
            hint = write(self.short(plain(node)))
            return scope.fail(node.place, path, f"expected {self.what}, got {found}{hint}")
        errors = len(scope.errors)
        values = {}
        for name, (place, value) in node.value.items():
            if name in self.kinds:
                values[name] = self.kinds[name].read(value, join(path, name), scope)
            else:
                unknown_key(name, place, path, self.kinds, scope)
        for name in self.required:
            if name not in node.value:
                scope.fail(node.place, join(path, name), "expected this key, got nothing")
        return MISTAKEN if len(scope.errors) > errors else values

    def schema(self) -> Schema:
        required = {"required": list(self.required)} if self.required else {}
        return {
            "type": "object",
            "properties": {name: kind.schema() for name, kind in self.kinds.items()},
            "additionalProperties": False,
            **required,
        }


def unknown_key(
    name: str, place: Place, path: str, known: Collection[str], scope: Scope, hint: str = ""
) -> None:
    """Notes a key that means nothing, with what was probably meant."""
    scope.fail(place, join(path, name), f"unknown key: {hint or meant.key(name, known)}")
