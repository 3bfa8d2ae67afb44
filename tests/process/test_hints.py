"""Each hint, provoked in the whole program, and said in whole."""

from __future__ import annotations

import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from tests.loopback.nameserver import FaultKind, Nameserver
from tests.loopback.pods import Behaviour, Exchange, Pods, raw, reply, reset, silent
from tests.loopback.program import Finished, Worker
from tests.process.conftest import Run
from tests.process.test_calls import FEW_FILES

WEB = "web.default.svc.cluster.local"
QUICK = "  settle: 1s\n  attempts: 1\n"
# For pods that hang; the others need a small part of it, on a busy machine too.
IMPATIENT = "  timeout: 2s\n  connect_timeout: 2s\n"


def config(port: int, more: str = "", scheme: str = "http") -> str:
    return f"- name: clear\n  url: {scheme}://web:{port}/clear\n{QUICK}{more}"


def hint_of(finished: Finished) -> str:
    done = finished.only("broadcast.finished")
    assert done["message"].endswith(f". Hint: {done['hint']}")
    assert isinstance(done["hint"], str)
    return done["hint"]


# --- how the calls failed ------------------------------------------------------------------------


async def hang_up(_: Exchange) -> None:
    """Closes at once."""


ENVOY = ["Server: istio-envoy"]
# What the pods do, what the configuration says beside it, and the hint. PORT is the pods'.
ANSWERS: dict[str, tuple[Behaviour, str, str]] = {
    "silence": (
        silent,
        IMPATIENT,
        "the pods accept connections but do not answer within 2 s: "
        "raise timeout, or lower concurrency",
    ),
    "RST": (
        reset(),
        "",
        "port PORT may require TLS, or may not speak HTTP at all: "
        "write https:// or another port in url",
    ),
    "no HTTP": (
        raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
        "",
        "what answers on port PORT is not HTTP/1.1 (gRPC, TLS, another protocol?): "
        "set the port of HTTP in url",
    ),
    "301 to https": (
        reply(301, headers=["Location: https://shop.example/clear"]),
        "",
        "the pods want https: write https:// and its port in url "
        "(Location: https://shop.example/clear)",
    ),
    "302": (
        reply(302, headers=["Location: /login"]),
        "",
        "the pods redirect: if the target is on the pods themselves, set url to it "
        "(Location: /login)",
    ),
    "304": (
        reply(304),
        "",
        "the pods redirect, which leads away from them: "
        "to accept that, list the status code in expect.status",
    ),
    "another body": (
        reply(200, b"nope"),
        "  expect: {body_contains: cleared}\n",
        "the pods answer 200 without the text of expect.body_contains: "
        "set log_response: true to see what they say",
    ),
    "a body that it must not be": (
        reply(200, b'{"error": "no such cache"}'),
        "  expect: {body_lacks: error}\n",
        "the pods answer 200, but their bodies have the text of expect.body_lacks, "
        "or are too long to tell: set log_response: true to see what they say",
    ),
    "other JSON": (
        reply(200, b'{"status": "failed"}'),
        "  expect: {json: {/status: ok}}\n",
        "the pods answer 200, but not with the JSON that expect.json wants: the "
        "message of call.failed says what was found",
    ),
    "400": (
        reply(400),
        "",
        "the app may check the Host header: set headers.Host to the name that it expects",
    ),
    "421": (
        reply(421),
        "",
        "the app may check the Host header: set headers.Host to the name that it expects",
    ),
    "401": (reply(401), "", "the pods require credentials: set auth"),
    "401 to credentials": (
        reply(401),
        "  auth: {bearer: {env: TOKEN}}\n",
        "the pods reject these credentials: compare the Secret with what the app expects",
    ),
    "403": (
        reply(403),
        "",
        "the pods forbid the request: set auth, or let their ACL or mesh policy allow this pod",
    ),
    "403 to credentials": (
        reply(403),
        "  headers: {Authorization: {env: TOKEN}}\n",
        "this account is not allowed to POST here: give it that right in the app",
    ),
    "404": (
        reply(404),
        "",
        "the app has nothing at /clear: correct the path in url; is a context path missing?",
    ),
    "404 from Envoy": (
        reply(404, headers=ENVOY),
        "",
        "the mesh's proxy answered, not the app: set headers.Host to a name that it routes",
    ),
    "405": (
        reply(405, headers=["Allow: GET, HEAD"]),
        "",
        "the method is POST, but the pods allow only GET, HEAD: set method",
    ),
    "405 without Allow": (
        reply(405),
        "",
        "the pods do not allow the method POST: set method",
    ),
    "501": (reply(501), "", "the pods do not implement the method POST: set method"),
    "413": (reply(413), "", "the body is longer than the pods accept: send a shorter one"),
    "415": (
        reply(415),
        "",
        "the pods do not accept this kind of body: set headers.Content-Type to what they expect",
    ),
    "429": (
        reply(429),
        "",
        "the pods limit how often they are called: raise stagger and backoff.max",
    ),
    "500": (
        reply(500),
        "",
        "the app fails with 500: read the pods' log, or set log_response: true",
    ),
    "503": (
        reply(503),
        "",
        "the pods may be starting or overloaded: "
        "raise attempts and backoff.max, or lower concurrency",
    ),
    "503 from Envoy": (
        reply(503, headers=ENVOY),
        "",
        "the mesh's proxy answered, not the app: see kubectl logs POD -c istio-proxy, "
        "and set headers.Host to a name that it routes",
    ),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_pods_that_all_answer_with(what: str, run: Run, three_pods: Pods) -> None:
    behaviour, more, expected = ANSWERS[what]
    for number in range(3):
        three_pods[number].script(behaviour)
    finished = run(config(three_pods.port, more), environment={"TOKEN": "t0ken"})
    assert finished.exit_code == 4
    assert hint_of(finished) == expected.replace("PORT", str(three_pods.port))


def test_pods_that_all_refuse(run: Run, three_pods: Pods) -> None:
    three_pods.die(*three_pods.addresses)
    assert hint_of(run(config(three_pods.port))) == (
        f"nothing listens on port {three_pods.port} of the pods: a headless Service maps no ports, "
        "so set the container's own port in url"
    )


def test_one_pod_that_refuses(run: Run, three_pods: Pods) -> None:
    three_pods.die(three_pods.addresses[0])
    assert hint_of(run(config(three_pods.port))) == (
        "the other pods answered, so these may have crashed: "
        "find them with kubectl get pods -A -o wide "
        f"--field-selector status.podIP={three_pods.addresses[0]}"
    )


def test_pods_that_all_swallow_connections(run: Run, three_pods: Pods) -> None:
    for address in three_pods.addresses:
        three_pods.blackhole(address)
    assert hint_of(run(config(three_pods.port, IMPATIENT))) == (
        "a NetworkPolicy may block the connections: "
        f"allow egress from this pod, and ingress to the others, on port {three_pods.port}"
    )


def test_one_pod_that_swallows_connections(run: Run, three_pods: Pods) -> None:
    three_pods.blackhole(three_pods.addresses[0])
    assert hint_of(run(config(three_pods.port, IMPATIENT))) == (
        "the other pods answered, so the nodes of these may be down: kubectl get pods,nodes -o wide"
    )


def test_no_file_descriptors_left(nameserver: Nameserver, tmp_path: Path) -> None:
    with Pods(40) as pods:
        nameserver.set(WEB, *pods.addresses)
        gate = pods.gate()
        for address in pods.addresses:
            pods[address].script(reply(after=gate))
        wide = config(pods.port, "  concurrency: 40\n")
        with Worker(tmp_path, wide, nameserver=nameserver, prefix=FEW_FILES) as worker:
            worker.wait_for_event("call.failed")
            gate.open()
            finished = worker.finish()
    assert hint_of(finished) == (
        "the fault is in this pod, not in the others: lower concurrency, or raise this pod's limit "
        "of open files (ulimit -n)"
    )


# --- TLS -----------------------------------------------------------------------------------------

Setup = Callable[[trustme.CA, ssl.SSLContext], None]


def serve(name: str, not_after: datetime | None = None) -> Setup:
    def set_up(ca: trustme.CA, context: ssl.SSLContext) -> None:
        ca.issue_cert(name, not_after=not_after).configure_cert(context)

    return set_up


YESTERDAY = datetime.now(UTC) - timedelta(days=1)
CERTIFICATES: dict[str, tuple[Setup, str, str]] = {
    "of an unknown CA": (
        serve("web"),
        "{}",
        "the CA of the pods' certificate is not in the system trust store: set tls.ca_file",
    ),
    "of another CA than that of ca_file": (
        serve("web"),
        "{ca_file: other.pem}",
        "the CA of the pods' certificate is not in tls.ca_file: name the file that has it",
    ),
    "for another name": (
        serve("web.shop.svc"),
        "{ca_file: ca.pem}",
        "the pods' certificate is not valid for web: "
        "set tls.server_name to a name that it is valid for",
    ),
    "for another name than server_name": (
        serve("web"),
        "{ca_file: ca.pem, server_name: web.shop.svc}",
        "the pods' certificate is not valid for web.shop.svc: "
        "set tls.server_name to a name that it is valid for",
    ),
    "that has expired": (
        serve("web", not_after=YESTERDAY),
        "{ca_file: ca.pem}",
        "the pods' certificate has expired or is not yet valid: renew it",
    ),
}


@pytest.mark.parametrize("what", CERTIFICATES)
def test_pods_with_a_certificate(
    what: str, run: Run, nameserver: Nameserver, tmp_path: Path
) -> None:
    set_up, tls, expected = CERTIFICATES[what]
    ca, other = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    set_up(ca, context)
    with Pods(2, tls=context) as pods:
        nameserver.set(WEB, *pods.addresses)
        finished = run(config(pods.port, f"  tls: {tls}\n", "https"))
    assert finished.exit_code == 4
    assert hint_of(finished) == expected


@contextmanager
def demanding_server(ca: trustme.CA, version: ssl.TLSVersion) -> Iterator[tuple[str, int]]:
    """Asks for a client certificate, and says what it misses by an alert (asyncio's do not)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    ca.configure_trust(context)
    ca.issue_cert("web").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield "127.0.0.1", server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        (
            "{ca_file: ca.pem}",
            "the pods require a client certificate: set tls.cert_file and tls.key_file",
        ),
        (
            "{ca_file: ca.pem, cert_file: client.pem}",
            "the pods do not accept tls.cert_file: use a certificate of a CA that they trust",
        ),
    ],
)
def test_pods_that_ask_for_a_client_certificate(
    tls: str,
    expected: str,
    version: ssl.TLSVersion,
    run: Run,
    nameserver: Nameserver,
    tmp_path: Path,
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client = trustme.CA().issue_cert("worker@example.org").private_key_and_cert_chain_pem
    client.write_to_path(str(tmp_path / "client.pem"))
    with demanding_server(ca, version) as (address, port):
        nameserver.set(WEB, address)
        finished = run(config(port, f"  tls: {tls}\n", "https"))
    assert hint_of(finished) == expected, finished.only("call.failed")


async def plain_http(exchange: Exchange) -> None:
    """Answers to a ClientHello what most servers do."""
    await exchange.reader.read(1)
    await exchange.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (
            plain_http,
            "port PORT does not speak TLS: write http:// or the port of https in url",
        ),
        (
            hang_up,
            "port PORT may not speak TLS, or may require a client certificate: "
            "write http:// in url, or set tls.cert_file",
        ),
    ],
)
def test_pods_without_tls_where_the_url_says_https(
    behaviour: Behaviour, expected: str, run: Run, three_pods: Pods
) -> None:
    for number in range(3):
        three_pods[number].script(behaviour)
    finished = run(config(three_pods.port, scheme="https"))
    assert hint_of(finished) == expected.replace("PORT", str(three_pods.port))


# --- DNS, and what the reason alone says ---------------------------------------------------------

KUBE_DNS = "kubectl -n kube-system get pods -l k8s-app=kube-dns"
FAULTS: dict[FaultKind, str] = {
    "servfail": (
        "cluster DNS is broken, not the Service: look at the pods of DNS and their logs, "
        + KUBE_DNS
    ),
    "refused": (
        "the nameserver does not serve this pod or this zone: check the pod's dnsPolicy and "
        "resolv.conf, or set another server with --nameserver"
    ),
    "silence": (
        f"does a NetworkPolicy allow this pod port 53, UDP and TCP, and is DNS running? {KUBE_DNS}"
    ),
    "truncate": (
        "one DNS answer holds about 4,000 addresses: set discovery: endpointslices, or "
        "split the Service by a label into several, with a broadcast for each"
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_dns_that_only_ever_answers_with(kind: FaultKind, run: Run, nameserver: Nameserver) -> None:
    nameserver.fault(kind)
    options = "ndots:5 timeout:1 attempts:1" if kind == "silence" else "ndots:5"
    finished = run(config(8080), options=options)
    assert hint_of(finished) == FAULTS[kind]


def test_a_service_without_pods(run: Run, nameserver: Nameserver) -> None:
    nameserver.set("web.shop.svc.cluster.local")
    assert hint_of(run(config(8080).replace("//web:", "//web.shop:"))) == (
        "does the Service's selector match pods, are they ready, is the name right? "
        "kubectl get endpointslices -n shop -l kubernetes.io/service-name=web"
    )


def test_a_pods_own_name_that_nobody_has(run: Run, nameserver: Nameserver) -> None:
    nameserver.set("web-0.web.shop.svc.cluster.local")
    assert hint_of(run(config(8080).replace("//web:", "//web-0.web.shop:"))).endswith(
        "kubectl get endpointslices -n shop -l kubernetes.io/service-name=web"
    )


def test_a_service_that_is_not_headless(run: Run, nameserver: Nameserver) -> None:
    nameserver.set(WEB, "127.0.0.1")
    nameserver.set_ptr("127.0.0.1", WEB)
    assert hint_of(run(config(8080))) == (
        "set clusterIP: None in the Service, or use a second Service that has it in url, "
        "or set discovery: endpointslices, which reaches the pods of any Service"
    )


def test_one_address_that_is_not_shown_to_be_a_pods(run: Run, nameserver: Nameserver) -> None:
    nameserver.shows_pods = False
    nameserver.set(WEB, "127.0.0.1")
    assert hint_of(run(config(8080))) == (
        "has the Service clusterIP: None? if so, let DNS name its pods: CoreDNS does with "
        "kubernetes ZONE in-addr.arpa ip6.arpa in its Corefile; or set discovery: endpointslices"
    )


def test_an_alias_that_leads_out_of_the_cluster(run: Run, nameserver: Nameserver) -> None:
    nameserver.set_cname(WEB, "web.corp.example.com")
    nameserver.set("web.corp.example.com", "127.0.0.1")
    assert hint_of(run(config(8080))) == (
        "is there a Service of that name, and is its type not ExternalName? to call a host outside "
        "the cluster, write its whole name with a dot at its end in url"
    )


def test_a_resolv_conf_that_is_not_a_pods(run: Run) -> None:
    assert hint_of(run(config(8080), search=("corp.example.com",))) == (
        "this resolv.conf is not a pod's: write SERVICE.NAMESPACE.svc.ZONE in url, set the pod's "
        "dnsPolicy to ClusterFirst (ClusterFirstWithHostNet with hostNetwork), or set "
        "--resolv-conf"
    )


def test_fewer_than_min_pods(run: Run, three_pods: Pods) -> None:
    assert hint_of(run(config(three_pods.port, "  min_pods: 5\n"))) == (
        "3 pods acknowledged, and min_pods is 5: "
        "scale up, raise settle to wait longer for them, or lower min_pods"
    )


def test_a_deadline_that_is_too_short_for_all(run: Run, three_pods: Pods) -> None:
    more = "  concurrency: 1\n  stagger: 30s\n  deadline: 1s\n"
    assert hint_of(run(config(three_pods.port, more))) == (
        "the deadline of 1 s passed before 2 of 3 endpoints had acknowledged: "
        "raise deadline or concurrency, or lower stagger"
    )


def test_a_run_that_is_stopped(nameserver: Nameserver, three_pods: Pods, tmp_path: Path) -> None:
    more = "  concurrency: 1\n  stagger: 30s\n"
    with Worker(tmp_path, config(three_pods.port, more), nameserver=nameserver) as worker:
        worker.wait_for_event("call.succeeded")
        worker.signal(signal.SIGTERM)
        finished = worker.finish()
    assert finished.exit_code == 143
    assert hint_of(finished) == (
        "the run was stopped before it was done: run it again "
        "(if Kubernetes stopped it, kubectl describe job and pod say why)"
    )


@pytest.mark.parametrize(
    ("settle", "expected"),
    [
        (
            "0s",
            "settle is 0s, so nothing was confirmed: set settle to more than a DNS cache's TTL",
        ),
        (
            "1s",
            "DNS gave no newer answer within 1 s: "
            "set settle to more than the TTL of the DNS cache (40s for the usual 30s)",
        ),
    ],
)
def test_a_complete_broadcast_that_no_newer_answer_confirmed(
    settle: str, expected: str, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.caching_seconds = 30
    nameserver.set(WEB, *three_pods.addresses, ttl=30)
    text = config(three_pods.port).replace("settle: 1s", f"settle: {settle}")
    finished = run(text)
    assert finished.exit_code == 0
    assert hint_of(finished) == expected
