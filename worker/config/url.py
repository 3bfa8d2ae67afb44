"""The kind of value of `url`: one pod's request, with the headless Service in place of the pod.

What its parts add up to on the wire is the business of `request`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from worker.config import meant
from worker.config.values import MISTAKEN, Mistaken, Schema, Scope, Text, shown
from worker.config.yaml import Field, Node

LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# RFC 3986, 2, and the brackets that many servers take in a query.
URL_CHARACTERS = r"([A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
HTTP = "[Hh][Tt][Tt][Pp]"
URL_PATTERN = rf"{HTTP}[Ss]?://{URL_CHARACTERS}+"
NUMBER = "([0-9]+|0[xX][0-9A-Fa-f]*)"  # as last label it makes an address, see _is_ip_address
PORT = "0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
# What _split_url accepts, but for the length of the name.
STRICT_URL = (
    rf"^{HTTP}[Ss]?://({LABEL}\.)*(?!{NUMBER}\.?([:/?]|$)){LABEL}\.?(:{PORT})?"
    rf"([/?]{URL_CHARACTERS}*)?$"
)
AN_URL = "a URL such as http://web-server-headless:8080/clear-caches"
URL = Text(AN_URL, URL_PATTERN, meant=meant.url)


class Url:
    """The URL of one pod's request, with the headless Service in place of the pod."""

    def read(self, node: Node, path: str, scope: Scope) -> dict[str, Any] | Mistaken:
        # First of all, so that no message shows a password.
        if isinstance(node.value, str) and re.match(r"[^/?#]*(//)?[^/?#]*@", node.value):
            message = "expected no user or password in the URL: set auth"
            return scope.fail(node.place, path, message)
        if isinstance(node.value, str) and "#" in node.value:
            message = "expected no fragment in the URL: no server ever sees it"
            return scope.fail(node.place, path, message)
        if isinstance(node.value, str) and meant.is_template(node.value):
            message = f"expected {AN_URL}, got {shown(node.value)}: nothing is filled in here"
            return scope.fail(node.place, path, message)
        value = URL.read(node, path, scope)
        if isinstance(value, Mistaken):
            return MISTAKEN
        try:
            return _split_url(value)
        except ValueError as error:
            return scope.fail(node.place, path, str(error))

    def schema(self) -> Schema:
        return {"type": "string", "pattern": STRICT_URL}


def _split_url(text: str) -> dict[str, Any]:
    """A URL's part in a Broadcast. Raises ValueError."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        if (
            re.search(r":[0-9]+$", parts.netloc)
            and not 0 < int(parts.netloc.rpartition(":")[2]) < 65536
        ):
            raise ValueError("expected a port from 1 to 65535, or none")
        port = parts.port
    except ValueError as error:
        raise ValueError(f"expected {AN_URL}, got {shown(text)}: {error}") from None
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
            "one address is one pod: name the Service that lists all of them"
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

    for value in (text(name, "") for name in ("endpoint", "host", "service", "path")):
        if "://" in value and "@" not in value:
            return value
    service = text("service", text("host", "SERVICE"))
    if "namespace" in fields:
        service += "." + text("namespace", "NAMESPACE")
    path = text("path", text("endpoint", "/PATH"))
    port = text("port", "PORT")
    port = port if port.isdigit() else "PORT"
    return f"{text('scheme', 'http')}://{service}:{port}/{path.removeprefix('/')}"
