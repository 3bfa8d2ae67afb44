"""A response's body, against what is expected of it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from worker.calls.response import KEPT_FIELD_BYTES, Response
from worker.model import Expect, JsonExpectation

NOTHING = object()  # where a pointer leads nowhere


def mismatch(response: Response, expect: Expect) -> str:
    """The reason why the body is not what is expected; empty if it is."""
    body = response.body
    if expect.body_contains and expect.body_contains not in body:
        return "the expected text is not in the first 64 KiB of the body"
    if (expect.body_lacks or expect.json) and response.body_bytes > len(body):
        return "the body is longer than 64 KiB: body_lacks and json have to see the whole"
    if expect.body_lacks and expect.body_lacks in body:
        return "the body has the text that body_lacks names"
    return _json_mismatch(bytes(body), expect.json) if expect.json else ""


def _json_mismatch(body: bytes, expected: tuple[JsonExpectation, ...]) -> str:
    try:
        document = _parse(body)
    except (ValueError, ArithmeticError, RecursionError) as error:
        return f"the body is no JSON: {error}"
    missed = []
    for pointer, text, spelled in expected:
        found = _at(pointer, document)
        if not _equal(_parse(text), found, "", spelled):
            missed.append(f"expected {pointer or 'the whole'} to be {text}, got {_text(found)}")
    more = f" (and {len(missed) - 1} more)" if len(missed) > 1 else ""
    return f"{missed[0]}{more}" if missed else ""


def _parse(text: str | bytes) -> Any:
    """JSON, strictly. Raises ValueError, ArithmeticError (a number) or RecursionError."""
    return json.loads(
        text, parse_float=Decimal, parse_constant=_constant, object_pairs_hook=_members
    )


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Which of two members of one name counts is for nobody to guess (RFC 8259, 4)."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has two members of the same name")
    return members


def _at(pointer: str, value: Any) -> Any:
    """What is there (RFC 6901, 4), or NOTHING."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name, NOTHING)
        elif isinstance(value, list) and name in map(str, range(len(value))):
            value = value[int(name)]
        else:
            return NOTHING
    return value


def _equal(wanted: Any, found: Any, path: str, spelled: frozenset[str]) -> bool:
    """True if both are the same JSON value; numbers are compared as numbers.

    A text that came from the environment or a file, which have no types, also equals a number or
    a boolean that is written like it.
    """
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted or (path in spelled and bool(json.dumps(found) == wanted))
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(
            _equal(wanted[name], found[name], f"{path}/{_escaped(name)}", spelled)
            for name in wanted
        )
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(
            _equal(*pair, f"{path}/{number}", spelled)
            for number, pair in enumerate(zip(wanted, found, strict=True))
        )
    if isinstance(found, (int, Decimal)) and path in spelled:
        return _is_number(wanted, found)
    return bool(wanted == found)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _is_number(text: str, number: int | Decimal) -> bool:
    try:
        read = _parse(text)
    except (ValueError, ArithmeticError, RecursionError):
        return False
    return not isinstance(read, bool) and bool(read == number)


def _text(found: Any) -> str:
    if found is NOTHING:
        return "nothing"
    return json.dumps(found, ensure_ascii=False, default=float)[:KEPT_FIELD_BYTES]
