"""The kind of value of `url`: one pod's request, with the headless Service in place of the pod.

What its parts become on the wire is decided in `calls.request`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from worker.config.errors import Errors, Place
from worker.config.values import Schema, Scope, describe, shown
from worker.config.yaml import Member, Node
from worker.model import DEFAULT_PORTS, Url

LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# RFC 3986, 2, and the brackets that many servers take in a query.
URL_CHARACTERS = r"([A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
HTTP = "[Hh][Tt][Tt][Pp][Ss]?"
AFTER_HOST = rf"([/?]{URL_CHARACTERS}*)?"
# inet_aton(3) reads a name whose last label is a number as an address.
NUMBER = "([0-9]+|0[xX][0-9A-Fa-f]*)"
PORT = "0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
# All that `_split` accepts, except that it also limits the length of the name.
STRICT_URL = (
    rf"^{HTTP}://({LABEL}\.)*(?!{NUMBER}\.?([:/?]|$)){LABEL}\.?(:{PORT}(?![^@]*@))?{AFTER_HOST}$"
)
PARTS = re.compile(rf"({HTTP})://(\[[0-9A-Fa-f:.]*\]|[^][:/?]*)(?::([^/?]*))?({AFTER_HOST})")
MAX_URL_CHARACTERS = 8000  # as many as every server should take: RFC 9110, 4.1
A_URL = "a URL such as http://web-server-headless:8080/clear-caches"
TEMPLATE = re.compile(r"\$\{[^}]*\}|\$\([^)]*\)|\{\{.*?\}\}")
MAX_NAME_CHARACTERS = 253  # without the final dot (RFC 1035, 3.1)
# What a pod's resolv.conf appends in most clusters; `discovery.dns` knows what this one appends.
SEARCH_SUFFIX = ".svc.cluster.local"
KEYS_OF_PARTS = ("service", "host", "namespace", "port", "path")


class ServiceUrl:
    """The URL of one pod's request, with the Service as its host; a `model.Url`, when read."""

    def read(self, node: Node, _scope: Scope | None = None) -> Url:
        text = node.value
        if isinstance(text, str):
            if len(text) > MAX_URL_CHARACTERS:
                raise node.error(f"expected at most {MAX_URL_CHARACTERS} characters, got more")
            # First of all, so that no message shows a password, which may have a slash.
            if "@" in text and not re.match(rf"{HTTP}://[^/?#@:]+[/?#]", text):
                message = "expected no user or password in the URL: set auth"
                hint = "; behind a port, write an @ of the path as %40"
                raise node.error(message + hint * bool(re.match(rf"{HTTP}://[^/?#@]+[/?#]", text)))
            if "#" in text:
                raise node.error("expected no fragment in the URL: no server ever sees it")
            if found := TEMPLATE.search(text):
                raise node.error(f"`{found[0]}` is not expanded here: write the whole URL")
        parts = PARTS.fullmatch(text) if isinstance(text, str) else None
        if not parts:
            raise node.error(f"expected {A_URL}, got {describe(node)}")
        return _split(parts, node)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": STRICT_URL, "maxLength": MAX_URL_CHARACTERS}


def _split(parts: re.Match[str], node: Node) -> Url:
    scheme, host, port, target = parts[1].lower(), parts[2].lower(), parts[3], parts[4]
    name = host.removesuffix(".")
    if host.startswith("[") or re.fullmatch(rf"(.*\.)?{NUMBER}", name):
        message = f"expected the name of a headless Service as host, got the IP address {host}"
        raise node.error(f"{message}, which is one pod's: write the Service's name")
    suffix = "" if host.endswith(".") else SEARCH_SUFFIX
    if len(name) + len(suffix) > MAX_NAME_CHARACTERS:
        most = MAX_NAME_CHARACTERS - len(suffix)
        behind = f", as {suffix} may be appended" if suffix else ""
        raise node.error(f"expected a host of at most {most} characters{behind}, got {len(name)}")
    if not all(re.fullmatch(LABEL, label) for label in name.split(".")):
        raise node.error(f"expected a DNS name as host, got {shown(host)}")
    if port is not None and not re.fullmatch(PORT, port):
        raise node.error("expected a port from 1 to 65535, or none")
    return Url(
        text=parts[0],
        https=scheme == "https",
        host=host,
        port=int(port) if port else DEFAULT_PORTS[scheme],
        target=target if target.startswith("/") else f"/{target}",
    )


def with_target(url: Url, target: str) -> Url:
    """The URL with another path and query."""
    parts = PARTS.fullmatch(url.text)
    assert parts  # it was read
    return url._replace(text=url.text[: parts.start(4)] + target, target=target)


def has_port(url: Url) -> bool:
    """True if the URL itself names a port."""
    parts = PARTS.fullmatch(url.text)
    return bool(parts and parts[3])


def names_service(url: Url) -> bool:
    """True if the host can be a Service's name: `web`, `web.shop`, `web.shop.svc`, with a zone.

    Not a pod's own name, nor one of a set of clusters, nor one outside the cluster.
    """
    name = url.host.removesuffix(".")
    return bool(re.fullmatch(rf"{LABEL}(\.{LABEL}(\.svc(\.(?!clusterset\.).+)?)?)?", name))


def from_parts(fields: Mapping[str, Member]) -> str:
    """The URL that `service` or `host`, `namespace`, `port` and `path` add up to.

    Empty if that is no URL, so that nobody is told to write what is refused next.
    """
    values = {name: fields[name].node.value for name in KEYS_OF_PARTS if name in fields}
    host = values.get("service", values.get("host", ""))
    namespace = f".{values['namespace']}" if "namespace" in values else ""
    port = f":{values['port']}" if "port" in values else ""
    path = str(values.get("path", "")).removeprefix("/")
    url = f"http://{host}{namespace}{port}/{path}"
    with Errors():
        return ServiceUrl().read(Node(Place(), url)).text
    return ""
