"""The kinds of value that one key of a broadcast has for itself: url, headers, body, auth, tls …

Which key has which is the business of `keys`, kinds that many share are in `kinds`.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from worker.certificates import TlsMaterialError, tls_context
from worker.kinds import (
    FILE_PATH,
    MISTAKEN,
    Boolean,
    Duration,
    Fields,
    ListOf,
    Mistaken,
    Schema,
    Scope,
    Secret,
    Text,
    describe_secret,
    read_file,
    shown,
)
from worker.model import Auth, Expect, Tls
from worker.source import Field, Node, join, plain

MAX_BODY_BYTES = 16 * 1024 * 1024
TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - RFC 9110, 5.6.2: no secret
FIELD_VALUE = r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?|"  # RFC 9110, 5.5, without obs-text
LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# RFC 3986, 2, and the brackets that many servers take in a query.
URL_PATTERN = r"[Hh][Tt][Tt][Pp][Ss]?://([A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+"
AN_URL = "a URL such as http://web-server-headless:8080/clear-caches"
URL = Text(AN_URL, URL_PATTERN)

# Fields that say how the request is framed or carried: that is the worker's business.
FRAMING = (
    *("connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer"),
    *("transfer-encoding", "upgrade"),
)
CREDENTIALS = ("authorization", "proxy-authorization")


# --- url ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Url:
    """The URL of one pod's request, with the headless Service in place of the pod."""

    def read(self, node: Node, path: str, scope: Scope) -> dict[str, Any] | Mistaken:
        # First of all, so that no message shows a password.
        if isinstance(node.value, str) and re.match(r"[^/?#]*(//)?[^/?#]*@", node.value):
            message = "expected no user or password in the URL: set auth"
            return scope.fail(node.place, path, message)
        value = URL.read(node, path, scope)
        if isinstance(value, Mistaken):
            return MISTAKEN
        try:
            return _split_url(value)
        except ValueError as error:
            return scope.fail(node.place, path, str(error))

    def schema(self) -> Schema:
        return URL.schema()


def _split_url(text: str) -> dict[str, Any]:
    """A URL's part in a Broadcast. Raises ValueError."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"expected {AN_URL}, got {shown(text)}: {error}") from None
    if "#" in text:
        raise ValueError("expected no fragment in the URL: no server ever sees it")
    if parts.netloc.endswith(":") or port == 0:
        raise ValueError("expected a port from 1 to 65535, or none")
    _check_host(parts.netloc, host)
    https = parts.scheme == "https"
    return {"url": text, "https": https, "host": host, "port": port or (443 if https else 80)}


def _check_host(netloc: str, host: str) -> None:
    name = host.removesuffix(".")
    if netloc.startswith("[") or _is_ip_address(name):
        raise ValueError(
            f"expected the name of a headless Service as host, got the IP address {host}: "
            "one address is one pod"
        )
    labels = name.split(".")
    if len(name) > 253 or not all(re.fullmatch(LABEL, label) for label in labels):
        raise ValueError(f"expected a DNS name as host, got {shown(host)}")


def _is_ip_address(host: str) -> bool:
    """Also as inet_aton(3) reads it: an address whose last part is a number is no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return bool(re.fullmatch(r"(.*\.)?([0-9]+|0[xX][0-9A-Fa-f]*)", host))
    return True


def url_from(fields: Mapping[str, Field]) -> str:
    """The URL that `service`, `port` and `path` add up to, for a hint."""

    def text(name: str, default: str) -> str:
        value = fields[name].node.value if name in fields else None
        return str(value) if isinstance(value, (str, int)) else default

    service = text("service", text("host", "SERVICE"))
    if "namespace" in fields:
        service += "." + text("namespace", "NAMESPACE")
    path = text("path", text("endpoint", "/PATH"))
    return f"{text('scheme', 'http')}://{service}:{text('port', 'PORT')}/{path.removeprefix('/')}"


# --- headers, body, auth, tls, expect -----------------------------------------------------------


HEADER = Secret("printable ASCII without spaces around it", FIELD_VALUE, literal=True)
CREDENTIAL = Secret("printable ASCII without spaces around it", FIELD_VALUE)


@dataclass(frozen=True, slots=True)
class Headers:
    """A mapping of field names to values (RFC 9110, 5)."""

    def read(self, node: Node, path: str, scope: Scope) -> tuple[tuple[str, str], ...] | Mistaken:
        if not isinstance(node.value, dict):
            message = f"expected a mapping of header names to values, got {describe_secret(node)}"
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
            return "expected a header name: letters, digits and -"
        if name.lower() in FRAMING:
            return "expected no header that frames the request: the worker sets it"
        return "expected each header once: names are the same in any case" if again else ""

    def schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{TOKEN}$", "not": {"pattern": _any_case(FRAMING)}},
            "patternProperties": {_any_case(CREDENTIALS): CREDENTIAL.schema()},
            "additionalProperties": HEADER.schema(),
        }


def _any_case(names: Sequence[str]) -> str:
    """A pattern for these names, in the dialect of JSON Schema, which has no flags."""
    letters = (f"[{c.upper()}{c}]" if c.isalpha() else c for c in "|".join(names))
    return f"^({''.join(letters)})$"


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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
        "username": Secret("a user name without a colon", r"[^:\x00-\x1f\x7f]+", literal=True),
        "password": Secret("a password", r"[^\x00-\x1f\x7f]+"),
    },
    required=("username", "password"),
    secret=True,
)


AUTH = Fields(
    "{basic: …} or {bearer: …}",
    {"basic": BASIC, "bearer": Secret("a token without spaces", r"[\x21-\x7e]+")},
    secret=True,
)


@dataclass(frozen=True, slots=True)
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
        "ca_file": FILE_PATH,
        "cert_file": FILE_PATH,
        "key_file": FILE_PATH,
        "server_name": Text("a DNS name", rf"({LABEL}\.)*{LABEL}"),
        "insecure_skip_verify": Boolean(),
    },
)


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Status:
    """A status code, or a class of them as 2xx."""

    def read(self, node: Node, path: str, scope: Scope) -> frozenset[int] | Mistaken:
        value = node.value
        if isinstance(value, str) and re.fullmatch("[2-5]xx", value):
            first = int(value[0]) * 100
            return frozenset(range(first, first + 100))
        if isinstance(value, int) and not isinstance(value, bool) and 200 <= value < 600:
            return frozenset((value,))
        return scope.expected("a status code from 200 to 599, or a class such as 2xx", node, path)

    def schema(self) -> Schema:
        code = {"type": "integer", "minimum": 200, "maximum": 599}
        return {"anyOf": [code, {"enum": ["2xx", "3xx", "4xx", "5xx"]}]}


def to_expect(value: dict[str, Any]) -> Expect:
    status = {"status_codes": frozenset().union(*value["status"])} if "status" in value else {}
    text = value.get("body_contains")
    return Expect(**status, body_contains=text.encode() if text else None)


EXPECT = Fields(
    "a mapping with status or body_contains",
    {
        "status": ListOf("a list of status codes and classes, such as [2xx, 404]", Status(), 1),
        "body_contains": Text("text of at least one character", r"[\s\S]+"),
    },
)


def to_backoff(value: dict[str, float]) -> dict[str, float]:
    initial, most = value.get("initial", 1.0), value.get("max", 15.0)
    if initial > most:
        raise ValueError(f"expected initial to be at most max, got {initial:g}s and {most:g}s")
    return {"backoff_initial_seconds": initial, "backoff_max_seconds": most}


BACKOFF = Fields("a mapping with initial and max", {"initial": Duration(), "max": Duration()})
