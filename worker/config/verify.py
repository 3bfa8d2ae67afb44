"""`verify` -> Verify: a request of its own, of which the broadcast's is the default."""

from __future__ import annotations

from typing import Any

from worker.config.parts import (
    AUTH,
    AUTHORIZATION,
    EXPECT,
    METHOD,
    TWO_AUTHORIZATIONS,
    Headers,
    no_body,
)
from worker.config.tls import NO_TLS, TLS
from worker.config.url import URL_CHARACTERS, ServiceUrl, with_target
from worker.config.values import Converted, Described, Duration, Fields, Scope, Text, write_duration
from worker.config.yaml import Node
from worker.model import Exchange, Url, Verify

INHERITED = ("headers", "auth", "tls", "connect_timeout_seconds", "timeout_seconds")
DEFAULTS = Verify._field_defaults


def _to_values(value: dict[str, Any], node: Node, _scope: Scope) -> dict[str, Any]:
    """Checks what can be told without the broadcast."""
    if ("path" in value) == ("url" in value):
        found = "both" if "url" in value else "neither"
        raise node.error(f"expected either path, or url for another port, got {found}")
    return {"verify": value | {"node": node}}


def to_verify(first: Exchange, value: dict[str, Any]) -> Verify:
    """The verification of an exchange. Raises ConfigInvalid about what does not fit it."""
    node = value["node"]
    url: Url = value.get("url") or with_target(first.url, value["path"])
    if url.host != first.url.host:
        raise node.value["url"].node.error(
            f"expected the host of the broadcast's url, {first.url.host}, got {url.host}"
        )
    if "tls" in value and not url.https:
        raise node.value["tls"].place.error(NO_TLS)
    if "expect" in value and (fault := no_body(value["expect"], value.get("method"))):
        raise node.value["expect"].place.error(fault)
    has_authorization = any(name.lower() == AUTHORIZATION for name, _ in value.get("headers", ()))
    if "auth" in value and has_authorization:
        raise node.value["auth"].place.error(TWO_AUTHORIZATIONS)
    inherited = {name: getattr(first, name) for name in INHERITED}
    if has_authorization:
        inherited["auth"] = None
    if "auth" in value:
        inherited["headers"] = tuple(h for h in first.headers if h[0].lower() != AUTHORIZATION)
    names = ("method", "headers", "auth", "tls", "expect")
    own: dict[str, Any] = {name: value[name] for name in names if name in value}
    own |= {
        f"{name}_seconds": value[name] for name in ("connect_timeout", "timeout") if name in value
    }
    port = url.port if "url" in value else None
    exchange = Exchange(**{"method": "GET"} | inherited | own | {"url": url, "port": port})
    times = {f"{name}_seconds": value[name] for name in ("every", "within") if name in value}
    return Verify(exchange, **times)


VERIFY = Converted(
    Fields(
        "a mapping such as {path: /-/config, expect: {json: {/hash: abc}}}",
        {
            "path": Described(
                Text("a path such as /-/config", rf"/{URL_CHARACTERS}*"),
                "The path to ask for, on the port of the broadcast's `url`.",
                "/-/config",
            ),
            "url": Described(
                ServiceUrl(),
                "In place of `path`: a URL with the same host and another port or scheme.",
                "http://web-server-headless:9090/-/config",
            ),
            "method": Described(METHOD, "The HTTP method.", "GET", "GET"),
            "headers": Described(
                Headers(), "Header fields, in place of the broadcast's.", {"X-Reason": "verify"}
            ),
            "auth": Described(
                AUTH, "Credentials, in place of the broadcast's.", {"bearer": {"env": "TOKEN"}}
            ),
            "tls": Described(TLS, "In place of the broadcast's.", {"ca_file": "/etc/ca/ca.crt"}),
            "expect": Described(
                EXPECT, "Which response proves it.", {"json": {"/hash": {"env": "CONFIG_HASH"}}}
            ),
            "connect_timeout": Described(
                Duration(zero=False), "In place of the broadcast's.", "500ms"
            ),
            "timeout": Described(Duration(zero=False), "In place of the broadcast's.", "5s"),
            "every": Described(
                Duration(zero=False),
                "The wait from the end of one such request to the start of the next.",
                "2s",
                write_duration(DEFAULTS["every_seconds"]),
            ),
            "within": Described(
                Duration(zero=False),
                "How long it may take, from the success of the first request.",
                "2m",
                write_duration(DEFAULTS["within_seconds"]),
            ),
        },
    ),
    _to_values,
)
