"""A broadcast's report -> the sentence that says what to look at first, and what to do. Pure.

One table of templates. There is a hint where the failures are alike; what differs from endpoint to
endpoint is in their own log lines. How bad it is, `outcome` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from worker.model import Broadcast, BroadcastReport
from worker.report.facts import Facts, facts_of

Condition = Callable[[Facts], object]


class Hint(NamedTuple):
    """One row of the table. `text` is a template; its placeholders are the names of Facts."""

    case: str
    text: str
    when: Condition = lambda _: True


def hint(broadcast: Broadcast, report: BroadcastReport) -> str | None:
    """The first thing to look at, as a sentence; None if the failures suggest nothing."""
    facts = facts_of(broadcast, report)
    for row in HINTS:
        if row.case in facts.cases and row.when(facts):
            return row.text.format_map(facts._asdict())
    return None


def _says(*words: str) -> Condition:
    """True if the error, in OpenSSL's words, has one of these."""
    return lambda f: any(word in (f.last.error_message or "") for word in words)


def _from_envoy(f: Facts) -> bool:
    """True if the response names Envoy, the proxy of a mesh, as its server."""
    return "envoy" in (f.last.server or "").lower()


KUBE_DNS = "kubectl -n kube-system get pods -l k8s-app=kube-dns"
UNKNOWN_CA = _says("issuer certificate", "self-signed", "self signed", "first certificate")
CLIENT_CERTIFICATE = _says(
    "CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "UNKNOWN_CA", "ALERT_BAD_CERTIFICATE"
)
NOT_TLS = _says("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER", "PACKET_LENGTH")

