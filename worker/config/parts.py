"""The kinds of value that one key of a broadcast has for itself: method, headers, bodies, auth …

Which key has which is decided in `keys`; kinds that several share are in `values`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from worker.config.errors import Errors
from worker.config.json_value import Pointers
from worker.config.secret import FILE_PATH, Secret, regular_file
from worker.config.values import (
    Converted,
    Described,
    Duration,
    Fields,
    ListOf,
    Schema,
    Scope,
    Text,
    describe,
    write_duration,
)
from worker.config.yaml import Node
from worker.model import Auth, BodyFile, Broadcast, Exchange, Expect, LogResponse

MAX_BODY_BYTES = 16 * 1024 * 1024
KEPT_BODY_BYTES = 64 * 1024  # a longer one stays in its file
MIN_BODY_CHARACTERS = 8  # a shorter one, such as {}, occurs by chance where a pod echoes nothing
DEFAULTS = Exchange._field_defaults | Broadcast._field_defaults
TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - RFC 9110, 5.6.2: no secret
FIELD_VALUE = r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?|"  # RFC 9110, 5.5, without obs-text
METHODS = ["get", "head", "post", "put", "delete", "patch", "options", "purge", "ban", "refresh"]

# Fields that say how the request is framed or carried: the worker sets them.
FRAMING = (
    *("connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer"),
    *("transfer-encoding", "upgrade"),
)
AUTHORIZATION = "authorization"
CREDENTIALS = (AUTHORIZATION, "proxy-authorization")
TWO_AUTHORIZATIONS = "set either auth or an Authorization header"


def any_case(names: Sequence[str]) -> str:
    """A pattern for these names, in the dialect of JSON Schema, which has no flags."""
    letters = (f"[{c.upper()}{c}]" if c.isalpha() else c for c in "|".join(names))
    return f"^({''.join(letters)})$"


# --- the request --------------------------------------------------------------------------------


def _to_method(value: str, node: Node, _scope: Scope) -> str:
    """Methods are case-sensitive (RFC 9110, 9.1): `post` would be a method of its own."""
    if value != value.upper() and value.lower() in METHODS:
        raise node.error(f"methods are case-sensitive: write {value.upper()}, not {value}")
    return value


METHOD = Converted(
    Text("an HTTP method such as POST", TOKEN),
    _to_method,
    {
        "not": {
            "pattern": any_case(METHODS),
            "not": {"enum": [method.upper() for method in METHODS]},
        }
    },
)
HEADER = Secret("printable ASCII without spaces around it", FIELD_VALUE, literal=True)
CREDENTIAL = Secret("printable ASCII without spaces around it", FIELD_VALUE)


class Headers:
    """A mapping of field names to values (RFC 9110, 5)."""

    def read(self, node: Node, scope: Scope) -> tuple[tuple[str, str], ...]:
        if not isinstance(node.value, dict):
            found = describe(node, secret=True)
            raise node.error(f"expected a mapping such as {{X-Purge-Reason: deploy}}, got {found}")
        errors, headers = Errors(), []
        names: set[str] = set()
        for name, (place, value) in node.value.items():
            with errors:
                if problem := _problem(name, names):
                    raise place.error(problem)
                names.add(name.lower())
                kind = CREDENTIAL if name.lower() in CREDENTIALS else HEADER
                headers.append((name, kind.read(value, scope)))
        errors.raise_any()
        return tuple(headers)

    def schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{TOKEN}$", "not": {"pattern": any_case(FRAMING)}},
            "patternProperties": {any_case(CREDENTIALS): CREDENTIAL.schema()},
            "additionalProperties": HEADER.schema(),
        }


def _problem(name: str, others: set[str]) -> str:
    if not re.fullmatch(TOKEN, name, re.ASCII):
        return "expected a header name of letters, digits and -, then `: ` and the value"
    if name.lower() in FRAMING:
        return "this header frames the request: the worker sets it"
    return "duplicate header: names are the same in any case" if name.lower() in others else ""


BODY = Converted(
    Text("text (for JSON, set json)", r"[\s\S]*", secret=True, most=None),
    lambda text, _node, _scope: {"body": text.encode()},
)


def _to_body(name: str, node: Node, scope: Scope) -> dict[str, Any]:
    """Beside the configuration it is no secret; anywhere else it may be of a mounted Secret."""
    with regular_file(name, MAX_BODY_BYTES, node, scope) as stream:
        path = (scope.folder / name).resolve()
        start = stream.read(KEPT_BODY_BYTES)
        body = start if not stream.read(1) else _body_file(path, stream.fileno(), scope)
    if path.is_relative_to(scope.folder.resolve()):
        return {"body": body}
    text = start.decode("latin-1").strip()
    if len(text) >= MIN_BODY_CHARACTERS:
        scope.secrets.add(text)
    return {"body": body, "body_is_secret": True}


def _body_file(path: Path, descriptor: int, scope: Scope) -> BodyFile:
    """The file, which stays open for as long as the process runs; open once for all broadcasts."""
    if path not in scope.body_files:
        state = os.fstat(descriptor)
        body = BodyFile(str(path), os.dup(descriptor), state.st_size, state.st_mtime_ns)
        scope.body_files[path] = body
    return scope.body_files[path]


BODY_FILE = Converted(FILE_PATH, _to_body)


def _to_auth(value: dict[str, Any], _node: Node, scope: Scope) -> Auth:
    if "bearer" in value:
        return Auth(bearer=value["bearer"])
    auth = Auth(**value["basic"])
    # In base64, as they are sent, a short password cannot be told from its neighbours.
    scope.secrets.add(f"{auth.username}:{auth.password}")
    return auth


BASIC = Fields(
    "{username: …, password: …}",
    {
        # RFC 7617, 2: a colon ends the user name.
        "username": Described(
            Secret("a user name without a colon", r"[^:\x00-\x1f\x7f]+", literal=True),
            "The user's name, as text, `{env: NAME}` or `{file: PATH}`.",
            "operator",
        ),
        "password": Described(
            Secret("a password", r"[^\x00-\x1f\x7f]+"),
            "The password, only as `{env: NAME}` or `{file: PATH}`.",
            {"env": "ACTUATOR_PASSWORD"},
        ),
    },
    required=("username", "password"),
    secret=True,
)
AUTH = Converted(
    Fields(
        "{basic: …} or {bearer: …}",
        {
            "basic": Described(
                BASIC,
                "User name and password (RFC 7617).",
                {"username": "operator", "password": {"env": "ACTUATOR_PASSWORD"}},
            ),
            "bearer": Described(
                Secret("a token without spaces", r"[\x21-\x7e]+"),
                "A token (RFC 6750), only as `{env: NAME}` or `{file: PATH}`.",
                {"file": "/var/run/secrets/tokens/purge"},
            ),
        },
        exactly_one=True,
        secret=True,
    ),
    _to_auth,
)

# --- its responses, and the next call -----------------------------------------------------------


class LogResponses:
    """Which responses are logged: none, failures or all. `true` means failures."""

    WORDS: Mapping[object, LogResponse] = {
        **{word: word for word in get_args(LogResponse)},
        False: "none",
        True: "failures",
    }

    def read(self, node: Node, _scope: Scope) -> LogResponse:
        if isinstance(node.value, (bool, str)) and node.value in self.WORDS:
            return self.WORDS[node.value]
        raise node.error(f"expected none, failures or all, got {describe(node)}")

    def schema(self) -> Schema:
        return {"enum": list(self.WORDS)}


CLASSES = {f"{n}xx": frozenset(range(n * 100, n * 100 + 100)) for n in range(2, 6)}


class Status:
    """A status code, or a class of them such as 2xx; a set of codes, when read."""

    def read(self, node: Node, _scope: Scope) -> frozenset[int]:
        value = node.value
        if isinstance(value, str) and value in CLASSES:
            return CLASSES[value]
        if isinstance(value, int) and not isinstance(value, bool) and 200 <= value < 600:
            return frozenset((value,))
        expected = "a status code from 200 to 599, or a class such as 2xx"
        raise node.error(f"expected {expected}, got {describe(node)}")

    def schema(self) -> Schema:
        code = {"type": "integer", "minimum": 200, "maximum": 599}
        return {"anyOf": [code, {"enum": list(CLASSES)}]}


def _to_expect(value: dict[str, Any], _node: Node, _scope: Scope) -> Expect:
    status: dict[str, Any] = {}
    if "status" in value:
        status["status_codes"] = frozenset().union(*value["status"])
    texts = {
        name: value[name].encode() for name in ("body_contains", "body_lacks") if name in value
    }
    return Expect(**status, **texts, json=value.get("json", ()))


EXPECT = Converted(
    Fields(
        "a mapping such as {status: [2xx, 404]}",
        {
            "status": Described(
                ListOf("a list of status codes and classes, such as [2xx, 404]", Status(), 1),
                "Status codes, and classes of them.",
                ["2xx", 404],
                [name for name, codes in CLASSES.items() if codes <= Expect().status_codes],
            ),
            "body_contains": Described(
                Text("text of at least one character", r"[\s\S]+", most=64 * 1024),
                "Text that is in the first 64 KiB of the response's body.",
                "cleared",
            ),
            "body_lacks": Described(
                Text("text of at least one character", r"[\s\S]+", most=64 * 1024),
                "Text that is not in the response's body, which has at most 64 KiB.",
                '"error"',
            ),
            "json": Described(
                Pointers(),
                "JSON Pointers (RFC 6901) and the values that the response's body, JSON of at most "
                "64 KiB, has there. A value may be `{env: NAME}` or `{file: PATH}`, which also "
                "equals a number or a boolean that is written like it. Messages show these values: "
                "they are no secrets.",
                {"/status": "reloaded", "/build/version": {"env": "VERSION"}},
            ),
        },
    ),
    _to_expect,
)


def _to_backoff(value: dict[str, float], node: Node, _scope: Scope) -> dict[str, float]:
    fields = {f"backoff_{name}_seconds": seconds for name, seconds in value.items()}
    both = DEFAULTS | fields
    initial, longest = both["backoff_initial_seconds"], both["backoff_max_seconds"]
    if initial > longest:
        found = f"{write_duration(initial)} and {write_duration(longest)}"
        raise node.error(f"expected initial to be at most max, got {found}")
    return fields


BACKOFF = Converted(
    Fields(
        "a mapping such as {initial: 1s, max: 15s}",
        {
            "initial": Described(
                Duration(),
                "The wait after the first failed call.",
                "200ms",
                write_duration(DEFAULTS["backoff_initial_seconds"]),
            ),
            "max": Described(
                Duration(),
                "The longest wait, also where a Retry-After asks for more.",
                "5s",
                write_duration(DEFAULTS["backoff_max_seconds"]),
            ),
        },
    ),
    _to_backoff,
)


def no_body(expect: Expect, method: str | None) -> str | None:
    """What is wrong where no response has the body that is expected (RFC 9110, 6.4.1), or None."""
    if not expect.looks_at_body:
        return None
    if method == "HEAD":
        return "a response to HEAD has no body: only status can be expected"
    if expect.status_codes <= {204, 205, 304}:
        return "a 204, 205 or 304 has no body: only status can be expected"
    return None
