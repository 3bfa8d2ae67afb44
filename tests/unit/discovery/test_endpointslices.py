"""Lists of EndpointSlices over real HTTP and TLS, good and broken: what becomes of each."""

from __future__ import annotations

import gzip
import json
import math
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.loopback import kubernetes_api as api
from tests.loopback.kubernetes_api import Behaviour, KubernetesApi, endpointslice, pod
from tests.records import broadcast
from worker.discovery import endpointslices
from worker.discovery.api import Api
from worker.discovery.endpointslices import EndpointSlices
from worker.model import Answer, Endpoint, ResolutionFailure, Target

HOST = "http://web.shop/"
HERE = Target("web-a", "node-1", "zone-a")


@pytest.fixture
def server() -> Iterator[KubernetesApi]:
    with KubernetesApi() as server:
        yield server


def ask(server: KubernetesApi, url: str = HOST, **fields: Any) -> Answer | ResolutionFailure:
    source = EndpointSlices(broadcast(url, **fields), Api(server.url, None, None, "own"))
    return source.ask(math.inf)


def answer(server: KubernetesApi, url: str = HOST, **fields: Any) -> Answer:
    found = ask(server, url, **fields)
    assert isinstance(found, Answer), found
    return found


def failure(server: KubernetesApi, **fields: Any) -> ResolutionFailure:
    found = ask(server, **fields)
    assert isinstance(found, ResolutionFailure), found
    return found


# --- what is asked ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "namespace"),
    [
        ("web", "own"),
        ("web.shop", "shop"),
        ("web.shop.svc", "shop"),
        ("web.shop.svc.cluster.local.", "shop"),
    ],
)
def test_the_services_slices_are_listed_as_the_cluster_is(
    host: str, namespace: str, server: KubernetesApi
) -> None:
    found = answer(server, f"http://{host}:8080/")
    assert (found.qname, found.endpoints) == (f"{namespace}/web", ())
    (request,) = server.requests
    assert request.method == "GET"
    assert request.path == f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    assert request.query == {"labelSelector": "kubernetes.io/service-name=web", "limit": "100"}
    assert request.headers["accept-encoding"] == "gzip"
    assert "authorization" not in request.headers