# The first row counts whose case is there and whose condition holds. The failures of calls stand
# above the reasons: where all calls failed alike, that says more.
HINTS: tuple[Hint, ...] = (
    # --- complete, but no newer answer confirmed it ---
    Hint(
        "unconfirmed",
        "the run was stopped before a newer answer could confirm the result: run it again",
        lambda f: f.ending == "stopped",
    ),
    Hint(
        "unconfirmed",
        "the run's deadline passed before a newer answer could confirm the result: "
        "raise --deadline, or select fewer broadcasts for a run",
        lambda f: f.ending == "deadline" and f.ended_by_run,
    ),
    Hint(
        "unconfirmed",
        "the deadline of {broadcast.deadline_seconds:g} s passed before a newer answer could "
        "confirm the result: raise deadline",
        lambda f: f.ending == "deadline",
    ),
    Hint(
        "unconfirmed",
        "settle is 0s, so nothing was confirmed: set settle to more than a DNS cache's TTL",
        lambda f: not f.broadcast.settle_seconds,
    ),
    Hint(
        "unconfirmed",
        "the last question failed ({resolution_error}): look at the pods of DNS and their logs",
        lambda f: f.resolution_error,
    ),
    Hint(
        "unconfirmed",
        "DNS answered with TTL 0 or said that its answer is stale, which confirms nothing: look at "
        "what the DNS cache serves when it cannot reach its upstream",
        lambda f: f.stale,
    ),
    Hint(
        "unconfirmed",
        "DNS gave no newer answer within {broadcast.settle_seconds:g} s: "
        "set settle to more than the TTL of the DNS cache (40s for the usual 30s)",
    ),
    # --- how the calls failed ---
    Hint(
        "connect_refused",
        "the other pods answered, so these may have crashed: "
        "find them with kubectl get pods -o wide",
        lambda f: f.acknowledged,
    ),
    Hint(
        "connect_refused",
        "nothing listens on port {exchange.url.port} of the pods: a headless Service maps no "
        "ports, so set the container's own port in url",
    ),
    Hint(
        "connect_timeout",
        "the other pods answered, so the nodes of these may be down: "
        "kubectl get pods,nodes -o wide",
        lambda f: f.acknowledged,
    ),
    Hint(
        "connect_timeout",
        "a NetworkPolicy may block the connections: "
        "allow egress from this pod, and ingress to the others, on port {exchange.url.port}",
    ),
    Hint(
        "unreachable",
        "there is no route to the pods: is this pod in the cluster's network? "
        "in a cluster with IPv4 and IPv6, set ip_family to the one that this pod has",
    ),
    Hint(
        "timeout",
        "the pods accept connections but do not answer within {exchange.timeout_seconds:g} s: "
        "raise timeout, or lower concurrency",
    ),
    Hint(
        "connection_reset",
        "port {exchange.url.port} may not speak TLS, or may require a client certificate: "
        "write http:// in url, or set tls.cert_file",
        lambda f: f.exchange.url.https,
    ),
    Hint(
        "connection_reset",
        "port {exchange.url.port} may require TLS, or may not speak HTTP at all: "
        "write https:// or another port in url",
    ),
    Hint(
        "tls",
        "the pods' certificate has expired or is not yet valid: renew it",
        _says("expired", "not yet valid"),
    ),
    Hint(
        "tls",
        "the CA of the pods' certificate is not in tls.ca_file: name the file that has it",
        lambda f: UNKNOWN_CA(f) and f.exchange.tls.ca_file,
    ),
    Hint(
        "tls",
        "the CA of the pods' certificate is not in the system trust store: set tls.ca_file",
        UNKNOWN_CA,
    ),
    Hint(
        "tls",
        "the pods' certificate is not valid for {exchange.server_name}: "
        "set tls.server_name to a name that it is valid for",
        _says("mismatch", "match"),
    ),
    Hint(
        "tls",
        "the pods do not accept tls.cert_file: use a certificate of a CA that they trust",
        lambda f: CLIENT_CERTIFICATE(f) and f.exchange.tls.cert_file,
    ),
    Hint(
        "tls",
        "the pods require a client certificate: set tls.cert_file and tls.key_file",
        CLIENT_CERTIFICATE,
    ),
    Hint(
        "tls",
        "port {exchange.url.port} does not speak TLS: write http:// or the port of https in url",
        NOT_TLS,
    ),
    Hint(
        "tls",
        "no TLS version or cipher in common: see what the pods offer with "
        "openssl s_client -connect POD:{exchange.url.port}",
    ),
    Hint(
        "protocol",
        "what answers on port {exchange.url.port} is not HTTP/1.1 (gRPC, TLS, another protocol?): "
        "set the port of HTTP in url",
    ),
    Hint(
        "redirect",
        "the pods redirect, which leads away from them: "
        "to accept that, list the status code in expect.status",
        lambda f: not f.last.location,
    ),
    Hint(
        "redirect",
        "the pods want https: write https:// and its port in url (Location: {last.location})",
        lambda f: (f.last.location or "").lower().startswith("https:") and not f.exchange.url.https,
    ),
    Hint(
        "redirect",
        "the pods redirect: if the target is on the pods themselves, set url to it "
        "(Location: {last.location})",
    ),
    Hint(
        "body_mismatch",
        "the pods answer {last.status_code} without the text of expect.body_contains: "
        "set log_response: true to see what they say",
    ),
    Hint(
        "local",
        "the fault is in this pod, not in the others: lower concurrency, or raise this pod's limit "
        "of open files (ulimit -n)",
    ),
    # --- which status code the pods answered ---
    *(
        Hint(
            f"status {code}",
            "the app may check the Host header: set headers.Host to the name that it expects",
        )
        for code in (400, 421)  # Misdirected Request, RFC 9110, 15.5.20
    ),
    Hint(
        "status 401",
        "the pods reject these credentials: compare the Secret with what the app expects",
        lambda f: f.has_credentials,
    ),
    Hint("status 401", "the pods require credentials: set auth"),
    Hint(
        "status 403",
        "this account is not allowed to {exchange.method} here: give it that right in the app",
        lambda f: f.has_credentials,
    ),
    Hint(
        "status 403",
        "the pods forbid the request: set auth, or let their ACL or mesh policy allow this pod",
    ),
    Hint(
        "status 404",
        "the mesh's proxy answered, not the app: set headers.Host to a name that it routes",
        _from_envoy,
    ),
    Hint(
        "status 404",
        "the app has nothing at {path}: correct the path in url; is a context path missing?",
    ),
    Hint(
        "status 405",
        "the method is {exchange.method}, but the pods allow only {last.allow}: set method",
        lambda f: f.last.allow,
    ),
    Hint("status 405", "the pods do not allow the method {exchange.method}: set method"),
    Hint("status 501", "the pods do not implement the method {exchange.method}: set method"),
    Hint("status 413", "the body is longer than the pods accept: send a shorter one"),
    Hint(
        "status 415",
        "the pods do not accept this kind of body: set headers.Content-Type to what they expect",
    ),
    Hint(
        "status 429",
        "the pods limit how often they are called: raise stagger and backoff.max",
    ),
    Hint(
        "status 503",
        "the mesh's proxy answered, not the app: see kubectl logs POD -c istio-proxy, "
        "and set headers.Host to a name that it routes",
        _from_envoy,
    ),
    Hint(
        "status 503",
        "the pods may be starting or overloaded: "
        "raise attempts and backoff.max, or lower concurrency",
    ),
    Hint(
        "status 5xx",
        "the app fails with {last.status_code}: read the pods' log, or set log_response: true",
    ),
    # --- why the broadcast is not complete ---
    Hint(
        "no_pods",
        "does the Service's selector match pods, are they ready, is the name right? "
        "kubectl get endpointslices{in_namespace} -l kubernetes.io/service-name={service}",
    ),
    Hint(
        "not_headless",
        "set clusterIP: None in the Service, or use a second Service that has it in url",
    ),
    Hint(
        "unproven",
        "has the Service clusterIP: None? if so, let DNS name its pods: CoreDNS does with "
        "kubernetes ZONE in-addr.arpa ip6.arpa in its Corefile",
    ),
    Hint(
        "outside_cluster",
        "is there a Service of that name, and is its type not ExternalName? to call a host outside "
        "the cluster, write its whole name with a dot at its end in url",
    ),
    Hint(
        "no_cluster_suffix",
        "this resolv.conf is not a pod's: write SERVICE.NAMESPACE.svc.ZONE in url, set the pod's "
        "dnsPolicy to ClusterFirst (ClusterFirstWithHostNet with hostNetwork), or set "
        "--resolv-conf",
    ),
    Hint(
        "dns_servfail",
        "cluster DNS is broken, not the Service: look at the pods of DNS and their logs, "
        + KUBE_DNS,
    ),
    Hint(
        "dns_refused",
        "the nameserver does not serve this pod or this zone: "
        "check the pod's dnsPolicy and resolv.conf, or set another server with --nameserver",
    ),
    Hint(
        "dns_timeout",
        "does a NetworkPolicy allow this pod port 53, UDP and TCP, and is DNS running? " + KUBE_DNS,
    ),
    Hint(
        "dns_truncated",
        "one DNS answer holds about 4,000 addresses: "
        "split the Service by a label into several, with a broadcast for each",
    ),
    Hint(
        "dns_capped",
        "kube-dns lists 1,000 endpoints at most, so that some may be missing: "
        "split the Service by a label into several, with a broadcast for each",
    ),
    Hint(
        "min_pods",
        "{acknowledged} pods acknowledged, and min_pods is {broadcast.min_pods}: "
        "scale up, raise settle to wait longer for them, or lower min_pods",
    ),
    Hint(
        "deadline",
        "the run's deadline passed{too_early}: "
        "raise --deadline, or select fewer broadcasts for a run",
        lambda f: f.ended_by_run,
    ),
    Hint(
        "deadline",
        "the deadline of {broadcast.deadline_seconds:g} s passed{too_early}: "
        "raise deadline{other_remedies}",
    ),
    Hint(
        "cancelled",
        "the run was stopped before it was done: run it again "
        "(if Kubernetes stopped it, kubectl describe job and pod say why)",
    ),
)
