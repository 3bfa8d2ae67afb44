"""YAML text -> values that know their file, line and column.

The one module that knows PyYAML, of which it uses the parser alone: scalars are read by YAML 1.2's
core rules, mappings refuse duplicate keys, and depth, size and aliases are bounded. What the values
mean is the business of `kinds` and `config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from worker.config import meant

MAX_FILE_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_ALIASED_VALUES = 10_000

Scalar = str | int | float | bool | None

LOADER = yaml.CSafeLoader  # libyaml, 30 times as fast; every wheel of PyYAML has it
# https://yaml.org/spec/1.2.2/#1032-tag-resolution, but for integers that start with a zero:
# 0200 may be meant as an octal number, a file mode or an identifier, so it stays text.
CORE_SCHEMA: tuple[tuple[re.Pattern[str], Callable[[str], Scalar]], ...] = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (
        re.compile(r"true|True|TRUE|false|False|FALSE"),
        lambda text: text in {"true", "True", "TRUE"},
    ),
    (re.compile(r"[-+]?(0|[1-9][0-9]{0,17})"), int),
    (re.compile(r"0o[0-7]{1,20}"), lambda text: int(text, 0)),
    (re.compile(r"0x[0-9a-fA-F]{1,15}"), lambda text: int(text, 0)),
    (
        re.compile(
            r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)\.[0-9]*|(0|[1-9][0-9]*)(?=[eE]))([eE][-+]?[0-9]+)?"
        ),
        float,
    ),
    (
        re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
        lambda text: float(text.replace(".", "")),
    ),
)
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# https://yaml.org/spec/1.2.2/#51-character-set
NOT_PRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
TEXT_TAGS = ("!", "tag:yaml.org,2002:str")
SECOND_DOCUMENT = "expected one document, got a second one: put all broadcasts into one list"
COLLECTION_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class ConfigError(NamedTuple):
    """One mistake. Lines and columns count from 1; a mistake of no one place has none."""

    file: str | None
    line: int | None
    column: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = [str(part) for part in (self.file, self.line, self.column) if part is not None]
        return ": ".join(filter(None, (":".join(place), self.key, self.message)))


class ConfigInvalid(Exception):
    """Everything that is wrong with the configuration."""

    def __init__(self, errors: list[ConfigError]) -> None:
        super().__init__("\n".join(map(str, errors)))
        files = {error.file: number for number, error in reversed(list(enumerate(errors)))}
        # As one would meet them, reading file by file.
        self.errors = sorted(errors, key=lambda e: (files[e.file], e.line or 0, e.column or 0))


class Place(NamedTuple):
    """Where something stands."""

    file: str
    line: int | None = None
    column: int | None = None

    def error(self, key: str, message: str) -> ConfigError:
        return ConfigError(self.file, self.line, self.column, key, message)


class Node(NamedTuple):
    """A value: a scalar, a list of nodes, or a mapping of keys to fields."""

    place: Place
    value: Scalar | tuple[Node, ...] | dict[str, Field]


class Field(NamedTuple):
    """A key of a mapping, by its place, and its value."""

    place: Place
    node: Node


def plain(node: Node) -> Any:
    """The value without its places."""
    if isinstance(node.value, dict):
        return {name: plain(field.node) for name, field in node.value.items()}
    return [plain(item) for item in node.value] if isinstance(node.value, tuple) else node.value


def join(path: str, key: str) -> str:
    """The path of a key in the mapping at `path`, as in `broadcasts[2].expect.status`."""
    if not re.fullmatch(r"[\w-]{1,60}", key, re.ASCII):
        key = repr(key[:60])
    return f"{path}.{key}" if path else key


def read(file: str, errors: list[ConfigError]) -> Node | None:
    """The one document of a file, or None; mistakes are added to `errors`."""
    try:
        with Path(file).open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        errors.append(Place(file).error("", f"expected a readable file, got: {reason}"))
        return None
    return parse(data, file, errors)


def parse(data: bytes, file: str, errors: list[ConfigError]) -> Node | None:
    """As `read`, of a file's content."""
    try:
        text = _decode(data, file)
        return _Builder(text, file, errors).document()
    except _Unreadable as error:
        errors.append(error.args[0])
    except yaml.YAMLError as error:
        errors.append(_syntax_error(error, file))
    return None


