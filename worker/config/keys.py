"""The table of a broadcast's keys: what each is for, its default, an example, and how it is read.

The parser, the JSON Schema and docs/configuration.md are all made from it. How several keys bear on
each other is the business of `config`.
"""

from __future__ import annotations

from typing import NamedTuple

from worker.config import meant
from worker.config.parts import (
    BACKOFF,
    EXPECT,
    AuthKind,
    BodyFile,
    BodyText,
    Headers,
    Json,
    Method,
    TlsKind,
    to_backoff,
    to_expect,
)
from worker.config.url import Url
from worker.config.values import (
    Boolean,
    Choice,
    Converted,
    Duration,
    Integer,
    Kind,
    ListOf,
    Text,
)


class Key(NamedTuple):
    """One key. `field` is the Broadcast's; without one, the value is a mapping of its fields.

    `default` and `example` are YAML; a key without a default is absent unless it is set. Of a key
    that is `secret` a value may be one, rightly or not: no excerpt shows it.
    """

    name: str
    kind: Kind
    field: str
    default: str
    description: str
    example: str
    secret: bool = False


TAG = Text("a tag such as nightly", r"[A-Za-z0-9]([A-Za-z0-9._/-]*)", meant=meant.name)
REQUIRED = ("name", "url")
BODIES = ("body", "json", "body_file")

KEYS = (
    Key(
        "name",
        Text(
            "a DNS label such as clear-web-caches",
            r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
            meant=meant.name,
        ),
        "name",
        "",
        "What logs, alerts and `--broadcast` call it: a DNS label, unique over all files.",
        "clear-web-caches",
    ),
    Key(
        "url",
        Url(),
        "",
        "",
        "The URL that you would curl. Its host is the headless Service: `service`, "
        "`service.namespace`, a full name in the cluster, or an absolute name with a trailing dot. "
        "The port is the container's, since a headless Service maps none. The request goes to each "
        "pod's address, with this host in the Host header and in TLS SNI and verification. Path "
        "and query are sent as they are written. No user and password (see `auth`), no fragment.",
        "http://web-server-headless:8080/clear-caches",
    ),
    Key(
        "ip_family",
        Choice(("auto", "ipv4", "ipv6")),
        "ip_family",
        "auto",
        "`ipv4` asks DNS for A records, `ipv6` for AAAA; `auto` for A, and for AAAA only when "
        "there is no A record: a dual-stack pod is called once.",
        "ipv6",
    ),
    Key(
        "method",
        Method(),
        "method",
        "POST",
        "Any HTTP method, PURGE and BAN included. It is sent as it is written.",
        "PURGE",
    ),
    Key(
        "headers",
        Headers(),
        "headers",
        "{}",
        "Header fields. A value is text, `{env: NAME}` or `{file: PATH}`. `Host` replaces the Host "
        "header, not SNI. `Authorization` and `Proxy-Authorization` only as `{env}` or `{file}`.",
        "{X-Purge-Reason: deploy, X-Token: {env: PURGE_TOKEN}}",
        secret=True,
    ),
    Key(
        "body",
        BodyText(),
        "",
        "",
        "The request's body, as text in UTF-8. At most one of `body`, `json` and `body_file`.",
        "'*'",
        secret=True,
    ),
    Key(
        "json",
        Json(),
        "",
        "",
        "The request's body, sent as JSON with `Content-Type: application/json`.",
        "{caches: [pages, images]}",
        secret=True,
    ),
    Key(
        "body_file",
        BodyFile(),
        "",
        "",
        "The request's body is this file's content, at most 16 MiB. The path is relative to the "
        "configuration file's folder.",
        "purge.xml",
        secret=True,  # a body may stand in place of its path
    ),
    Key(
        "auth",
        AuthKind(),
        "auth",
        "",
        "`{basic: {username: …, password: …}}` or `{bearer: …}`. Password and token only as "
        "`{env: NAME}` or `{file: PATH}`: a ConfigMap is no place for them.",
        "{bearer: {file: /var/run/secrets/tokens/purge}}",
        secret=True,
    ),
    Key(
        "tls",
        TlsKind(),
        "tls",
        "",
        "For https: `ca_file` instead of the system's CAs, `cert_file` and `key_file` to show a "
        "certificate (the key not encrypted), `server_name` instead of the URL's host in SNI and "
        "verification, `insecure_skip_verify: true` to verify nothing.",
        "{ca_file: /etc/ca/ca.crt}",
        secret=True,  # so may a key
    ),
    Key(
        "expect",
        Converted(EXPECT, to_expect),
        "expect",
        "{status: [2xx]}",
        "What counts as an acknowledgement. `status`: codes and classes; `body_contains`: text in "
        "the first 64 KiB of the response's body. It decides before anything else does: a 3xx or "
        "404 listed here is a success.",
        "{status: [2xx, 404], body_contains: cleared}",
    ),
    Key(
        "concurrency",
        Integer(1, 1000),
        "concurrency",
        "16",
        "Calls in flight at once; `1` is sequential, in the order of addresses.",
        "1",
    ),
    Key(
        "stagger",
        Duration(),
        "stagger_seconds",
        "0s",
        "Least time between the starts of two calls, so that refilling caches does not stampede "
        "the origin.",
        "250ms",
    ),
    Key(
        "connect_timeout",
        Duration(zero=False),
        "connect_timeout_seconds",
        "2s",
        "How long a call waits for its connection.",
        "500ms",
    ),
    Key(
        "timeout",
        Duration(zero=False),
        "timeout_seconds",
        "10s",
        "How long a call may take, by the clock on the wall: from connecting to the last byte.",
        "1m",
    ),
    Key(
        "attempts",
        Integer(1, 1000),
        "attempts",
        "5",
        "Calls to one endpoint. Delivery is at least once, since a call whose response was lost is "
        "repeated; `1` makes it at most once.",
        "1",
    ),
    Key(
        "backoff",
        Converted(BACKOFF, to_backoff),
        "",
        "{initial: 1s, max: 15s}",
        "The wait before a failed endpoint's next call, doubling from `initial` to `max`; a "
        "Retry-After raises it, up to `max`.",
        "{initial: 200ms, max: 5s}",
    ),
    Key(
        "settle",
        Duration(),
        "settle_seconds",
        "40s",
        "Patience with DNS: to answer at all, to list `min_pods`, to show a newer answer. Caches "
        "hold an answer for 30 s as a rule, two in a row for about 35. With `0s` nothing is "
        "confirmed.",
        "5s",
    ),
    Key(
        "deadline",
        Duration(zero=False),
        "deadline_seconds",
        "5m",
        "How long the whole broadcast may take, waits included.",
        "15m",
    ),
    Key(
        "min_pods",
        Integer(0, 1_000_000),
        "min_pods",
        "1",
        "Fewer acknowledgements than this is not complete; `0` allows an empty Service.",
        "3",
    ),
    Key(
        "log_response",
        Boolean(),
        "log_response",
        "false",
        "Whether the first 256 bytes of a failed call's response go into its log line.",
        "true",
    ),
    Key(
        "tags",
        ListOf("a list of tags", TAG),
        "tags",
        "[]",
        "For selecting broadcasts with `--tag`.",
        "[nightly, caches]",
    ),
)
BY_NAME = {key.name: key for key in KEYS}
