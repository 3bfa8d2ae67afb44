"""A broadcast's report -> the sentence that says what to look at first, and what to do. Pure.

One table of templates. There is a hint where the failures are alike; what differs from endpoint to
endpoint is in their own log lines. How bad it is, `outcome` says.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.model import Broadcast
from worker.report.facts import Facts, facts_of
from worker.report.records import BroadcastReport

Condition = Callable[[Facts], object]


def hint(broadcast: Broadcast, report: BroadcastReport) -> str | None:
    """The first thing to look at, as a sentence; None if the failures suggest nothing."""
    facts = facts_of(broadcast, report)
    for (case, holds), template in HINTS.items():
        if case in facts.cases and holds(facts):
            return template.format_map(facts._asdict())
    return None


def always(_: Facts) -> bool:
    return True


def _says(*words: str) -> Condition:
    """True if the error, in OpenSSL's words, has one of these."""
    return lambda f: any(word in (f.last.error_message or "") for word in words)


def _api_said(*words: str) -> Condition:
    """True if the failure of the last question has one of these in its message."""
    return lambda f: any(word in f.resolution_message for word in words)


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
# above the reasons: where all calls failed alike, that says more. The placeholders of a template
# are the names of Facts.
HINTS: dict[tuple[str, Condition], str] = {
    # --- complete, but no newer answer confirmed it ---
    ("unconfirmed", lambda f: f.ending == "stopped"): (
        "the run was stopped before a newer answer could confirm the result: run it again"
    ),
    ("unconfirmed", lambda f: f.ending == "deadline" and f.ended_by_run): (
        "the run's deadline passed before a newer answer could confirm the result: "
        "raise --deadline, or select fewer broadcasts for a run"
    ),
    ("unconfirmed", lambda f: f.ending == "deadline"): (
        "the deadline of {broadcast.deadline_seconds:g} s passed before a newer answer could "
        "confirm the result: raise deadline"
    ),
    ("unconfirmed", lambda f: not f.broadcast.settle_seconds and f.broadcast.discovery == "dns"): (
        "settle is 0s, so nothing was confirmed: set settle to more than a DNS cache's TTL"
    ),
    ("unconfirmed", lambda f: not f.broadcast.settle_seconds): (
        "settle is 0s, so nothing was confirmed: leave out settle"
    ),
    ("unconfirmed", lambda f: f.resolution_error and f.broadcast.discovery == "dns"): (
        "the last question failed ({resolution_error}): look at the pods of DNS and their logs"
    ),
    ("unconfirmed", lambda f: f.resolution_error): (
        "the last question failed ({resolution_error}): its line resolution.failed has the words "
        "of the Kubernetes API"
    ),
    ("unconfirmed", lambda f: f.stale): (
        "DNS answered with TTL 0 or said that its answer is stale, which confirms nothing: look at "
        "what the DNS cache serves when it cannot reach its upstream"
    ),
    ("unconfirmed", always): (
        "DNS gave no newer answer within {broadcast.settle_seconds:g} s: "
        "set settle to more than the TTL of the DNS cache (40s for the usual 30s)"
    ),
    # --- how the calls failed ---
    ("connect_refused", lambda f: f.acknowledged and f.broadcast.discovery == "dns"): (
        "the other pods answered, so these may have crashed: find them with "
        "kubectl get pods -A -o wide --field-selector status.podIP={last.endpoint.address}"
    ),
    ("connect_refused", lambda f: f.acknowledged): (
        "the other pods answered, so these may have crashed: kubectl describe pod{in_namespace}"
    ),
    ("connect_refused", lambda f: f.broadcast.discovery == "endpointslices"): (
        "nothing listens on port {last.endpoint.port} of the pods: the port is the container's, "
        "not the Service's, so set port_name, or the container's own port in url"
    ),
    ("connect_refused", always): (
        "nothing listens on port {exchange.url.port} of the pods: a headless Service maps no "
        "ports, so set the container's own port in url"
    ),
    ("connect_timeout", lambda f: f.acknowledged): (
        "the other pods answered, so the nodes of these may be down: kubectl get pods,nodes -o wide"
    ),
    ("connect_timeout", always): (
        "a NetworkPolicy may block the connections: "
        "allow egress from this pod, and ingress to the others, on port {exchange.url.port}"
    ),
    ("unreachable", always): (
        "there is no route to the pods: is this pod in the cluster's network? "
        "in a cluster with IPv4 and IPv6, set ip_family to the one that this pod has"
    ),
    ("timeout", always): (
        "the pods accept connections but do not answer within {exchange.timeout_seconds:g} s: "
        "raise timeout, or lower concurrency"
    ),
    ("connection_reset", lambda f: f.exchange.url.https): (
        "port {exchange.url.port} may not speak TLS, or may require a client certificate: "
        "write http:// in url, or set tls.cert_file"
    ),
    ("connection_reset", always): (
        "port {exchange.url.port} may require TLS, or may not speak HTTP at all: "
        "write https:// or another port in url"
    ),
    ("tls", _says("expired", "not yet valid")): (
        "the pods' certificate has expired or is not yet valid: renew it"
    ),
    ("tls", lambda f: UNKNOWN_CA(f) and f.exchange.tls.ca_file): (
        "the CA of the pods' certificate is not in tls.ca_file: name the file that has it"
    ),
    ("tls", UNKNOWN_CA): (
        "the CA of the pods' certificate is not in the system trust store: set tls.ca_file"
    ),
    ("tls", _says("mismatch", "match")): (
        "the pods' certificate is not valid for {exchange.server_name}: "
        "set tls.server_name to a name that it is valid for"
    ),
    ("tls", lambda f: CLIENT_CERTIFICATE(f) and f.exchange.tls.cert_file): (
        "the pods do not accept tls.cert_file: use a certificate of a CA that they trust"
    ),
    ("tls", CLIENT_CERTIFICATE): (
        "the pods require a client certificate: set tls.cert_file and tls.key_file"
    ),
    ("tls", NOT_TLS): (
        "port {exchange.url.port} does not speak TLS: write http:// or the port of https in url"
    ),
    ("tls", always): (
        "no TLS version or cipher in common: see what the pods offer with "
        "openssl s_client -connect POD:{exchange.url.port}"
    ),
    ("protocol", always): (
        "what answers on port {exchange.url.port} is not HTTP/1.1 (gRPC, TLS, another protocol?): "
        "set the port of HTTP in url"
    ),
    ("redirect", lambda f: not f.last.location): (
        "the pods redirect, which leads away from them: "
        "to accept that, list the status code in expect.status"
    ),
    (
        "redirect",
        lambda f: (f.last.location or "").lower().startswith("https:") and not f.exchange.url.https,
    ): ("the pods want https: write https:// and its port in url (Location: {last.location})"),
    ("redirect", always): (
        "the pods redirect: if the target is on the pods themselves, set url to it "
        "(Location: {last.location})"
    ),
    ("body_mismatch", lambda f: f.exchange.expect.json): (
        "the pods answer {last.status_code}, but not with the JSON that expect.json wants: the "
        "message of call.failed says what was found"
    ),
    ("body_mismatch", lambda f: f.exchange.expect.body_lacks): (
        "the pods answer {last.status_code}, but their bodies have the text of expect.body_lacks, "
        "or are too long to tell: set log_response: true to see what they say"
    ),
    ("body_mismatch", always): (
        "the pods answer {last.status_code} without the text of expect.body_contains: "
        "set log_response: true to see what they say"
    ),
    ("not_verified", lambda f: f.broadcast.verify): (
        "the pods took the request, but did not show its effect within "
        "{broadcast.verify.within_seconds:g} s{slowest}: verify.failed says what each of "
        "them answered; raise verify.within if they need longer"
    ),
    ("no_port", always): (
        "the pods' EndpointSlices have no TCP port {broadcast.port_name}: set port_name to the "
        "name of one that they have, or write the container's port in url; "
        "kubectl get endpointslices{in_namespace} -l kubernetes.io/service-name={service} -o yaml"
    ),
    ("local", _says("body_file ", "certificate")): (
        "a file of the configuration has changed or disappeared during the run: run it again"
    ),
    ("local", always): (
        "the fault is in this pod, not in the others: lower concurrency, or raise this pod's limit "
        "of open files (ulimit -n)"
    ),
    # --- which status code the pods answered ---
    **{
        (f"status {code}", always): (
            "the app may check the Host header: set headers.Host to the name that it expects"
        )
        for code in (400, 421)  # Misdirected Request, RFC 9110, 15.5.20
    },
    ("status 401", lambda f: f.has_credentials): (
        "the pods reject these credentials: compare the Secret with what the app expects"
    ),
    ("status 401", always): ("the pods require credentials: set auth"),
    ("status 403", lambda f: f.has_credentials): (
        "this account is not allowed to {exchange.method} here: give it that right in the app"
    ),
    ("status 403", always): (
        "the pods forbid the request: set auth, or let their ACL or mesh policy allow this pod"
    ),
    ("status 404", _from_envoy): (
        "the mesh's proxy answered, not the app: set headers.Host to a name that it routes"
    ),
    ("status 404", always): (
        "the app has nothing at {path}: correct the path in url; is a context path missing?"
    ),
    ("status 405", lambda f: f.last.allow): (
        "the method is {exchange.method}, but the pods allow only {last.allow}: set method"
    ),
    ("status 405", always): ("the pods do not allow the method {exchange.method}: set method"),
    ("status 501", always): ("the pods do not implement the method {exchange.method}: set method"),
    ("status 413", always): ("the body is longer than the pods accept: send a shorter one"),
    ("status 415", always): (
        "the pods do not accept this kind of body: set headers.Content-Type to what they expect"
    ),
    ("status 429", always): (
        "the pods limit how often they are called: raise stagger and backoff.max"
    ),
    ("status 503", _from_envoy): (
        "the mesh's proxy answered, not the app: see kubectl logs POD -c istio-proxy, "
        "and set headers.Host to a name that it routes"
    ),
    ("status 503", always): (
        "the pods may be starting or overloaded: "
        "raise attempts and backoff.max, or lower concurrency"
    ),
    ("status 5xx", always): (
        "the app fails with {last.status_code}: read the pods' log, or set log_response: true"
    ),
    # --- why the broadcast is not complete ---
    ("no_pods", always): (
        "does the Service's selector match pods, are they ready, is the name right? "
        "kubectl get endpointslices{in_namespace} -l kubernetes.io/service-name={service}"
    ),
    ("not_headless", always): (
        "set clusterIP: None in the Service, or use a second Service that has it in url, "
        "or set discovery: endpointslices, which reaches the pods of any Service"
    ),
    ("unproven", always): (
        "has the Service clusterIP: None? if so, let DNS name its pods: CoreDNS does with "
        "kubernetes ZONE in-addr.arpa ip6.arpa in its Corefile; or set discovery: endpointslices"
    ),
    ("outside_cluster", always): (
        "is there a Service of that name, and is its type not ExternalName? to call a host outside "
        "the cluster, write its whole name with a dot at its end in url"
    ),
    ("no_cluster_suffix", always): (
        "this resolv.conf is not a pod's: write SERVICE.NAMESPACE.svc.ZONE in url, set the pod's "
        "dnsPolicy to ClusterFirst (ClusterFirstWithHostNet with hostNetwork), or set "
        "--resolv-conf"
    ),
    ("dns_servfail", always): (
        "cluster DNS is broken, not the Service: look at the pods of DNS and their logs, "
        + KUBE_DNS
    ),
    ("dns_refused", always): (
        "the nameserver does not serve this pod or this zone: "
        "check the pod's dnsPolicy and resolv.conf, or set another server with --nameserver"
    ),
    ("dns_timeout", always): (
        "does a NetworkPolicy allow this pod port 53, UDP and TCP, and is DNS running? " + KUBE_DNS
    ),
    ("dns_truncated", always): (
        "one DNS answer holds about 4,000 addresses: set discovery: endpointslices, or "
        "split the Service by a label into several, with a broadcast for each"
    ),
    ("dns_capped", always): (
        "kube-dns lists 1,000 endpoints at most, so that some may be missing: "
        "set discovery: endpointslices, or "
        "split the Service by a label into several, with a broadcast for each"
    ),
    ("api_forbidden", _api_said("answered 401")): (
        "the API server does not accept the token: is --service-account of this cluster, and does "
        "the kubelet renew its token, as with manifests/components/endpointslices?"
    ),
    ("api_forbidden", always): (
        "add manifests/components/endpointslices, whose Role lets the worker list EndpointSlices; "
        "this has to say yes: kubectl auth can-i list endpointslices.discovery.k8s.io"
        "{in_namespace} --as {account}"
    ),
    ("api_unreachable", _api_said("answered ", "expire")): (
        "the API server is there, but overloaded or failing: kubectl get --raw /readyz"
    ),
    ("api_unreachable", _api_said("certificate", "SSL", "match")): (
        "the certificate of the API server could not be verified: ca.crt in --service-account has "
        "to be that of its CA, and --api-server one of its names"
    ),
    ("api_unreachable", always): (
        "does a NetworkPolicy allow this pod the port of the API server, and is it up? "
        "kubectl get --raw /readyz"
    ),
    ("api_error", _api_said("cannot be read", "sends a page")): (
        "look at what the Service's slices hold: "
        "kubectl get endpointslices{in_namespace} -l kubernetes.io/service-name={service} -o yaml"
    ),
    ("api_error", always): (
        "is --api-server the address of a Kubernetes API (1.21 or newer), or of a proxy for one "
        "such as kubectl proxy?"
    ),
    ("canary_failed", always): (
        "a canary failed, so nobody else was called: its lines call.failed and verify.failed say "
        "why"
    ),
    ("max_failed", always): (
        "more than {broadcast.max_failed} failed, so nobody new was called: look at the first of "
        "failed_endpoints"
    ),
    ("min_pods", always): (
        "{acknowledged} pods acknowledged, and min_pods is {broadcast.min_pods}: "
        "scale up, raise settle to wait longer for them, or lower min_pods"
    ),
    ("deadline", lambda f: f.broadcast.verify and not f.ended_by_run): (
        "the deadline of {broadcast.deadline_seconds:g} s passed{too_early}{slowest}: "
        "endpoint.failed says what each of them lacked; raise deadline if verify needs longer"
    ),
    ("deadline", lambda f: f.ended_by_run): (
        "the run's deadline passed{too_early}: "
        "raise --deadline, or select fewer broadcasts for a run"
    ),
    ("deadline", always): (
        "the deadline of {broadcast.deadline_seconds:g} s passed{too_early}: "
        "raise deadline{other_remedies}"
    ),
    ("cancelled", always): (
        "the run was stopped before it was done: run it again "
        "(if Kubernetes stopped it, kubectl describe job and pod say why)"
    ),
}