class _Unreadable(Exception):
    """Nothing can be made of the file; holds the ConfigError."""


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise _Unreadable(Place(file).error("", "expected at most 1 MiB of YAML, got more"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        message = f"expected UTF-8, got the byte 0x{data[error.start]:02x}"
        if data[:2] in UTF_16_MARKS:
            message = "expected UTF-8, got UTF-16: save it as UTF-8"
        raise _Unreadable(_place_after(before, file).error("", message)) from None
    if found := NOT_PRINTABLE.search(text):
        message = f"expected text, got the control character U+{ord(found[0]):04X}"
        raise _Unreadable(_place_after(text[: found.start()], file).error("", message))
    return text


def _place_after(text: str, file: str) -> Place:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return Place(file, len(lines), len(lines[-1]) + 1)


def _place(mark: yaml.Mark, file: str) -> Place:
    return Place(file, mark.line + 1, mark.column + 1)


def _syntax_error(error: yaml.YAMLError, file: str) -> ConfigError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = _place(mark, file) if mark else Place(file)
    problem = getattr(error, "problem", None) or "cannot be read"
    context = getattr(error, "context", None)
    said = f"{problem}{f' ({context})' if context else ''}"
    hint = next((hint for words, hint in meant.SYNTAX.items() if words in said), "")
    return place.error("", f"not YAML: {said}{f': {hint}' if hint else ''}")


class _Builder:
    """Makes nodes of the parser's events."""

    def __init__(self, text: str, file: str, errors: list[ConfigError]) -> None:
        self._file = file
        self._errors = errors
        self._events: Iterator[Any] = yaml.parse(text, Loader=LOADER)
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._values = 0  # so far, those that aliases repeat included
        self._aliased_values = 0

    def document(self) -> Node:
        node = Node(Place(self._file, 1, 1), None)
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._unreadable(event, "", SECOND_DOCUMENT)
                first = next(self._events)
                node = self._node(first, self._root(first), 0)
        return node

    @staticmethod
    def _root(event: yaml.Event) -> str:
        """A file that is a list is the list of broadcasts."""
        return "broadcasts" if isinstance(event, yaml.SequenceStartEvent) else ""

    def _node(self, event: Any, path: str, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        if depth > MAX_DEPTH:
            self._unreadable(event, path, f"expected at most {MAX_DEPTH} levels, got more")
        before = self._values
        self._values += 1
        value = self._value(event, path, depth)
        node = Node(_place(event.start_mark, self._file), value)
        if event.anchor:
            self._anchors[event.anchor] = (node, self._values - before)
        return node

    def _value(
        self, event: Any, path: str, depth: int
    ) -> Scalar | tuple[Node, ...] | dict[str, Field]:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        self._check_tag(event, path, COLLECTION_TAGS)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, depth)
        nodes: list[Node] = []
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            nodes.append(self._node(item, f"{path}[{len(nodes)}]", depth + 1))
        return tuple(nodes)

    def _mapping(self, path: str, depth: int) -> dict[str, Field]:
        fields: dict[str, Field] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            place = _place(event.start_mark, self._file)
            if not isinstance(event, yaml.ScalarEvent):
                hint = ": nothing is filled in between braces" if self._in_braces(event) else ""
                message = f"expected a key, got something else than text{hint}"
                self._unreadable(event, path, message)
            key = join(path, event.value)
            node = self._node(next(self._events), key, depth + 1)
            if event.value in fields:
                first = fields[event.value].place.line
                message = f"expected each key once, got it again (first in line {first})"
                self._errors.append(place.error(key, message))
            else:
                fields[event.value] = Field(place, node)
        return fields

    @staticmethod
    def _in_braces(event: Any) -> bool:
        """As a template's `{{ .Values.host }}` is."""
        return isinstance(event, yaml.MappingStartEvent) and bool(event.flow_style)

    def _scalar(self, event: yaml.ScalarEvent, path: str) -> Scalar:
        self._check_tag(event, path, TEXT_TAGS)
        text: str = event.value
        if event.tag is None and event.implicit[0]:
            for pattern, convert in CORE_SCHEMA:
                if pattern.fullmatch(text):
                    return convert(text)
        return text

    def _alias(self, event: yaml.AliasEvent, path: str) -> Node:
        anchor = event.anchor or ""
        if anchor not in self._anchors:
            self._unreadable(event, path, f"*{anchor} stands for nothing that ends above it")
        node, values = self._anchors[anchor]
        self._values += values
        self._aliased_values += values
        if self._aliased_values > MAX_ALIASED_VALUES:
            message = f"expected aliases for at most {MAX_ALIASED_VALUES} values, got more"
            self._unreadable(event, path, message)
        return node

    def _check_tag(self, event: Any, path: str, known: tuple[str, ...]) -> None:
        if event.tag is not None and event.tag not in known:
            place = _place(event.start_mark, self._file)
            self._errors.append(place.error(path, f"expected no tag, got {event.tag}"))

    def _unreadable(self, event: Any, path: str, message: str) -> None:
        raise _Unreadable(_place(event.start_mark, self._file).error(path, message))
