"""Which bodies are what `expect` wants, and what is said of the others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.calls.body import mismatch
from worker.calls.response import KEPT_BODY_BYTES, Response
from worker.model import Expect, JsonExpectation

LONG = "the body is longer than 64 KiB: body_lacks and json have to see the whole"


def response(body: bytes) -> Response:
    read = Response("GET", KEPT_BODY_BYTES)
    read.feed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert read.whole
    return read


def said(body: str | bytes, *expected: JsonExpectation) -> str:
    data = body.encode() if isinstance(body, str) else body
    return mismatch(response(data), Expect(json=expected))


def at(pointer: str, value: Any, *spelled: str) -> JsonExpectation:
    return JsonExpectation(pointer, json.dumps(value), frozenset(spelled))


# The example of RFC 6901, 5.
DOCUMENT = r"""{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5,
    "k\"l": 6, " ": 7, "m~n": 8}"""
POINTERS = {
    "": json.loads(DOCUMENT),
    "/foo": ["bar", "baz"],
    "/foo/0": "bar",
    "/": 0,
    "/a~1b": 1,
    "/c%d": 2,
    "/e^f": 3,
    "/g|h": 4,
    "/i\\j": 5,
    '/k"l': 6,
    "/ ": 7,
    "/m~0n": 8,
}


@pytest.mark.parametrize("pointer", POINTERS)
def test_pointers_lead_where_rfc_6901_says(pointer: str) -> None:
    assert said(DOCUMENT, at(pointer, POINTERS[pointer])) == ""


@pytest.mark.parametrize(
    "pointer",
    ["/foo/2", "/foo/-", "/foo/00", "/foo/-1", "/foo/+0", "/foo/ 0", "/foo/x", "/x", "/foo/0/0"],
)
def test_pointers_that_lead_nowhere(pointer: str) -> None:
    expected = f"expected {pointer} to be null, got nothing"
    assert said(DOCUMENT, at(pointer, None)) == expected


def test_a_token_is_unescaped_in_the_right_order() -> None:
    assert said('{"~1": 1, "/": 2}', at("/~01", 1), at("/~1", 2)) == ""


EQUAL = [
    ("1", 1),
    ("1.0", 1),
    ("10e-1", 1),
    ("0.1", 0.1),
    ("-0", 0),
    ("9007199254740993", 9007199254740993),
    ('"a"', "a"),
    (r'"\u00e9"', "é"),
    ("null", None),
    ("true", True),
    ("[]", []),
    ('{"a": [1, {"b": false}]}', {"a": [1.0, {"b": False}]}),
    ('{"b": 1, "a": 2}', {"a": 2, "b": 1}),
]
DIFFERENT = [
    ("1", True),
    ("0", False),
    ("true", 1),
    ("[true]", [1]),
    ("[1]", [True]),
    ('"1"', 1),
    ("1", "1"),
    ("true", "true"),
    ("null", False),
    ("9007199254740993.0", 9007199254740992),
    ("0.1000000000000000055511151231257827", 0.1),
    ("[1, 2]", [2, 1]),
    ("[1]", [1, 1]),
    ("[]", {}),
    ('{"a": 1, "b": 2}', {"a": 1}),
    ('{"a": 1}', {"a": 1, "b": 2}),
    ('"a"', "A"),
]


@pytest.mark.parametrize(("body", "value"), EQUAL)
def test_values_are_compared_as_json(body: str, value: Any) -> None:
    assert said(body, at("", value)) == ""


@pytest.mark.parametrize(("body", "value"), DIFFERENT)
def test_values_that_differ(body: str, value: Any) -> None:
    assert said(body, at("", value)).startswith(
        f"expected the whole to be {json.dumps(value)}, got "
    )


@pytest.mark.parametrize(
    ("body", "text", "holds"),
    [
        ('"v2"', "v2", True),
        ("2", "2", True),
        ("2", '"2"', False),
        ("2.5", "2.50", True),
        ("true", "true", True),
        ("false", "true", False),
        ("true", "True", False),
        ("1", "true", False),
        ("null", "null", False),
        ("2", "v2", False),
        ("2", "9" * 5000, False),
        ("[1]", "[1]", False),
    ],
)
def test_a_text_of_the_environment_may_be_a_number_or_a_boolean(
    body: str, text: str, holds: bool
) -> None:
    assert (said(body, at("", text, "")) == "") is holds
    inside = at("", {"a/b": [text]}, "/a~1b/0")
    assert (said(f'{{"a/b": [{body}]}}', inside) == "") is holds
    assert (said(body, at("", text)) == "") is (body == json.dumps(text))


NO_JSON = {
    b"": "Expecting value: line 1 column 1 (char 0)",
    b"ok": "Expecting value: line 1 column 1 (char 0)",
    b'{"a": 1} x': "Extra data: line 1 column 10 (char 9)",
    b'"\xff"': "'utf-8' codec can't decode byte 0xff in position 1: invalid start byte",
    b'{"a": 1, "a": 2}': "an object has two members of the same name",
    b"NaN": "NaN is no number",
    b"[-Infinity]": "-Infinity is no number",
    b"[" * 60_000: "",
    b"1" * 60_000: "",
    b"1e99999999999999999999": "",
}


@pytest.mark.parametrize("body", NO_JSON, ids=range(len(NO_JSON)))
def test_a_body_that_is_no_json_says_so(body: bytes) -> None:
    message = said(body, at("", None))
    assert message.startswith("the body is no JSON: ")
    assert NO_JSON[body] in message


def test_the_first_pointer_that_does_not_hold_is_named_and_the_others_are_counted() -> None:
    expected = [at("/a", 1), at("/b", "x"), at("/c", None)]
    message = 'expected /b to be "x", got [1.5, true] (and 1 more)'
    assert said('{"a": 1, "b": [1.50, true]}', *expected) == message


def test_what_was_found_is_shown_as_it_is_written() -> None:
    assert said('{"a": "größer"}', at("/a", 1)) == 'expected /a to be 1, got "größer"'


def test_what_was_found_is_cut() -> None:
    body = json.dumps("x" * 60_000)
    assert said(body, at("", 1)) == f"expected the whole to be 1, got {body[:4096]}"


@pytest.mark.parametrize("size", [KEPT_BODY_BYTES, KEPT_BODY_BYTES + 1])
def test_a_body_of_which_the_end_was_not_seen_proves_nothing(size: int) -> None:
    read = response(b"1".ljust(size))
    missed = "" if size == KEPT_BODY_BYTES else LONG
    assert mismatch(read, Expect(json=(at("", 1),))) == missed
    assert mismatch(read, Expect(body_lacks=b"x")) == missed
    assert mismatch(read, Expect(body_contains=b"1")) == ""


def test_all_has_to_hold() -> None:
    body = response(b'{"a": 1}')
    expect = Expect(body_contains=b"a", body_lacks=b"b", json=(at("/a", 1),))
    assert mismatch(body, expect) == ""
    lacks = expect._replace(body_lacks=b"a")
    assert mismatch(body, lacks) == "the body has the text that body_lacks names"
    contains = expect._replace(body_contains=b"b")
    assert "not in the first 64 KiB" in mismatch(body, contains)
    assert mismatch(body, expect._replace(json=(at("/a", 2),))) == "expected /a to be 2, got 1"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_every_value_equals_itself(value: Any) -> None:
    body = json.dumps(value).encode()
    if len(body) <= KEPT_BODY_BYTES:
        assert said(body, at("", value)) == ""


@given(JSON, JSON)
def test_a_value_equals_no_other(first: Any, second: Any) -> None:
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    if not same and not said(json.dumps(first), at("", second)):
        # Only numbers of the same size are the same in two spellings.
        assert said(json.dumps(second), at("", first)) == ""
        assert first == second
