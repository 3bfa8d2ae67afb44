"""YAML text -> nodes that know their file, line, column and key.

The one module that knows PyYAML, of which it uses the parser alone: scalars are read by YAML 1.2's
core schema, duplicate keys are refused, and depth, size and aliases are bounded. What the values
mean is decided in `values` and `load`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from worker.config.errors import ConfigInvalid, Errors, Place

MAX_FILE_BYTES = 1024 * 1024  # a ConfigMap holds no more
MAX_DEPTH = 32  # `_node` is recursive
MAX_VALUES = 100_000  # about a second's work
# Aliases of aliases grow exponentially; as `json`, each repeats the whole text it stands for.
MAX_ALIASED_VALUES = 10_000
MAX_ALIASED_CHARACTERS = MAX_FILE_BYTES

Scalar = str | int | float | bool | None

LOADER = yaml.CSafeLoader  # libyaml, 30 times as fast; every wheel of PyYAML has it
# https://yaml.org/spec/1.2.2/#1032-tag-resolution, but for integers that start with a zero:
# 0200 may be meant as an octal number, a file mode or an identifier, so it stays text.
WHOLE = "(0|[1-9][0-9]*)"
CORE_SCHEMA: dict[str, Callable[[str], Scalar]] = {
    r"null|Null|NULL|~|": lambda _: None,
    r"true|True|TRUE|false|False|FALSE": lambda text: text.lower() == "true",
    r"[-+]?(0|[1-9][0-9]{0,17})": int,
    r"0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}": lambda text: int(text, 0),
    rf"[-+]?(\.[0-9]+|{WHOLE}\.[0-9]*|{WHOLE}(?=[eE]))([eE][-+]?[0-9]+)?": float,
    r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)": lambda text: float(text.replace(".", "")),
}
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# https://yaml.org/spec/1.2.2/#51-character-set
NOT_PRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
TEXT_TAGS = ("!", "tag:yaml.org,2002:str")
COLLECTION_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
INDENTATION = "is this key indented like the keys above it?"
SPACES = "indent with spaces, not with a tab"
# Advice where libyaml's own words give none.
HINTS = {
    "found a tab character": SPACES,
    "found character that cannot start any token": "put the text into quotes",
    "mapping values are not allowed": "put a text with `: ` into quotes, or indent this key like "
    "the keys above it",
    "did not find expected '-' indicator": INDENTATION,
    "did not find expected key": INDENTATION,
}


class Node(NamedTuple):
    """A value: a scalar, a list of nodes, or a mapping of keys to fields."""

    place: Place
    value: Scalar | tuple[Node, ...] | dict[str, Member]

    def error(self, message: str) -> ConfigInvalid:
        """The exception to raise about the value."""
        return self.place.error(message)


class Member(NamedTuple):
    """The place of a key in a mapping, and its value."""

    place: Place
    node: Node


def plain(node: Node) -> Any:
    """The value without its places."""
    if isinstance(node.value, dict):
        return {name: plain(field.node) for name, field in node.value.items()}
    return [plain(item) for item in node.value] if isinstance(node.value, tuple) else node.value


def join(path: str, key: str) -> str:
    """The path of a key in the mapping at `path`, as in `broadcasts[2].expect.status`.

    Of `{bearer:hunter2}`, which without a space is one key, only what is before the colon is shown.
    """
    if not re.fullmatch(r"[\w-]{1,60}", key, re.ASCII):
        name, colon, _ = key[:60].partition(":")
        key = repr(f"{name}:…" if colon else name)
    return f"{path}.{key}" if path else key


def read(file: str, errors: Errors) -> Node:
    """The one document of a file. Raises ConfigInvalid if nothing can be made of it.

    `errors` collects those that leave something to read: duplicate keys and tags.
    """
    try:
        with Path(file).open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Place(file).error(f"expected a readable file, got: {reason}") from None
    return parse(data, file, errors)


def parse(data: bytes, file: str, errors: Errors) -> Node:
    """As `read`, but of a file's content."""
    text = _decode(data, file)
    try:
        return _Builder(text, file, errors).document()
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, file) from None


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise Place(file).error("expected at most 1 MiB of YAML, got more")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"expected UTF-8, got the byte 0x{data[error.start]:02x}"
        if data[:2] in UTF_16_MARKS:
            message = "expected UTF-8, got UTF-16: save it as UTF-8"
        raise _place_after(data[: error.start].decode(), file).error(message) from None
    if found := NOT_PRINTABLE.search(text):
        message = f"expected text, got the control character U+{ord(found[0]):04X}"
        raise _place_after(text[: found.start()], file).error(message)
    return text


def _place_after(text: str, file: str) -> Place:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return Place(file, len(lines), len(lines[-1]) + 1)


