"""The kinds of value that one key of a broadcast has for itself: headers, body, auth, tls …

Which key has which is the business of `keys`, kinds that many share are in `kinds`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from worker.config import meant
from worker.config.secret import FILE_PATH, Secret, read_file
from worker.config.tls import TlsMaterialError, tls_context
from worker.config.url import LABEL
from worker.config.values import (
    DURATION,
    MISTAKEN,
    Boolean,
    Described,
    Duration,
    Fields,
    ListOf,
    Mistaken,
    Schema,
    Scope,
    Text,
    describe,
    describe_secret,
    write,
)
from worker.config.yaml import Node, join, plain
from worker.model import Auth, Expect, Tls

MAX_BODY_BYTES = 16 * 1024 * 1024
TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - RFC 9110, 5.6.2: no secret
FIELD_VALUE = r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?|"  # RFC 9110, 5.5, without obs-text
METHODS = ["get", "head", "post", "put", "delete", "patch", "options", "purge", "ban", "refresh"]

# Fields that say how the request is framed or carried: that is the worker's business.
FRAMING = (
    *("connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer"),
    *("transfer-encoding", "upgrade"),
)
CREDENTIALS = ("authorization", "proxy-authorization")


# --- headers, body, auth, tls, expect -----------------------------------------------------------


HEADER = Secret("printable ASCII without spaces around it", FIELD_VALUE, literal=True)
CREDENTIAL = Secret("printable ASCII without spaces around it", FIELD_VALUE)


class Headers:
    """A mapping of field names to values (RFC 9110, 5)."""

    def read(self, node: Node, path: str, scope: Scope) -> tuple[tuple[str, str], ...] | Mistaken:
        if not isinstance(node.value, dict):
            message = f"expected a mapping of header names to values, got {describe_secret(node)}"
            if isinstance(node.value, tuple) and node.value:
                message += ": write `Name: value`, without the dash and without quotes around both"
            return scope.fail(node.place, path, message)
        headers: dict[str, tuple[str, Any]] = {}
        for name, (place, value) in node.value.items():
            key, lower = join(path, name), name.lower()
            if problem := self._problem(name, lower in headers):
                scope.fail(place, key, problem)
                headers[lower] = (name, MISTAKEN)
                continue
            kind = CREDENTIAL if lower in CREDENTIALS else HEADER
            headers[lower] = (name, kind.read(value, key, scope))
        wrong = any(isinstance(value, Mistaken) for _, value in headers.values())
        return MISTAKEN if wrong else tuple(headers.values())

    @staticmethod
    def _problem(name: str, again: bool) -> str:
        if not re.fullmatch(TOKEN, name, re.ASCII):
            return "expected a header name: letters, digits and - (a value needs `: ` before it)"
        if name.lower() in FRAMING:
            return "expected no header that frames the request: the worker sets it"
        return "expected each header once: names are the same in any case" if again else ""

    def schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{TOKEN}$", "not": {"pattern": any_case(FRAMING)}},
            "patternProperties": {any_case(CREDENTIALS): CREDENTIAL.schema()},
            "additionalProperties": HEADER.schema(),
        }


def any_case(names: Sequence[str]) -> str:
    """A pattern for these names, in the dialect of JSON Schema, which has no flags."""
    letters = (f"[{c.upper()}{c}]" if c.isalpha() else c for c in "|".join(names))
    return f"^({''.join(letters)})$"


class Method:
    """An HTTP method (RFC 9110, 9.1), which is case-sensitive."""

    def read(self, node: Node, path: str, scope: Scope) -> str | Mistaken:
        value = METHOD.read(node, path, scope)
        if isinstance(value, Mistaken) or value == value.upper() or value.lower() not in METHODS:
            return value
        message = f"expected {METHOD.what}, got {value}: write {value.upper()}, methods are "
        return scope.fail(node.place, path, f"{message}case-sensitive")

    def schema(self) -> Schema:
        known = {"pattern": any_case(METHODS)}
        return METHOD.schema() | {"not": known | {"not": {"enum": [m.upper() for m in METHODS]}}}


METHOD = Text("an HTTP method such as POST", TOKEN)


class BodyText:
    """Text as a body."""

    def read(self, node: Node, path: str, scope: Scope) -> dict[str, Any] | Mistaken:
        if isinstance(node.value, (dict, tuple)):
            found = f"{describe_secret(node)}: set json to send it as JSON"
            return scope.fail(node.place, path, f"expected text, got {found}")
        value = BODY.read(node, path, scope)
        return MISTAKEN if isinstance(value, Mistaken) else {"body": value.encode()}

    def schema(self) -> Schema:
        return BODY.schema()


BODY = Text("text", r"[\s\S]*", secret=True)


class Json:
    """Any value that JSON has (RFC 8259)."""

    def read(self, node: Node, path: str, scope: Scope) -> dict[str, Any] | Mistaken:
        try:
            text = json.dumps(plain(node), ensure_ascii=False, allow_nan=False)
        except ValueError:
            return scope.fail(node.place, path, "expected what JSON has, got .inf or .nan")
        return {"body": text.encode(), "content_type": "application/json"}

    def schema(self) -> Schema:
        return {}


class BodyFile:
    """A file's content, as it is."""

    def read(self, node: Node, path: str, scope: Scope) -> dict[str, Any] | Mistaken:
        name = FILE_PATH.read(node, path, scope)
        if isinstance(name, Mistaken):
            return MISTAKEN
        data = read_file(scope.folder / name, MAX_BODY_BYTES)
        return scope.fail(node.place, path, data) if isinstance(data, str) else {"body": data}

    def schema(self) -> Schema:
        return FILE_PATH.schema()


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


