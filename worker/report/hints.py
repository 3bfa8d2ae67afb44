"""A broadcast's report -> the sentence that says what to look at first, and what to do. Pure.

There is one where the failures are alike; what differs from endpoint to endpoint is in their own
log lines. `report` says how bad it is, this says what to try.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from worker.model import Broadcast, BroadcastReport, CallError, CallResult, Reason

ENVOY = "envoy"


class Case(NamedTuple):
    """Failures that are alike, of which `last` is one call."""

    broadcast: Broadcast
    report: BroadcastReport
    last: CallResult

    @property
    def some_acknowledged(self) -> bool:
        return bool(self.report.count_of("acknowledged"))


Rule = Callable[[Case], str]
ReasonRule = Callable[[Broadcast, BroadcastReport], str]


def hint(broadcast: Broadcast, report: BroadcastReport) -> str | None:
    """What to look at first, where the failures are alike; or None."""
    if report.outcome == "complete":
        return None if report.confirmed else unconfirmed(broadcast)
    last = _alike([e.last for e in report.endpoints if e.verdict == "failed"])
    rule = _rule(last) if last and report.reason != "cancelled" else None
    if last and rule:
        return rule(Case(broadcast, report, last))
    because = REASONS.get(report.reason) if report.reason else None
    return because(broadcast, report) if because else None


def unconfirmed(broadcast: Broadcast) -> str:
    """All that were listed acknowledged, but no newer answer showed that nobody was missing."""
    if not broadcast.settle_seconds:
        return "settle is 0s, so nothing was confirmed: set settle to more than a DNS cache's TTL"
    return (
        f"DNS showed no newer answer within {broadcast.settle_seconds:g} s: "
        "set settle to more than its cache's TTL, 40s for the usual 30"
    )


def _alike(calls: Sequence[CallResult | None]) -> CallResult | None:
    """One of them, if they failed in the same way."""
    first = calls[0] if calls else None
    kinds = {(call.error_type, _kind_of(call)) if call else None for call in calls}
    return first if len(kinds) == 1 else None


def _kind_of(call: CallResult) -> int | str | None:
    """What tells failures of one error_type apart."""
    if call.error_type == "status":
        return 400 if call.status_code == 421 else call.status_code
    return call.error_message if call.error_type == "tls" else None


def _rule(last: CallResult) -> Rule | None:
    if last.error_type != "status" or not last.status_code:
        return CALLS.get(last.error_type) if last.error_type else None
    return STATUS.get(last.status_code, _server_error if last.status_code >= 500 else None)


# --- by reason --------------------------------------------------------------------------------


def _no_pods(broadcast: Broadcast, _: BroadcastReport) -> str:
    service, *rest = broadcast.host.split(".")
    namespace = f" -n {rest[0]}" if rest and rest[0] else ""
    return (
        "does the Service's selector match pods, are they ready, is the name right? "
        f"kubectl get endpointslices{namespace} -l kubernetes.io/service-name={service}"
    )


def _min_pods(broadcast: Broadcast, report: BroadcastReport) -> str:
    return (
        f"{report.count_of('acknowledged')} of at least {broadcast.min_pods} pods: "
        "scale up, wait longer for them with settle, or lower min_pods"
    )


def _deadline(broadcast: Broadcast, report: BroadcastReport) -> str:
    left = report.count_of("failed")
    owed = f" with {left} of {len(report.endpoints)} endpoints still owed" if left else ""
    return (
        f"{broadcast.deadline_seconds:g} s were over{owed}: "
        "raise deadline or concurrency, or lower timeout and stagger"
    )


KUBE_DNS = "kubectl -n kube-system get pods -l k8s-app=kube-dns"
REASONS: dict[Reason, ReasonRule] = {
    "no_pods": _no_pods,
    "not_headless": lambda *_: (
        "give the Service clusterIP: None, or name a second Service that has it"
    ),
    "dns_servfail": lambda *_: (
        "cluster DNS is broken, whatever the Service is: look at its pods and their log, "
        f"{KUBE_DNS}"
    ),
    "dns_refused": lambda *_: (
        "the nameserver does not serve this pod or this zone: "
        "look at the pod's dnsPolicy and resolv.conf, or name another with --nameserver"
    ),
    "dns_timeout": lambda *_: (
        f"does a NetworkPolicy allow this pod port 53, UDP and TCP, and is DNS running? {KUBE_DNS}"
    ),
    "dns_truncated": lambda *_: (
        "one DNS answer holds about 4,000 addresses: "
        "split the Service by a label into several, with a broadcast for each"
    ),
    "min_pods": _min_pods,
    "deadline": _deadline,
    "cancelled": lambda *_: (
        "the run was stopped before it was done: run it again, "
        "and see kubectl describe job and pod for who stopped it"
    ),
}

# --- by how the calls failed --------------------------------------------------------------------


def _refused(case: Case) -> str:
    if case.some_acknowledged:
        return "the other pods answered: have these crashed? kubectl get pods -o wide finds them"
    port = case.broadcast.port
    return f"a headless Service maps no ports: is {port} the container's port? set it in url"


def _connect_timeout(case: Case) -> str:
    if case.some_acknowledged:
        return "the other pods answered: are these pods' nodes up? kubectl get pods,nodes -o wide"
    return (
        "does a NetworkPolicy keep this pod from the others? "
        f"allow it egress, and them ingress, to port {case.broadcast.port}"
    )


def _connection_reset(case: Case) -> str:
    port = case.broadcast.port
    if case.broadcast.https:
        return (
            f"does port {port} speak TLS, and without a client certificate? "
            "write http:// in url, or set tls.cert_file"
        )
    return f"does port {port} speak TLS, or no HTTP at all? write https:// or another port in url"


def _redirect(case: Case) -> str:
    location = case.last.location
    if not location:
        return "redirects lead away from the pod: list their status in expect.status to accept them"
    if location.lower().startswith("https:") and not case.broadcast.https:
        return f"the pods want https: write https:// and its port in url (Location: {location})"
    return f"set url to where the pods lead, if that is on them: Location: {location}"


def _body_mismatch(case: Case) -> str:
    return (
        f"the pods answer {case.last.status_code} without the text of "
        "expect.body_contains: set log_response: true to see what they say"
    )


def _tls(case: Case) -> str:
    for words, rule in TLS:
        if any(word in (case.last.error_message or "") for word in words):
            return rule(case)
    return (
        "the TLS versions or ciphers do not meet: see what the pods offer with "
        f"openssl s_client -connect POD:{case.broadcast.port}"
    )


def _unknown_ca(case: Case) -> str:
    if case.broadcast.tls.ca_file:
        return "the CA of the pods' certificate is not in tls.ca_file: name the file that has it"
    return "the CA of the pods' certificate is none of the system's: set tls.ca_file"


def _wrong_name(case: Case) -> str:
    name = case.broadcast.tls.server_name or case.broadcast.host.removesuffix(".")
    return f"the pods' certificate is not for {name}: set tls.server_name to a name that it has"


def _client_certificate(case: Case) -> str:
    if case.broadcast.tls.cert_file:
        return "the pods do not accept tls.cert_file: show one of a CA that they trust"
    return "the pods ask for a client certificate: set tls.cert_file and tls.key_file"


# By OpenSSL's words, of which the first that occur decide.
TLS: tuple[tuple[tuple[str, ...], Rule], ...] = (
    (("expired", "not yet valid"), lambda _: "the pods' certificate is out of date: renew it"),
    (("issuer certificate", "self-signed", "self signed", "first certificate"), _unknown_ca),
    (("mismatch", "match"), _wrong_name),
    (
        ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "UNKNOWN_CA", "ALERT_BAD_CERTIFICATE"),
        _client_certificate,
    ),
    (
        ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER", "PACKET_LENGTH"),
        lambda case: (
            f"port {case.broadcast.port} does not speak TLS: "
            "write http:// in url, or the port of https"
        ),
    ),
)

CALLS: dict[CallError, Rule] = {
    "connect_refused": _refused,
    "connect_timeout": _connect_timeout,
    "unreachable": lambda _: (
        "no route to the pods: is this pod in the cluster's network? with two address families, "
        "set ip_family to the one that it has"
    ),
    "timeout": lambda case: (
        f"the pods accept and do not answer within {case.broadcast.timeout_seconds:g} s: "
        "raise timeout, or call fewer at once with concurrency"
    ),
    "connection_reset": _connection_reset,
    "tls": _tls,
    "protocol": lambda case: (
        f"what answers on port {case.broadcast.port} is no HTTP/1.1 (gRPC, TLS, another "
        "protocol?): set the port of HTTP in url"
    ),
    "redirect": _redirect,
    "body_mismatch": _body_mismatch,
    "local": lambda _: (
        "it is this pod's own limit, not the others' fault: lower concurrency, or raise its limit "
        "of open files (ulimit -n)"
    ),
}

# --- by status code ------------------------------------------------------------------------------


def _server_error(case: Case) -> str:
    code = case.last.status_code
    return f"the app fails with {code}: read its pods' log, or set log_response: true"


def _host(_: Case) -> str:
    return "does the app check the Host header? set headers.Host to the name that it expects"


def _unauthorized(case: Case) -> str:
    if _has_credentials(case):
        return "the pods refuse these credentials: compare the Secret with what the app expects"
    return "the pods want credentials: set auth"


def _forbidden(case: Case) -> str:
    if _has_credentials(case):
        return f"may this account {case.broadcast.method} here? give it that right in the app"
    return "the pods forbid it: set auth, or let their ACL or mesh policy allow this pod"


def _has_credentials(case: Case) -> bool:
    names = (name.lower() for name, _ in case.broadcast.headers)
    return bool(case.broadcast.auth) or "authorization" in names


def _not_found(case: Case) -> str:
    if _is_envoy(case):
        return "the mesh's proxy answered, not the app: set headers.Host to a name it routes"
    path = urlsplit(case.broadcast.url).path or "/"
    return f"the app knows no {path}: set url to its path, a context path or base path included"


def _not_allowed(case: Case) -> str:
    allow = case.last.allow
    allowed = f"allow {allow}" if allow else "do not allow that"
    return f"the method is {case.broadcast.method}, and the pods {allowed}: set method"


def _unavailable(case: Case) -> str:
    if _is_envoy(case):
        return (
            "the mesh's proxy answered, not the app: see kubectl logs POD -c istio-proxy, "
            "and set headers.Host to a name it routes"
        )
    return (
        "are the pods starting or overloaded? raise attempts and backoff.max, or lower concurrency"
    )


def _is_envoy(case: Case) -> bool:
    return ENVOY in (case.last.server or "").lower()


STATUS: dict[int, Rule] = {
    400: _host,
    401: _unauthorized,
    403: _forbidden,
    404: _not_found,
    405: _not_allowed,
    413: lambda _: "the body is longer than the pods take: send a shorter one",
    421: _host,
    415: lambda _: "the pods take no such body: set headers.Content-Type to what they expect",
    429: lambda _: "the pods limit how often they are called: raise stagger and backoff.max",
    503: _unavailable,
}