def _syntax_error(error: yaml.YAMLError, text: str, file: str) -> ConfigInvalid:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
    problem = getattr(error, "problem", None) or "cannot be read"
    context = getattr(error, "context", None)
    said = f"{problem} ({context})" if context else problem
    hint = next((hint for words, hint in HINTS.items() if words in said), "")
    if hint and mark and text[mark.index : mark.index + 1] == "\t":
        hint = SPACES
    return place.error(f"not YAML: {said}{hint and f': {hint}'}")


class _Builder:
    """Makes nodes of the parser's events."""

    def __init__(self, text: str, file: str, errors: Errors) -> None:
        self._file = file
        self._errors = errors
        self._events: Iterator[Any] = yaml.parse(text, Loader=LOADER)
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        # So far, with those that aliases repeat, and those alone.
        self._values = self._characters = 0
        self._aliased_values = self._aliased_characters = 0

    def document(self) -> Node:
        node = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node:
                    message = "expected one document, got a second one: put all broadcasts into one"
                    raise self._place(event, "").error(f"{message} list")
                first = next(self._events)
                # A file that is a list is the list of broadcasts.
                is_list = isinstance(first, yaml.SequenceStartEvent)
                node = self._node(first, "broadcasts" if is_list else "", 0)
        return node or Node(Place(self._file, 1, 1), None)

    def _place(self, event: Any, key: str) -> Place:
        mark = event.start_mark
        return Place(self._file, mark.line + 1, mark.column + 1, key)

    def _node(self, event: Any, key: str, depth: int) -> Node:
        place = self._place(event, key)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor or "", place)
        if depth > MAX_DEPTH:
            raise place.error(f"expected at most {MAX_DEPTH} levels, got more")
        values, characters = self._values, self._characters
        self._values += 1
        if self._values > MAX_VALUES:
            raise place.error(f"expected at most {MAX_VALUES} values in a file, got more")
        node = Node(place, self._value(event, place, depth))
        if event.anchor:
            size = self._values - values, self._characters - characters
            self._anchors[event.anchor] = (node, *size)
        return node

    def _value(
        self, event: Any, place: Place, depth: int
    ) -> Scalar | tuple[Node, ...] | dict[str, Member]:
        is_scalar = isinstance(event, yaml.ScalarEvent)
        if event.tag not in {None, *(TEXT_TAGS if is_scalar else COLLECTION_TAGS)}:
            self._errors.add(place.error(f"expected no tag, got {event.tag}"))
        if is_scalar:
            self._characters += len(event.value)
            return _scalar(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(place.key, depth)
        nodes: list[Node] = []
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            nodes.append(self._node(item, f"{place.key}[{len(nodes)}]", depth + 1))
        return tuple(nodes)

    def _mapping(self, path: str, depth: int) -> dict[str, Member]:
        fields: dict[str, Member] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                hint = ""
                if isinstance(event, yaml.MappingStartEvent) and event.flow_style:
                    hint = ": `{{ … }}` is not expanded here"
                place = self._place(event, path)
                raise place.error(f"expected a key, got a list or a mapping{hint}")
            self._characters += len(event.value)
            place = self._place(event, join(path, event.value))
            node = self._node(next(self._events), place.key, depth + 1)
            first = fields.setdefault(event.value, Member(place, node))
            if first.place is not place:
                self._errors.add(
                    place.error(f"duplicate key, already used in line {first.place.line}")
                )
        return fields

    def _alias(self, anchor: str, place: Place) -> Node:
        if anchor not in self._anchors:
            raise place.error(f"undefined anchor `*{anchor}`")
        node, values, characters = self._anchors[anchor]
        self._values += values
        self._characters += characters
        self._aliased_values += values
        self._aliased_characters += characters
        if self._aliased_values > MAX_ALIASED_VALUES:
            raise place.error(f"expected aliases for at most {MAX_ALIASED_VALUES} values, got more")
        if self._aliased_characters > MAX_ALIASED_CHARACTERS:
            raise place.error("expected aliases for at most 1 MiB of text, got more")
        return _named(node, place.key)


def _scalar(event: yaml.ScalarEvent) -> Scalar:
    text: str = event.value
    if event.tag is None and event.implicit[0]:
        for pattern, convert in CORE_SCHEMA.items():
            if re.fullmatch(pattern, text):
                return convert(text)
    return text


def _named(node: Node, key: str) -> Node:
    """The node that an alias stands for: its place is the anchor's, its key the alias's."""
    value = node.value
    if isinstance(value, tuple):
        value = tuple(_named(item, f"{key}[{i}]") for i, item in enumerate(value))
    elif isinstance(value, dict):
        paths = {name: join(key, name) for name in value}
        value = {
            name: Member(field.place._replace(key=paths[name]), _named(field.node, paths[name]))
            for name, field in value.items()
        }
    return Node(node.place._replace(key=key), value)
