"""The kinds of value that a key can have: how each is read, and what the JSON Schema says of it.

Which keys there are is the business of `keys`. A kind that finds a mistake notes it in the Scope
and returns MISTAKEN, so that one reading finds all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from worker.source import ConfigError, Node, Place, join

Schema = dict[str, Any]

MAX_SECRET_BYTES = 64 * 1024
SHOWN_CHARACTERS = 60
NOT_SHOWN = "something else, which is not shown"

DURATION_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60}
DURATION_UNITS["h"] = 3600
# https://pkg.go.dev/time#ParseDuration, without a sign: nothing here can last less than nothing.
DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
DURATION = re.compile(rf"0|({DURATION_PART.pattern})+", re.ASCII)
DURATION_SCHEMA = r"^(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$"
SPELLED_OUT = re.compile(r"\s*([0-9.]+)\s*(milli|sec|min|hour|day|d$)\w*\s*", re.IGNORECASE)
SPELLED_UNITS = {"milli": (1, "ms"), "sec": (1, "s"), "min": (1, "m"), "hour": (1, "h")}


class Mistaken:
    """In place of a value that could not be read; the mistake is noted."""


MISTAKEN: Final = Mistaken()


@dataclass(slots=True)
class Scope:
    """What reading takes beside the text, and what it finds beside the values."""

    folder: Path  # that of the file: paths in it are relative to it
    environment: Mapping[str, str]
    errors: list[ConfigError] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)

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
        return "a list"
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
    cut = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    plain = re.fullmatch(r"\S(.*\S)?", cut) and cut.isprintable()
    return cut if plain and not re.fullmatch(r"[\d.]+|true|false|null|nothing", cut) else repr(cut)


def nearest(word: str, known: Collection[str]) -> str | None:
    """The known word that was probably meant."""
    from difflib import get_close_matches  # 5 ms, and most configurations are right

    return next(iter(get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)), None)


def parse_duration(text: str) -> float:
    """Go's durations (`1m30s`), in seconds. Raises ValueError, which says what was expected."""
    if not DURATION.fullmatch(text):
        meant = SPELLED_OUT.fullmatch(text)
        hint, found = "", shown(text)
        if meant:
            number, unit = meant[1], meant[2].lower()
            factor, short = SPELLED_UNITS.get(unit, (24, "h"))
            number = str(int(number) * factor) if number.isdigit() else number
            hint = f": write {number}{short}" if factor == 1 or number.isdigit() else ""
        elif re.fullmatch(r"[0-9]+", text):
            hint, found = f": write {text}s if seconds are meant", text
        raise ValueError(f"expected a duration such as 10s, got {found}{hint}")
    return sum(float(n) * DURATION_UNITS[unit] for n, unit in DURATION_PART.findall(text))


