"""The records that pass between the folders of worker/. They are frozen and decide nothing.

`config` makes a Config, `discovery` an Answer, `calls` a CallResult, and `rounds` a
BroadcastReport. `rounds.ledger` decides what to do about an Answer or a CallResult.
Times called `*_at` are seconds of the monotonic clock; durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from worker.words import CallError, Discovery, ResolutionError

IpFamily = Literal["auto", "ipv4", "ipv6"]
LogResponse = Literal["none", "failures", "all"]

DEFAULT_PORTS = {"http": 80, "https": 443}  # RFC 9110, 4.2

# A cache counts whole seconds: two answers closer than this may be one copy (RFC 1035, 3.2.1).
TTL_ROUNDING_SECONDS = 1.0
# Where nothing caches, an answer is newer than one that came this long before.
ASK_AGAIN_SECONDS = 1.02


class Endpoint(NamedTuple):
    """The place where one pod listens: a numeric IP address and a port. IPv6 text has brackets.

    `uid` is the pod's where the witness knows it: an address may be another pod's later, a uid
    never is. Port 0: the pod has no port of the name that was wanted.
    """

    address: str
    port: int
    uid: str = ""

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}" if self.port else host

    @property
    def socket_address(self) -> tuple[str, int]:
        """The address and port, as `socket.connect` takes them."""
        return self.address, self.port


def named(endpoint: object, pod: str | None) -> str:
    """An endpoint for a person, with its pod's name where it is known."""
    return f"{pod} ({endpoint})" if pod else str(endpoint)


# --- configuration ------------------------------------------------------------------------------


class Auth(NamedTuple):
    """Either a bearer token or a user name and password (RFC 6750, RFC 7617)."""

    bearer: str | None = None
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:  # no secret in it
        return "Auth(…)"


class Tls(NamedTuple):
    """The CAs that verify a pod, and the certificate shown to it. Paths are absolute."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    insecure_skip_verify: bool = False


class JsonExpectation(NamedTuple):
    """The value, as JSON text, that a body has at a JSON Pointer (RFC 6901).

    `spelled` are the pointers within that value to texts that came from the environment or a file,
    where numbers and booleans are only spelled.
    """

    pointer: str
    text: str
    spelled: frozenset[str] = frozenset()


class Expect(NamedTuple):
    """The response that counts as an acknowledgement: its status, and what its body is like."""

    status_codes: frozenset[int] = frozenset(range(200, 300))
    body_contains: bytes | None = None
    body_lacks: bytes | None = None
    json: tuple[JsonExpectation, ...] = ()

    @property
    def looks_at_body(self) -> bool:
        """True if it depends on the body."""
        return bool(self.body_contains or self.body_lacks or self.json)


class Url(NamedTuple):
    """A URL with a Service's name as its host. `text` is how the configuration spells it.

    `host` is in lower case, with the trailing dot of an absolute name; `port` is the containers'
    port; `target` is path and query as they are sent (RFC 9112, 3.2.1).
    """

    text: str
    https: bool
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port, without the scheme's default port (RFC 9110, 7.2)."""
        host = self.host.removesuffix(".")
        default = DEFAULT_PORTS["https" if self.https else "http"]
        return host if self.port == default else f"{host}:{self.port}"

    @property
    def service(self) -> tuple[str, str]:
        """The names of the Service and of its namespace, "" where the host does not say.

        https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/: a Service is
        web, web.shop or web.shop.svc.ZONE, and one of its pods has its own name before that.
        """
        labels = self.host.removesuffix(".").split(".")
        if "svc" in labels[2:]:
            labels = labels[: labels.index("svc", 2)][-2:]
        elif len(labels) == 3:
            labels = labels[1:]
        return labels[0], labels[1] if len(labels) > 1 else ""


class BodyFile(NamedTuple):
    """A body that stays in its file, which is open, and is read while it is sent.

    `modified_ns` is the file's time of modification when the configuration was read, in ns: all
    pods get the same body.
    """

    path: str
    descriptor: int
    size: int
    modified_ns: int


class Exchange(NamedTuple):
    """One HTTP request, and what counts as its success. Header values may be secrets."""

    url: Url
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | BodyFile | None = None
    body_is_secret: bool = False
    content_type: str | None = None  # of `json`; a Content-Type header overrides it
    auth: Auth | None = None
    tls: Tls = Tls()
    expect: Expect = Expect()
    connect_timeout_seconds: float = 2.0
    timeout_seconds: float = 10.0  # from connecting to the last byte of the response
    port: int | None = None  # to connect to, in place of the endpoint's
    log_response: LogResponse = "none"

    @property
    def body_bytes(self) -> int:
        """The length of the body."""
        return self.body.size if isinstance(self.body, BodyFile) else len(self.body or b"")

    @property
    def server_name(self) -> str:
        """The name that a certificate must be valid for, also sent as SNI (RFC 6066, 3)."""
        return self.tls.server_name or self.url.host.removesuffix(".")

    def __repr__(self) -> str:  # no secret in it
        return f"Exchange({self.method} {self.url.text})"


class Verify(NamedTuple):
    """A second request to an endpoint that took the first one, repeated until it is met.

    `every_seconds`: from the end of one to the start of the next. `within_seconds`: from the
    success of the first request.
    """

    exchange: Exchange
    every_seconds: float = 1.0
    within_seconds: float = 60.0