def test_nothing_of_the_environment_is_used(
    server: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert answer(server).endpoints == ()
    assert "authorization" not in server.requests[0].headers


def test_the_token_is_read_for_every_list_and_the_ca_verifies_the_server(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    token = tmp_path / "token"
    with KubernetesApi(context) as server:
        source = EndpointSlices(broadcast(HOST), Api(server.url, token, tmp_path / "ca.crt", "own"))
        for text in ("first", "second\n"):
            token.write_text(text)
            assert isinstance(source.ask(math.inf), Answer)
        token.unlink()
        refused = source.ask(math.inf)
        assert isinstance(refused, ResolutionFailure)
        stranger = EndpointSlices(broadcast(HOST), Api(server.url, None, None, "own"))
        unverified = stranger.ask(math.inf)
    assert [r.headers["authorization"] for r in server.requests] == [
        "Bearer first",
        "Bearer second",
    ]
    assert refused.error_type == "api_forbidden"
    assert refused.error_message == (
        f"{server.url} was not asked: cannot read the token {token}: No such file or directory; "
        "add manifests/components/endpointslices"
    )
    assert isinstance(unverified, ResolutionFailure)
    assert (unverified.error_type, unverified.error_message) == (
        "api_unreachable",
        f"{server.url} gave no answer: unable to get local issuer certificate",
    )


def test_pages_are_put_together(server: KubernetesApi) -> None:
    server.slices = [
        endpointslice(pod(f"10.0.{n}.1", f"web-{n}"), name=f"web-{n}") for n in range(250)
    ]
    found = answer(server)
    assert [e.address for e in found.endpoints] == [f"10.0.{n}.1" for n in range(250)]
    assert [r.query.get("continue") for r in server.requests] == [None, "100", "200"]


def test_a_list_that_expires_between_its_pages_starts_over(server: KubernetesApi) -> None:
    old = endpointslice(pod("10.0.0.9", "web-old"))
    page = {"kind": "EndpointSliceList", "metadata": {"continue": "x"}, "items": [old]}
    server.script(api.body(json.dumps(page).encode()), api.status(410, "too old"))
    server.slices = [endpointslice(pod("10.0.0.1", "web-a"))]
    assert [e.address for e in answer(server).endpoints] == ["10.0.0.1"]
    assert [r.query.get("continue") for r in server.requests] == [None, "x", None]


# --- who is listed ------------------------------------------------------------------------------


def test_pods_are_listed_by_uid_with_name_node_and_zone(server: KubernetesApi) -> None:
    server.slices = [
        endpointslice(
            pod("10.0.0.10", "web-b", node="node-2", zone="zone-b"), pod("10.0.0.9", "web-a")
        )
    ]
    before = time.monotonic()
    found = answer(server, "http://web.shop:8080/")
    a, b = Endpoint("10.0.0.9", 8080, "uid-web-a"), Endpoint("10.0.0.10", 8080, "uid-web-b")
    assert found == Answer(
        qname="shop/web",
        endpoints=(a, b),
        ttl_seconds=0,
        expires_earliest_at=found.expires_earliest_at,
        expires_latest_at=found.expires_latest_at,
        absence="EndpointSlices list nobody",
        exact=True,
        not_ready=frozenset(),
        targets={a: HERE, b: Target("web-b", "node-2", "zone-b")},
    )
    assert before < found.expires_earliest_at < found.expires_latest_at < time.monotonic()


def test_who_is_not_ready_is_told_apart_and_who_is_terminating_is_not_listed(
    server: KubernetesApi,
) -> None:
    endpoints = (
        pod("10.0.0.1", "web-a"),
        pod("10.0.0.2", "web-b", ready=False),
        pod("10.0.0.3", "web-c", ready=False, terminating=True, serving=True),
        pod("10.0.0.4", "web-d", ready=True, terminating=True),
        {"addresses": ["10.0.0.5"]},  # without conditions it counts as ready
        {"addresses": ["10.0.0.6"], "conditions": {"ready": None}},
    )
    server.slices = [endpointslice(*endpoints)]
    found = answer(server)
    assert [e.address for e in found.endpoints] == ["10.0.0.1", "10.0.0.5", "10.0.0.6"]
    assert [e.address for e in found.not_ready] == ["10.0.0.2"]
    assert found.targets.keys() == {*found.endpoints, *found.not_ready}
    everybody = answer(server, include_not_ready=True)
    addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.5", "10.0.0.6"]
    assert [e.address for e in everybody.endpoints] == addresses
    assert everybody.not_ready == frozenset()


def test_an_endpoint_in_two_slices_is_one_and_ready_if_either_says_so(
    server: KubernetesApi,
) -> None:
    server.slices = [
        endpointslice(pod("10.0.0.1", "web-a", ready=False), pod("10.0.0.2", "web-b")),
        endpointslice(pod("10.0.0.1", "web-a"), pod("10.0.0.2", "web-b", ready=False), name="2"),
    ]
    found = answer(server)
    assert [e.address for e in found.endpoints] == ["10.0.0.1", "10.0.0.2"]
    assert found.not_ready == frozenset()


FAMILIES = {
    "auto": ["10.0.0.1", "10.0.0.2", "fd00::3"],
    "ipv4": ["10.0.0.1", "10.0.0.2"],
    "ipv6": ["fd00::1", "fd00::3"],
}


@pytest.mark.parametrize("ip_family", FAMILIES)
def test_a_dual_stack_pod_is_called_once(ip_family: str, server: KubernetesApi) -> None:
    server.slices = [
        endpointslice(pod("fd00::1", "web-a"), pod("fd00::3", "web-c"), family="IPv6"),
        endpointslice(pod("10.0.0.1", "web-a"), pod("10.0.0.2", "web-b")),
    ]
    found = answer(server, ip_family=ip_family)
    assert [e.address for e in found.endpoints] == FAMILIES[ip_family]


def test_each_endpoint_has_the_port_that_its_slice_names(server: KubernetesApi) -> None:
    unnamed = endpointslice(pod("10.0.0.3", "web-c"), ports={"metrics": 9090})
    udp = endpointslice(pod("10.0.0.4", "web-d"))
    udp["ports"][0]["protocol"] = "UDP"
    any_port = endpointslice(pod("10.0.0.5", "web-e")) | {"ports": None}
    no_number = endpointslice(pod("10.0.0.6", "web-f")) | {"ports": [{"name": "http"}]}
    server.slices = [
        endpointslice(pod("10.0.0.1", "web-a"), ports={"metrics": 9090, "http": 8080}),
        endpointslice(pod("10.0.0.2", "web-b"), ports={"http": 9000}),
        unnamed,
        udp,
        any_port,
        no_number,
    ]
    found = answer(server, port_name="http")
    ports = {e.address.rpartition(".")[2]: e.port for e in found.endpoints}
    assert ports == {"1": 8080, "2": 9000, "3": 0, "4": 0, "5": 0, "6": 0}
    assert {e.port for e in answer(server, "http://web.shop:81/").endpoints} == {81}


def test_a_pod_in_two_slices_has_the_port_of_either(server: KubernetesApi) -> None:
    server.slices = [
        endpointslice(pod("10.0.0.1", "web-a"), ports={"admin": 1}),
        endpointslice(pod("10.0.0.1", "web-a"), ports={"http": 8080}, name="web-2"),
    ]
    found = answer(server, port_name="http")
    assert found.endpoints == (Endpoint("10.0.0.1", 8080, "uid-web-a"),)
    assert found.targets.keys() == set(found.endpoints)


@pytest.mark.parametrize("port", [65536, 70000, -1, "8080", True])
def test_what_is_no_port_is_an_error(port: object, server: KubernetesApi) -> None:
    server.slices = [endpointslice(pod("10.0.0.1"), ports={"http": port})]  # type: ignore[dict-item]
    found = failure(server, port_name="http")
    assert (found.error_type, found.error_message) == (
        "api_error",
        f"{server.url} lists an EndpointSlice that cannot be read: "
        f"ValueError({f'{port!r} is no port'!r})",
    )


def test_without_slices_and_without_endpoints_nobody_is_listed(server: KubernetesApi) -> None:
    """Without any slice, that proves as little as it would from DNS."""
    found = answer(server)
    assert (found.absence, found.exact) == ("no EndpointSlices", False)
    server.slices = [endpointslice(), endpointslice() | {"endpoints": None}]
    found = answer(server)
    assert (found.absence, found.exact) == ("EndpointSlices list nobody", True)


FOREIGN = {
    "127.0.0.1": "a loopback",
    "169.254.1.1": "a link-local",
    "224.0.0.1": "a multicast",
    "0.0.0.0": "an unspecified",
}


@pytest.mark.parametrize("address", FOREIGN)
def test_an_address_that_no_pod_has_is_never_called(
    address: str, server: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.slices = [endpointslice(pod("10.0.0.1"), pod(address))]
    if address == "127.0.0.1":
        assert answer(server).endpoints == (Endpoint("10.0.0.1", 80), Endpoint(address, 80))
        # The same server by another name, which is not known to be on loopback.
        monkeypatch.setattr(KubernetesApi, "url", server.url.replace("127.0.0.1", "127.1"))
    found = failure(server)
    kind = FOREIGN[address]
    assert (found.error_type, found.error_message) == (
        "outside_cluster",
        f"{server.url} lists {address}: no pod has {kind} address",
    )


def test_localhost_is_on_loopback_too(
    server: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KubernetesApi, "url", server.url.replace("127.0.0.1", "localhost"))
    server.slices = [endpointslice(pod("127.0.0.1"))]
    assert answer(server).endpoints == (Endpoint("127.0.0.1", 80),)


def test_a_slice_of_names_is_no_pod(server: KubernetesApi) -> None:
    server.slices = [endpointslice({"addresses": ["example.com"]}, name="web-x", family="FQDN")]
    found = failure(server)
    assert (found.error_type, found.error_message) == (
        "outside_cluster",
        f"{server.url} lists web-x, an EndpointSlice of FQDN: no pod has such an address",
    )


# --- what is no list ----------------------------------------------------------------------------

FORBIDDEN = (
    'endpointslices.discovery.k8s.io is forbidden: User "system:serviceaccount:ops:worker" cannot '
    'list resource "endpointslices" in API group "discovery.k8s.io" in the namespace "shop"'
)
NO_LIST = "no list of EndpointSlices"
BROKEN: dict[str, tuple[Behaviour, str, str]] = {
    "401": (api.status(401, "Unauthorized"), "api_forbidden", "answered 401: Unauthorized"),
    "403": (api.status(403, FORBIDDEN), "api_forbidden", f"answered 403: {FORBIDDEN}"),
    "404": (api.status(404, "not found"), "api_error", "answered 404: not found"),
    "410 without pages": (api.status(410, "gone"), "api_error", "answered 410: gone"),
    "429": (api.status(429, "too many"), "api_unreachable", "answered 429: too many"),
    "500": (api.status(500, "etcd"), "api_unreachable", "answered 500: etcd"),
    "503 of a proxy": (
        api.body(b"upstream connect error", 503),
        "api_unreachable",
        f"answered 503: {NO_LIST}",
    ),
    "a redirect": (
        api.body(b"", 302, Location="http://127.0.0.1:1/"),
        "api_error",
        f"answered 302: {NO_LIST}",
    ),
    "garbage": (api.body(b"\x00\xff"), "api_error", f"answered 200: {NO_LIST}"),
    "broken gzip": (
        api.body(gzip.compress(b"{}" * 99)[:20], Content_Encoding="gzip"),
        "api_error",
        f"answered 200: {NO_LIST}",
    ),
    "a list of something else": (
        api.body(b'{"kind": "PodList", "metadata": {}, "items": []}'),
        "api_error",
        f"answered 200: {NO_LIST}",
    ),
    "JSON that is no object": (api.body(b"[]"), "api_error", f"answered 200: {NO_LIST}"),
    "a long message": (api.status(404, "x" * 9999), "api_error", f"answered 404: {'x' * 4096}"),
    "no answer": (
        api.hang_up,
        "api_unreachable",
        "gave no answer: Remote end closed connection without response",
    ),
    "half an answer": (
        api.break_off,
        "api_unreachable",
        "gave no answer: IncompleteRead(18 bytes read, 982 more expected)",
    ),
    "a slice without a type": (
        api.listing({"endpoints": []}),
        "api_error",
        "lists an EndpointSlice that cannot be read: KeyError('addressType')",
    ),
    "a uid that is no text": (
        api.listing(endpointslice({"addresses": ["10.0.0.1"], "targetRef": {"uid": 7}})),
        "api_error",
        "lists an EndpointSlice that cannot be read: "
        "TypeError('intern() argument must be str, not int')",
    ),
    "an endpoint without an address": (
        api.listing(endpointslice({"addresses": []})),
        "api_error",
        "lists an EndpointSlice that cannot be read: IndexError('list index out of range')",
    ),
    "an address that is none": (
        api.listing(endpointslice(pod("web"))),
        "api_error",
        "lists an EndpointSlice that cannot be read: ValueError(\"'web' is not an IP address\")",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_list_is_a_failure_that_says_why(what: str, server: KubernetesApi) -> None:
    behaviour, error_type, message = BROKEN[what]
    server.script(behaviour)
    found = failure(server)
    assert found == ResolutionFailure("shop/web", error_type, f"{server.url} {message}")  # type: ignore[arg-type]
    assert len(server.requests) == 1
    assert answer(server).endpoints == ()


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("soon", 0.0), ("-1", 0.0), ("Wed, 21 Oct", 0.0)]
)
def test_retry_after_says_when_to_ask_again(
    header: str, seconds: float, server: KubernetesApi
) -> None:
    server.script(api.status(429, "too many", Retry_After=header))
    assert failure(server).retry_after_seconds == seconds


def test_lists_that_expire_again_and_again_are_given_up(server: KubernetesApi) -> None:
    page = {"kind": "EndpointSliceList", "metadata": {"continue": "x"}, "items": []}
    first, expired = api.body(json.dumps(page).encode()), api.status(410, "too old")
    server.script(*[first, expired] * 9)
    found = failure(server)
    assert (found.error_type, found.error_message) == (
        "api_unreachable",
        f"{server.url} lets each list expire before its last page (410)",
    )
    assert len(server.requests) == 10


def test_json_that_is_too_deep_is_no_list(server: KubernetesApi) -> None:
    server.script(api.body(b"[" * 100_000))
    assert failure(server).error_type == "api_error"


def test_the_log_is_told_the_token_since_a_proxy_may_repeat_it(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    (tmp_path / "token").write_text("s3cret")
    hidden: list[str] = []
    with KubernetesApi(context) as server:
        server.script(api.status(401, "what is Bearer s3cret?"))
        where = Api(server.url, tmp_path / "token", tmp_path / "ca.crt", "own", hidden.append)
        found = EndpointSlices(broadcast(HOST), where).ask(math.inf)
    assert hidden == ["s3cret"]
    assert isinstance(found, ResolutionFailure)
    assert found.error_message == f"{server.url} answered 401: what is Bearer s3cret?"


def test_nobody_listens() -> None:
    with KubernetesApi() as server:
        pass
    found = failure(server)
    assert (found.error_type, found.error_message) == (
        "api_unreachable",
        f"{server.url} gave no answer: Connection refused",
    )


@pytest.mark.parametrize(
    "behaviour",
    [api.silent, api.endless, api.endless_head],
)
@pytest.mark.parametrize("whose", ["the question's own", "the deadline"])
def test_a_list_that_never_comes_ends_in_time(
    behaviour: Behaviour,
    whose: str,
    server: KubernetesApi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if whose == "the question's own":
        monkeypatch.setattr(endpointslices, "QUESTION_SECONDS", 0.3)
    server.script(behaviour)
    source = EndpointSlices(broadcast(HOST), Api(server.url, None, None, "own"))
    began_at = time.monotonic()
    found = source.ask(math.inf if whose == "the question's own" else began_at + 0.3)
    assert isinstance(found, ResolutionFailure)
    assert (found.error_type, found.error_message) == (
        "api_unreachable",
        f"{server.url} gave no whole answer in time",
    )
    assert time.monotonic() - began_at < 30  # or it hangs
    assert isinstance(source.ask(math.inf), Answer)


class Drip:
    """A body that never ends."""

    def read1(self, _size: int, decode_content: bool) -> bytes:
        assert not decode_content
        return b" "


def test_a_question_that_nobody_waits_for_any_more_ends_by_itself() -> None:
    with pytest.raises(TimeoutError):
        endpointslices._read(Drip(), time.monotonic() + 0.05)  # noqa: SLF001


def test_a_list_that_grows_without_an_end_is_given_up(
    server: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpointslices, "MAX_PAGE_BYTES", 1000)
    zipped = gzip.compress(b" " * 100_000)
    assert len(zipped) < 1000
    server.script(api.body(b" " * 2000), api.body(zipped, Content_Encoding="gzip"))
    for _ in range(2):
        found = failure(server)
        assert (found.error_type, found.error_message) == (
            "api_error",
            f"{server.url} sends a page of more than 1000 bytes",
        )


# --- what it proves -----------------------------------------------------------------------------


@pytest.fixture
def lists(server: KubernetesApi) -> Callable[[], Answer]:
    source = EndpointSlices(broadcast(HOST), Api(server.url, None, None, "own"))

    def ask() -> Answer:
        found = source.ask(math.inf)
        assert isinstance(found, Answer)
        return found

    return ask


def test_a_later_list_is_newer_and_never_a_copy(
    lists: Callable[[], Answer], server: KubernetesApi
) -> None:
    server.slices = [endpointslice()]
    first, second = lists(), lists()
    assert second.is_newer_than(first)
    assert not first.is_newer_than(second)
    assert not first.is_newer_than(first)
    assert not second.is_copy_beside(first)
    assert second.outlives(first)


def test_who_is_neither_ready_nor_unready_is_gone(
    lists: Callable[[], Answer], server: KubernetesApi
) -> None:
    server.slices = [endpointslice(pod("10.0.0.1", "web-a"), pod("10.0.0.2", "web-b"))]
    a, b = lists().endpoints
    server.slices = [
        endpointslice(pod("10.0.0.1", "web-a", ready=False), pod("10.0.0.2", "web-b", uid="new"))
    ]
    found = lists()
    assert not found.shows_gone(a)
    assert found.shows_gone(b)  # its address is another pod's
    assert not found.shows_gone(Endpoint("10.0.0.3", 80))  # of a slice that somebody made by hand