# --- scalars ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    """Text that a pattern describes."""

    what: str
    pattern: str  # one that Python and JSON Schema read alike
    secret: bool = False  # it may be meant to be one

    def read(self, node: Node, path: str, scope: Scope) -> str | Mistaken:
        value = node.value
        if isinstance(value, str) and re.fullmatch(self.pattern, value, re.ASCII):
            return value
        found = describe_secret(node) if self.secret else describe(node)
        if isinstance(value, (int, float)):
            found += ": quote it if it is text"
        return scope.fail(node.place, path, f"expected {self.what}, got {found}")

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^({self.pattern})$"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, node: Node, path: str, scope: Scope) -> str | Mistaken:
        if isinstance(node.value, str) and node.value in self.words:
            return node.value
        return scope.expected(f"one of {', '.join(self.words)}", node, path)

    def schema(self) -> Schema:
        return {"enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Boolean:
    """true or false."""

    def read(self, node: Node, path: str, scope: Scope) -> bool | Mistaken:
        return node.value if isinstance(node.value, bool) else scope.expected(TRUTH, node, path)

    def schema(self) -> Schema:
        return {"type": "boolean"}


TRUTH = "true or false"


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number."""

    least: int
    most: int

    def read(self, node: Node, path: str, scope: Scope) -> int | Mistaken:
        value = node.value
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
        if number is not None and self.least <= number <= self.most:
            return number
        return scope.expected(f"a whole number from {self.least} to {self.most}", node, path)

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Duration:
    """A duration, in seconds when read."""

    most: str = "24h"
    zero: bool = True

    def read(self, node: Node, path: str, scope: Scope) -> float | Mistaken:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, (str, int)):
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


@dataclass(frozen=True, slots=True)
class Converted:
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


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of values of one kind."""

    what: str
    kind: Kind
    least: int = 0

    def read(self, node: Node, path: str, scope: Scope) -> tuple[Any, ...] | Mistaken:
        if not isinstance(node.value, tuple) or len(node.value) < self.least:
            return scope.expected(self.what, node, path)
        values = [self.kind.read(n, f"{path}[{i}]", scope) for i, n in enumerate(node.value)]
        return MISTAKEN if MISTAKEN in values else tuple(values)

    def schema(self) -> Schema:
        least = {"minItems": self.least} if self.least else {}
        return {"type": "array", "items": self.kind.schema(), **least}


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping of which the keys are known."""

    what: str
    kinds: Mapping[str, Kind]
    required: tuple[str, ...] = ()
    secret: bool = False  # what stands there instead may be one

    def read(self, node: Node, path: str, scope: Scope) -> dict[str, Any] | Mistaken:
        """Without the keys that are not there; MISTAKEN if there is any mistake in it."""
        if not isinstance(node.value, dict):
            found = describe_secret(node) if self.secret else describe(node)
            return scope.fail(node.place, path, f"expected {self.what}, got {found}")
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
    if not hint:
        meant = nearest(name, known)
        hint = f"did you mean {meant}?" if meant else f"there are {', '.join(known)}"
    scope.fail(place, join(path, name), f"unknown key: {hint}")


# --- secrets ------------------------------------------------------------------------------------

ENV_NAME = Text("the name of an environment variable", r"[A-Za-z_][A-Za-z0-9_.-]*")
FILE_PATH = Text("a path", r"[^\x00]+")
WHERE = Fields("{env: NAME} or {file: PATH}", {"env": ENV_NAME, "file": FILE_PATH})


@dataclass(frozen=True, slots=True)
class Secret:
    """A value from the environment or a file; `literal` says what may stand there instead."""

    what: str
    pattern: str
    literal: bool = False

    def read(self, node: Node, path: str, scope: Scope) -> str | Mistaken:
        if self.literal and not isinstance(node.value, dict):
            return Text(self.what, self.pattern, secret=True).read(node, path, scope)
        if not isinstance(node.value, dict):
            found = f"{describe_secret(node)}: a configuration is no place for a secret"
            return scope.fail(node.place, path, f"expected {WHERE.what}, got {found}")
        where = WHERE.read(node, path, scope)
        if isinstance(where, Mistaken):
            return MISTAKEN
        if len(where) != 1:
            return scope.fail(node.place, path, f"expected either {WHERE.what}, got both or none")
        value = self._from_env(where["env"], scope) if "env" in where else None
        if "file" in where:
            value = _from_file(scope.folder / where["file"])
        if isinstance(value, _Lack):
            return scope.fail(node.place, path, value.message)
        return self._check(value or "", node, path, scope)

    @staticmethod
    def _from_env(name: str, scope: Scope) -> str | _Lack:
        if name not in scope.environment:
            return _Lack(f"expected the environment variable {name}, which is not set")
        return scope.environment[name]

    def _check(self, value: str, node: Node, path: str, scope: Scope) -> str | Mistaken:
        """A secret that cannot be used is not shown."""
        problem = ""
        if not value:
            problem = "an empty one"
        elif re.search(r"[\x00-\x1f\x7f-\x9f]", value):
            problem = "one with a control character"
        elif re.search("[\ud800-\udfff]", value):
            problem = "one that is not UTF-8"
        elif not re.fullmatch(self.pattern, value, re.ASCII):
            problem = NOT_SHOWN
        if problem:
            return scope.fail(node.place, path, f"expected {self.what}, got {problem}")
        scope.secrets.add(value)
        return value

    def schema(self) -> Schema:
        where = WHERE.schema() | {"minProperties": 1, "maxProperties": 1}
        if not self.literal:
            return where
        return {"anyOf": [Text(self.what, self.pattern).schema(), where]}


@dataclass(frozen=True, slots=True)
class _Lack:
    message: str


def _from_file(path: Path) -> str | _Lack:
    """The file's text without one line end: kubectl and editors add one."""
    data = read_file(path, MAX_SECRET_BYTES)
    if isinstance(data, str):
        return _Lack(data)
    text = data.decode(errors="surrogateescape")
    return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")


def read_file(path: Path, most: int) -> bytes | str:
    """A file's content, or else what is wrong with the file."""
    try:
        with path.open("rb") as stream:
            data = stream.read(most + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return f"expected a readable file at {path}, got: {reason}"
    if len(data) > most:
        return f"expected at most {most} bytes in {path}, got more"
    return data