class Broadcast(NamedTuple):
    """One entry of the YAML list: one request for every pod of one headless Service."""

    name: str
    exchange: Exchange
    discovery: Discovery = "dns"
    include_not_ready: bool = False
    port_name: str | None = None  # in place of the URL's port
    ip_family: IpFamily = "auto"
    concurrency: int = 16
    stagger_seconds: float = 0.0
    attempts: int = 5
    backoff_initial_seconds: float = 1.0
    backoff_max_seconds: float = 15.0
    settle_seconds: float = 40.0
    deadline_seconds: float = 300.0
    min_pods: int = 1
    verify: Verify | None = None
    canary: int = 0
    max_failed: int | None = None
    tags: tuple[str, ...] = ()

    def __repr__(self) -> str:  # no secret in it
        return f"Broadcast({self.name!r}, …)"


class Config(NamedTuple):
    """All broadcasts of all files, in file order, and every secret value that they hold."""

    files: tuple[str, ...]
    broadcasts: tuple[Broadcast, ...]
    secrets: frozenset[str] = frozenset()

    def __repr__(self) -> str:  # no secret in it
        return f"Config({self.files!r}, …)"


# --- discovery ----------------------------------------------------------------------------------


class Target(NamedTuple):
    """The pod behind an endpoint, as the Kubernetes API names it; "" where it does not say."""

    pod: str
    node: str
    zone: str


class Answer(NamedTuple):
    """One answer of a witness. Without endpoints, `absence` is the witness's word for that.

    DNS: a cache counts the TTL down in whole seconds. So all that is known of the time of expiry
    is that it is no earlier than `expires_earliest_at` (query sent + TTL), and no later than
    `expires_latest_at` (answer arrived + TTL) plus the second that the cache may have rounded off.
    `stale`: a cache may have kept it beyond its time, by its TTL of 0 (RFC 8767) or its Extended
    DNS Error (RFC 8914), so it is no newer than any other answer. `capped`: it lists as many
    endpoints of a name in the cluster as kube-dns lists at most, so there may be more.

    `exact`: the Kubernetes API gave it. It has no TTL, since no cache can have kept it, and knows
    the pods: whose uid is neither listed nor `not_ready` is no more. `targets` names both.
    """

    qname: str
    endpoints: tuple[Endpoint, ...]  # no duplicates, in numerical order of their addresses
    ttl_seconds: int
    expires_earliest_at: float
    expires_latest_at: float
    absence: str = "NODATA"
    stale: bool = False
    capped: bool = False
    exact: bool = False
    not_ready: frozenset[Endpoint] = frozenset()
    targets: Mapping[Endpoint, Target] = {}

    def without_endpoints(self) -> Answer:
        """The same, for those who only want to know which of two is newer: it may be long."""
        return self._replace(endpoints=(), not_ready=frozenset(), targets={})

    def nobody(self, what: str = "no ready pods, or no such Service") -> ResolutionFailure:
        """This answer, which lists nobody, as a failure. `what` explains it in the message."""
        return ResolutionFailure(self.qname, "no_pods", f"{self.absence}: {what}")

    def is_newer_than(self, other: Answer) -> bool:
        """True if it shows a later state than `other`, and is not the cached copy that it was.

        An answer of the API is one of after its question. One of DNS is told by its time of
        expiry, and a stale one is never newer (RFC 8767).
        """
        if self.exact:
            return self.expires_earliest_at >= other.expires_latest_at
        later = self.expires_earliest_at > other.expires_latest_at + TTL_ROUNDING_SECONDS
        return later and not self.stale

    def is_copy_beside(self, other: Answer) -> bool:
        """True if it counts as a copy: asked for late enough after `other`, but not newer.

        Addresses, and that there are none, have TTLs of their own: neither is a copy of the other.
        """
        if self.exact or bool(self.endpoints) != bool(other.endpoints):
            return False
        asked_at = self.expires_earliest_at - self.ttl_seconds
        arrived_at = other.expires_latest_at - other.ttl_seconds
        late_enough_at = arrived_at + (TTL_ROUNDING_SECONDS + ASK_AGAIN_SECONDS) / 2
        return asked_at >= late_enough_at and not self.is_newer_than(other)

    def outlives(self, other: Answer) -> bool:
        """True if a cache may serve copies of it for longer than copies of `other`."""
        return self.expires_latest_at > other.expires_latest_at

    def shows_gone(self, endpoint: Endpoint) -> bool:
        """True if the pod of this endpoint, which is not listed, is no more."""
        return self.exact and bool(endpoint.uid) and endpoint not in self.not_ready

    @property
    def forgotten_at(self) -> float:
        """The time from which no cache has a copy of it: who asks then gets a newer answer."""
        return self.expires_latest_at + ASK_AGAIN_SECONDS


class ResolutionFailure(NamedTuple):
    """The reason why there is no answer about `qname`, and how long not to ask again."""

    qname: str
    error_type: ResolutionError
    error_message: str
    retry_after_seconds: float = 0.0


# --- calls --------------------------------------------------------------------------------------


class CallResult(NamedTuple):
    """The result of one HTTP request to one endpoint. Without error_type it was acknowledged.

    `connect_seconds` is None if no connection was accepted. `retry_after_seconds`, `allow`,
    `server` and `location` are header fields of the response, kept only if the call failed.
    `response_body`: its first bytes, if `log_response` asks for them.
    """

    endpoint: Endpoint
    span_id: str
    duration_seconds: float
    connect_seconds: float | None = None
    status_code: int | None = None
    error_type: CallError | None = None
    error_message: str | None = None
    retry_after_seconds: float | None = None
    allow: str | None = None
    server: str | None = None
    location: str | None = None
    response_body: bytes | None = None