AUTH = Fields(
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
    secret=True,
)


class AuthKind:
    """Either basic or bearer."""

    def read(self, node: Node, path: str, scope: Scope) -> Auth | Mistaken:
        value = AUTH.read(node, path, scope)
        if isinstance(value, Mistaken):
            return MISTAKEN
        if len(value) != 1:
            message = f"expected either {AUTH.what}, got {len(value)} of them"
            return scope.fail(node.place, path, message)
        if "bearer" in value:
            return Auth(bearer=value["bearer"])
        return Auth(**value["basic"])

    def schema(self) -> Schema:
        return AUTH.schema() | {"minProperties": 1, "maxProperties": 1}


TLS = Fields(
    "a mapping with ca_file, cert_file, key_file, server_name or insecure_skip_verify",
    {
        "ca_file": Described(
            FILE_PATH,
            "PEM file of the CAs that may have signed the pods' certificates, in place of the "
            "system's.",
            "/etc/ca/ca.crt",
        ),
        "cert_file": Described(
            FILE_PATH,
            "PEM file of the certificate that the worker shows, with its chain; of its key too, "
            "unless `key_file` names that.",
            "/etc/client/tls.crt",
        ),
        "key_file": Described(
            FILE_PATH, "PEM file of the key of `cert_file`, not encrypted.", "/etc/client/tls.key"
        ),
        "server_name": Described(
            Text("a DNS name", rf"({LABEL}\.)*{LABEL}"),
            "The name in SNI and verification, in place of the URL's host.",
            "web.shop.svc",
        ),
        "insecure_skip_verify": Described(
            Boolean(), "`true` verifies nothing: whoever answers gets the request.", True, False
        ),
    },
)


class TlsKind:
    """Files are loaded to see whether they can be used."""

    def read(self, node: Node, path: str, scope: Scope) -> Tls | Mistaken:
        value = TLS.read(node, path, scope)
        if isinstance(value, Mistaken):
            return MISTAKEN
        if "key_file" in value and "cert_file" not in value:
            return scope.fail(node.place, path, "expected cert_file beside key_file, got none")
        for name in ("ca_file", "cert_file", "key_file"):
            if name in value:
                value[name] = str((scope.folder / value[name]).absolute())
        tls = Tls(**value)
        try:
            tls_context(tls)
        except TlsMaterialError as error:
            assert isinstance(node.value, dict)  # else Fields had refused it
            place = node.value[error.key].node.place
            return scope.fail(place, join(path, error.key), str(error))
        return tls

    def schema(self) -> Schema:
        return TLS.schema() | {"dependentRequired": {"key_file": ["cert_file"]}}


A_STATUS = "a status code from 200 to 599, or a class such as 2xx"


class Status:
    """A status code, or a class of them as 2xx."""

    def read(self, node: Node, path: str, scope: Scope) -> frozenset[int] | Mistaken:
        value = node.value
        if isinstance(value, str) and re.fullmatch("[2-5]xx", value):
            first = int(value[0]) * 100
            return frozenset(range(first, first + 100))
        if isinstance(value, int) and not isinstance(value, bool) and 200 <= value < 600:
            return frozenset((value,))
        hint = write(meant.status(value) if isinstance(value, str) else "")
        found = f"{describe(node)}{hint}"
        return scope.fail(node.place, path, f"expected {A_STATUS}, got {found}")

    def schema(self) -> Schema:
        code = {"type": "integer", "minimum": 200, "maximum": 599}
        return {"anyOf": [code, {"enum": ["2xx", "3xx", "4xx", "5xx"]}]}


def to_expect(value: dict[str, Any]) -> Expect:
    status = {"status_codes": frozenset().union(*value["status"])} if "status" in value else {}
    text = value.get("body_contains")
    return Expect(**status, body_contains=text.encode() if text else None)


def _short_expect(value: object) -> str:
    """For `expect: 200` and `expect: [200, 204]`."""
    codes = [str(code) for code in (value if isinstance(value, list) else [value])]
    codes = [meant.status(code).split(" ")[0] for code in codes]
    return f"{{status: [{', '.join(codes)}]}}" if all(codes) else ""


EXPECT = Fields(
    "a mapping with status or body_contains",
    {
        "status": Described(
            ListOf("a list of status codes and classes, such as [2xx, 404]", Status(), 1),
            "Status codes, and classes of them.",
            ["2xx", 404],
            ["2xx"],
        ),
        "body_contains": Described(
            Text("text of at least one character", r"[\s\S]+"),
            "Text that is in the first 64 KiB of the response's body.",
            "cleared",
        ),
    },
    short=_short_expect,
)


def to_backoff(value: dict[str, float]) -> dict[str, float]:
    initial, most = value.get("initial", 1.0), value.get("max", 15.0)
    if initial > most:
        found = f"{initial:g}s and {most:g}s"
        raise ValueError(f"expected initial to be at most max, got {found}: set max as well")
    return {"backoff_initial_seconds": initial, "backoff_max_seconds": most}


BACKOFF = Fields(
    "a mapping with initial and max",
    {
        "initial": Described(Duration(), "The wait after the first failed call.", "200ms", "1s"),
        "max": Described(Duration(), "The longest wait, Retry-After included.", "5s", "15s"),
    },
    short=lambda value: f"{{initial: {value}}}" if DURATION.fullmatch(str(value)) else "",
)
