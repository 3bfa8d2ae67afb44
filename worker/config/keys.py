"""The table of a broadcast's keys: what each is for, an example, and how it is read.

The parser, the JSON Schema and docs/configuration.md are all made from it. Defaults are those of
`model.Broadcast` and its `model.Exchange`. How keys bear on each other is decided in `load`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from worker.config.json_value import Json
from worker.config.parts import (
    AUTH,
    BACKOFF,
    BODY,
    BODY_FILE,
    DEFAULTS,
    EXPECT,
    METHOD,
    Headers,
    LogResponses,
)
from worker.config.tls import TLS
from worker.config.url import ServiceUrl
from worker.config.values import (
    Boolean,
    Choice,
    Duration,
    Integer,
    Kind,
    ListOf,
    Schema,
    Text,
    write_duration,
)
from worker.config.verify import VERIFY
from worker.model import Broadcast, Exchange
from worker.words import DISCOVERIES


class Key(NamedTuple):
    """One key. Its value is that of `field` in the Broadcast or its Exchange, or several fields'.

    `example` is YAML.
    """

    name: str
    kind: Kind
    description: str
    example: str

    @property
    def field(self) -> str:
        return self.name if self.name in FIELDS else f"{self.name}_seconds"

    @property
    def default(self) -> Any:
        """As YAML holds it; None for a key that is required, or is absent unless it is set."""
        if self.name in {"expect", "backoff"}:
            parts: Schema = self.kind.schema()["properties"]
            return {name: part["default"] for name, part in parts.items() if "default" in part}
        if isinstance(self.kind, Headers):
            return {}
        if isinstance(self.kind, Duration):
            return write_duration(DEFAULTS[self.field])
        if isinstance(self.kind, ListOf):
            return list(DEFAULTS[self.field])
        value = DEFAULTS.get(self.field)
        return value if isinstance(value, (str, int)) else None


TAG = Text("a tag (letters, digits and . _ / -) such as nightly", r"[A-Za-z0-9]([A-Za-z0-9._/-]*)")
REQUIRED = ("name", "url")
FIELDS = {*Broadcast._fields, *Exchange._fields}
BODIES = ("body", "json", "body_file")

KEYS = (
    Key(
        "name",
        Text(
            "a DNS label (a-z, 0-9 and -) such as clear-web-caches",
            r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        ),
        "The broadcast's name in logs, alerts and `--broadcast`. A DNS label, unique over all "
        "files.",
        "clear-web-caches",
    ),
    Key(
        "url",
        ServiceUrl(),
        "The URL that you would give to curl. Its host is the headless Service: `service`, "
        "`service.namespace`, a full name in the cluster, or an absolute name with a trailing dot. "
        "Its port is the container's, since a headless Service maps no ports. The request goes to "
        "each pod's address, with this host in the Host header and in TLS SNI and verification. "
        "Path and query are sent exactly as written. A user, a password (see `auth`) and a "
        "fragment are refused.",
        "http://web-server-headless:8080/clear-caches",
    ),
    Key(
        "discovery",
        Choice(tuple(DISCOVERIES)),
        "Who is asked which pods there are. `dns`: the cluster's DNS, which lists the addresses of "
        "a headless Service's ready pods. `endpointslices`: the Kubernetes API, which knows the "
        "pods themselves, of any Service, and is never out of date; it needs "
        "`manifests/components/endpointslices`.",
        "endpointslices",
    ),
    Key(
        "include_not_ready",
        Boolean(),
        "Whether to call pods that are not ready as well. Only with `discovery: endpointslices`.",
        "true",
    ),
    Key(
        "port_name",
        Text("the name of a port such as http", r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"),
        "The name of the Service's port, in place of a port in `url`: each pod is called on the "
        "port that it has under this name. Only with `discovery: endpointslices`.",
        "http",
    ),
    Key(
        "ip_family",
        Choice(("auto", "ipv4", "ipv6")),
        "Which addresses to ask for: `ipv4` for A records, `ipv6` for AAAA records. `auto` "
        "asks for A records, and for AAAA records only if there are none, so that a dual-stack pod "
        "is called once. With EndpointSlices, `auto` takes each pod's IPv4 address if it has one.",
        "ipv6",
    ),
    Key(
        "method",
        METHOD,
        "The HTTP method. Any method is possible, PURGE and BAN included, and is sent exactly as "
        "written.",
        "PURGE",
    ),
    Key(
        "headers",
        Headers(),
        "Header fields to send. A value is text, `{env: NAME}` or `{file: PATH}`; for "
        "`Authorization` and `Proxy-Authorization` only `{env: NAME}` or `{file: PATH}`. `Host` "
        "replaces the Host header, but not SNI.",
        "{X-Purge-Reason: deploy, X-Token: {env: PURGE_TOKEN}}",
    ),
    Key(
        "body",
        BODY,
        "The request's body, as text in UTF-8. Only one of `body`, `json` and `body_file` can be "
        "set.",
        "'*'",
    ),
    Key(
        "json",
        Json(),
        "The request's body, sent as JSON with `Content-Type: application/json`. Anywhere in it, "
        "`{env: NAME}` and `{file: PATH}` stand for a secret text, and `{literal: …}` for what may "
        "look like one of these.",
        "{caches: [pages, images]}",
    ),
    Key(
        "body_file",
        BODY_FILE,
        "A file that holds the request's body, at most 16 MiB. A relative path starts at the "
        "configuration file's folder. A body of more than 64 KiB is read while it is sent; if the "
        "file has changed by then, the call fails as `local`.",
        "purge.xml",
    ),
    Key(
        "auth",
        AUTH,
        "Credentials: `{basic: {username: …, password: …}}` or `{bearer: …}`. Password and token "
        "are `{env: NAME}` or `{file: PATH}`, since a ConfigMap is no place for them.",
        "{bearer: {file: /var/run/secrets/tokens/purge}}",
    ),
    Key(
        "tls",
        TLS,
        "How an https connection is verified. Without it, the pod's certificate must be valid for "
        "the URL's host and signed by a CA of the system trust store. The files are tried when the "
        "configuration is read, and read again when a call needs them.",
        "{ca_file: /etc/ca/ca.crt}",
    ),
    Key(
        "expect",
        EXPECT,
        "Which response counts as an acknowledgement: its status, and what its body says. It is "
        "checked before anything else, so a 3xx or 404 that is listed here is a success.",
        "{status: [2xx, 404], body_contains: cleared}",
    ),
    Key(
        "verify",
        VERIFY,
        "A second request to each endpoint that took the first one, repeated until it is met. Only "
        "then is the endpoint acknowledged. The first request is not repeated meanwhile.",
        "{path: /-/config, expect: {json: {/hash: {env: CONFIG_HASH}}}, within: 60s}",
    ),
    Key(
        "canary",
        Integer(0, 1000),
        "How many endpoints are called, and verified, before any other. If one of them fails for "
        "good, nobody else is called.",
        "1",
    ),
    Key(
        "max_failed",
        Integer(0, 1_000_000),
        "How many endpoints may fail for good. With more, nobody is called who was not called yet.",
        "0",
    ),
    Key(
        "concurrency",
        Integer(1, 1000),
        "How many calls can be in flight at once. No broadcast has more calls in flight than this, "
        "nor has the run more than the largest of them. With `1`, pods are called one after "
        "another, in the order of their addresses.",
        "1",
    ),
    Key(
        "stagger",
        Duration(),
        "The shortest time between the starts of two calls. It keeps all pods from refilling their "
        "caches at the same moment.",
        "250ms",
    ),
    Key(
        "connect_timeout",
        Duration(zero=False),
        "How long a call waits for its connection.",
        "500ms",
    ),
    Key(
        "timeout",
        Duration(zero=False),
        "How long a call can take in all, from connecting to the last byte of the response.",
        "1m",
    ),
    Key(
        "attempts",
        Integer(1, 1000),
        "How many calls to one endpoint are made at most, the first one included. A call whose "
        "response is lost is repeated, so delivery is at least once; `1` makes it at most once.",
        "1",
    ),
    Key(
        "backoff",
        BACKOFF,
        "The wait before a failed endpoint is called again. It doubles from `initial` to `max`. A "
        "Retry-After header makes it longer, up to `max`.",
        "{initial: 200ms, max: 5s}",
    ),
    Key(
        "settle",
        Duration(),
        "How long to wait once nobody is owed a call: for an answer at all, "
        "for `min_pods` addresses, for an answer that is newer than the one that the calls were "
        "made from, and for a pod that is no longer listed to come back. Most caches keep an "
        "answer for 30 s, two caches in a row for about 35 s. With `0s` nothing is confirmed.",
        "5s",
    ),
    Key(
        "deadline",
        Duration(zero=False),
        "How long the whole broadcast can take. It ends at its deadline: calls in flight are cut "
        "and fail as `deadline`.",
        "15m",
    ),
    Key(
        "min_pods",
        Integer(0, 1_000_000),
        "How many endpoints must acknowledge at least; with fewer the broadcast is not complete. "
        "`0` allows a Service without pods.",
        "3",
    ),
    Key(
        "log_response",
        LogResponses(),
        "Whose log lines have the first 256 bytes of the response: those of calls that failed "
        "(`failures` or `true`), or of `all`. With `all`, `broadcast.finished` counts the "
        "different responses that the endpoints gave last.",
        "all",
    ),
    Key(
        "tags",
        ListOf("a list of tags such as [nightly, caches]", TAG),
        "Labels for choosing broadcasts with `--tag`.",
        "[nightly, caches]",
    ),
)
BY_NAME = {key.name: key for key in KEYS}
