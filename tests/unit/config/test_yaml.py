"""YAML text to values that know where they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.config.errors import ConfigInvalid, Errors, Place
from worker.config.yaml import Node, parse, plain


def value_of(text: str | bytes) -> Any:
    errors = Errors()
    node = parse(text.encode() if isinstance(text, str) else text, "f.yaml", errors)
    errors.raise_any()
    return plain(node)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("~", None),
        ("null", None),
        ("''", ""),
        ("12", 12),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("0200", "0200"),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-11-24", "2026-11-24"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("00.5", "00.5"),
        ("-.inf", float("-inf")),
        ("9" * 30, "9" * 30),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("! 5", "5"),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars_by_the_core_schema(text: str, value: object) -> None:
    found = value_of(f"key: {text}\n")["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_number() -> None:
    assert str(value_of(".nan")) == "nan"


@pytest.mark.parametrize("prefix", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_values_and_keys_know_their_places(prefix: str, line_end: str) -> None:
    lines = ["# comment", "- name: a", "  url: [x, 'ü', y]", "  body: |", "    text"]
    node = parse((prefix + line_end.join(lines)).encode(), "f.yaml", Errors())
    assert isinstance(node.value, tuple)
    fields = node.value[0].value
    assert isinstance(fields, dict)
    assert (fields["url"].place.line, fields["url"].place.column) == (3, 3)
    items = fields["url"].node.value
    assert isinstance(items, tuple)
    places = [(item.place.line, item.place.column) for item in items if isinstance(item, Node)]
    assert places == [(3, 9), (3, 12), (3, 17)]
    assert (fields["body"].node.place.line, fields["body"].node.place.column) == (4, 9)


def test_an_alias_stands_for_what_its_anchor_names() -> None:
    assert value_of("a: &x {b: [1]}\nc: *x\n") == {"a": {"b": [1]}, "c": {"b": [1]}}


def test_a_value_behind_an_alias_has_the_alias_s_key_and_the_anchor_s_place() -> None:
    node = parse(b"a: &x {b: [1]}\nc: *x\n", "f.yaml", Errors())
    keys = [place.key for place in places(node)]
    assert keys == ["", "a", "a", "a.b", "a.b", "a.b[0]", "c", "c", "c.b", "c.b", "c.b[0]"]
    first, second = ([p[:3] for p in places(node) if p.key.startswith(key)][1:] for key in "ac")
    assert first == second


def places(node: Node) -> Iterator[Place]:
    yield node.place
    if isinstance(node.value, dict):
        for place, value in node.value.values():
            yield place
            yield from places(value)
    elif isinstance(node.value, tuple):
        for item in node.value:
            yield from places(item)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: \xff", "f.yaml:1:4: expected UTF-8, got the byte 0xff"),
        (b"a: b\r\nc: \x00", "f.yaml:2:4: expected text, got the control character U+0000"),
        ("a: b".encode("utf-16"), "f.yaml:1:1: expected UTF-8, got UTF-16: save it as UTF-8"),
        (b"a: '\xed\xa0\x80'", "f.yaml:1:5: expected UTF-8, got the byte 0xed"),
    ],
)
def test_bytes_that_are_no_text(data: bytes, message: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        parse(data, "f.yaml", Errors())
    assert str(caught.value) == message


@given(
    st.one_of(
        st.binary(),
        st.text().map(str.encode),
        st.text("[]{}-:&*!|>'\"#%@,? \n\tab1").map(str.encode),
    )
)
@example(b"? ")
@example(b"&a *a")
@example(b"- !!binary x")
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    try:
        value_of(data)
    except ConfigInvalid as invalid:
        found = [str(error) for error in invalid.errors]
    else:
        found = ["f.yaml: none"]
    assert found
    assert all(text.startswith("f.yaml") for text in found)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.text('abé "\\\n:#-', max_size=8),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.text("abc", min_size=1, max_size=3), children, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_json_is_read_as_json(value: object) -> None:
    assert value_of(json.dumps(value, ensure_ascii=False)) == value
