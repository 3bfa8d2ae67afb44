"""The whole program against DNS answers that prove less than they seem to."""

from __future__ import annotations

from collections.abc import Callable

import dns.reversename
import pytest

from tests.loopback.nameserver import FaultKind, Nameserver, Query
from tests.loopback.pods import Pods
from tests.loopback.program import SEARCH, Entry
from tests.process.conftest import Run
from tests.process.logbook import WEB, check_log, no_answer, reached, resolved, succeeded
from tests.process.test_dns import IMPATIENT, config, unanswered, url

TOKEN = "  auth: {bearer: {env: TOKEN}}\n"
SECRET = {"TOKEN": "s3cret"}
OUTSIDE = "web.corp.example.com"
QUICK = "ndots:5 timeout:1 attempts:3"


def check_nobody_called(pods: Pods, count: int = 3) -> None:
    assert [pods[number].connections for number in range(count)] == [0] * count


def reverse(address: str) -> str:
    """The name of its PTR record."""
    return dns.reversename.from_address(address).to_text(omit_final_dot=True)


# --- answers from outside the cluster -----------------------------------------------------------

ALIASES: dict[str, tuple[str, ...]] = {
    "an ExternalName, or autopath and a wildcard": (OUTSIDE,),
    "two steps": ("other.shop.svc.cluster.local", OUTSIDE),
    "out and in again": (OUTSIDE, "other.shop.svc.cluster.local"),
    "a stranger whose name ends alike": ("evilcluster.local",),
}


@pytest.mark.parametrize("chain", ALIASES.values(), ids=ALIASES)
def test_an_alias_that_leads_out_of_the_cluster_gets_no_connection_and_no_credentials(
    chain: tuple[str, ...], run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.remove(WEB)
    name = WEB
    for target in chain:
        nameserver.set_cname(name, target)
        name = target
    nameserver.set(name, *three_pods.addresses)
    finished = run(config(three_pods.port, IMPATIENT + TOKEN), environment=SECRET)
    stranger = next(name for name in chain if not name.endswith(".cluster.local"))
    message = f"{WEB} is an alias of {stranger}, which is not in cluster.local"
    happened = unanswered(finished, "outside_cluster", message)
    check_log(finished, url(three_pods), happened, reason="outside_cluster", confirmed=False)
    check_nobody_called(three_pods)


def test_an_alias_of_a_name_with_a_dot_at_its_end_may_lead_anywhere(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.remove(WEB)
    nameserver.set_cname(WEB, OUTSIDE)
    nameserver.set(OUTSIDE, *three_pods.addresses)
    finished = run(config(three_pods.port, host=f"{WEB}."))
    check_log(finished, url(three_pods, f"{WEB}."), reached(three_pods.endpoints))
    assert list(three_pods.requests.values()) == [1, 1, 1]


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("0.0.0.0", "an unspecified"),
        ("169.254.169.254", "a link-local"),
        ("224.0.0.1", "a multicast"),
        ("255.255.255.255", "a broadcast"),
    ],
)
@pytest.mark.parametrize("host", ["web", f"{OUTSIDE}."])
def test_beside_an_address_that_no_pod_has_nobody_is_called(
    host: str, address: str, kind: str, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    name = WEB if host == "web" else OUTSIDE
    nameserver.set(name, *three_pods.addresses, address)
    finished = run(config(three_pods.port, IMPATIENT, host=host))
    message = f"{name} resolves to {address}: no pod has {kind} address"
    happened = [
        entry | {"qname": name} for entry in unanswered(finished, "outside_cluster", message)
    ]
    check_log(finished, url(three_pods, host), happened, reason="outside_cluster", confirmed=False)
    check_nobody_called(three_pods)


# --- one address: a pod's, or the Service's own -------------------------------------------------

NOT_HEADLESS = (
    f"{WEB} resolves to one virtual address, {{}}, which leads to only one of the pods: "
    "the Service needs clusterIP: None"
)


def be_ordinary(nameserver: Nameserver, address: str) -> None:
    """What CoreDNS says of a Service with a cluster IP."""
    nameserver.set(WEB, address)
    nameserver.set_ptr(address, WEB)
    nameserver.set_srv(WEB, WEB)
    nameserver.shows_pods = False


def no_reverse_zone(nameserver: Nameserver) -> None:
    nameserver.fault("nxdomain", rdtype="PTR")


ORDINARY: dict[str, Callable[[Nameserver], None]] = {
    "everything known": lambda _: None,
    "one PTR query lost": lambda server: server.fault("silence", times=1, rdtype="PTR"),
    "one SERVFAIL for PTR": lambda server: server.fault("servfail", times=1, rdtype="PTR"),
    "only SERVFAIL for PTR": lambda server: server.fault("servfail", rdtype="PTR"),
    "no reverse zone": no_reverse_zone,
}


@pytest.mark.parametrize("what", ORDINARY)
def test_a_service_that_is_not_headless_is_found_out_before_the_first_call(
    what: str, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    address = three_pods.addresses[0]
    be_ordinary(nameserver, address)
    ORDINARY[what](nameserver)
    finished = run(config(three_pods.port), options=QUICK)
    happened = [no_answer(1, "not_headless", NOT_HEADLESS.format(address), last=True)]
    check_log(finished, url(three_pods), happened, reason="not_headless", confirmed=False)
    check_nobody_called(three_pods)


def test_the_second_nameserver_is_asked_for_the_ptr_as_well(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    address = three_pods.addresses[0]
    be_ordinary(nameserver, address)
    with Nameserver() as first:
        first.set(WEB, address)
        first.fault("refused", rdtype="PTR")
        servers = ("--nameserver", str(first), "--nameserver", str(nameserver))
        finished = run(config(three_pods.port), *servers, nameserver=None)
    happened = [no_answer(1, "not_headless", NOT_HEADLESS.format(address), last=True)]
    check_log(finished, url(three_pods), happened, reason="not_headless", confirmed=False)
    check_nobody_called(three_pods)


@pytest.mark.parametrize("broken", ["servfail", "silence", "nxdomain"])
def test_an_address_that_is_not_shown_to_be_a_pods_is_not_called(
    broken: FaultKind, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    address = three_pods.addresses[0]
    be_ordinary(nameserver, address)
    for rdtype in ("PTR", "SRV"):
        nameserver.fault(broken, rdtype=rdtype)
    options = QUICK if broken == "silence" else "ndots:5"
    finished = run(config(three_pods.port, IMPATIENT), options=options)
    found = {
        "servfail": f"{nameserver} answered SERVFAIL",
        "silence": f"{nameserver} did not answer in time",
        "nxdomain": "NXDOMAIN",
    }[broken]
    message = (
        f"{WEB} resolves to one address, {address}, and DNS does not show whether it is a pod's or "
        f"the Service's own: PTR {reverse(address)}: {found}; SRV {WEB}: {found}; "
        f"A {address.replace('.', '-')}.{WEB}: NXDOMAIN"
    )
    happened = unanswered(finished, "unproven", message)
    check_log(finished, url(three_pods), happened, reason="unproven", confirmed=False)
    assert finished.exit_code == 4
    check_nobody_called(three_pods)


def test_an_address_that_is_shown_to_be_a_pods_after_all_is_called(
    run: Run, nameserver: Nameserver
) -> None:
    with Pods(1) as pods:
        (address,) = pods.addresses
        nameserver.set(WEB, address)
        for rdtype, times in (("PTR", 2), ("SRV", 2)):  # both tries of the first question
            nameserver.fault("servfail", times=times, rdtype=rdtype)
        own = f"{address.replace('.', '-')}.{WEB}"
        nameserver.fault("servfail", times=2, name=own)
        finished = run(config(pods.port, "  settle: 8s\n"))
        found = f"{nameserver} answered SERVFAIL"
        message = (
            f"{WEB} resolves to one address, {address}, and DNS does not show whether it is a "
            f"pod's or the Service's own: PTR {reverse(address)}: {found}; SRV {WEB}: {found}; "
            f"A {own}: {found}"
        )
        first, call, last = reached(pods.endpoints)
        happened = [
            no_answer(1, "unproven", message),
            first | {"round": 2},
            call | {"round": 2},
            last | {"round": 3},
        ]
        check_log(finished, url(pods), happened)
        assert list(pods.requests.values()) == [1]


def tell_by_ptr(nameserver: Nameserver, address: str) -> None:
    nameserver.set_ptr(address, f"10-0-0-1.{WEB}")


def tell_by_record(nameserver: Nameserver, address: str) -> None:
    nameserver.set(f"{address.replace('.', '-')}.{WEB}", address)


def tell_by_srv(nameserver: Nameserver, address: str) -> None:
    nameserver.set_srv(WEB, f"web-0.{WEB}")
    nameserver.set(f"web-0.{WEB}", address)


def tell_by_record_though_ptr_is_silent(nameserver: Nameserver, address: str) -> None:
    nameserver.fault("silence", rdtype="PTR")
    tell_by_record(nameserver, address)


@pytest.mark.parametrize(
    "tell", [tell_by_ptr, tell_by_record, tell_by_srv, tell_by_record_though_ptr_is_silent]
)
def test_a_headless_service_with_one_pod(
    tell: Callable[[Nameserver, str], None], run: Run, nameserver: Nameserver
) -> None:
    with Pods(1) as pods:
        nameserver.shows_pods = False
        nameserver.set(WEB, *pods.addresses)
        tell(nameserver, pods.addresses[0])
        finished = run(config(pods.port), options=QUICK)
        check_log(finished, url(pods), reached(pods.endpoints))
        assert list(pods.requests.values()) == [1]


def test_one_pods_own_name_is_called(run: Run, nameserver: Nameserver) -> None:
    with Pods(1) as pods:
        name = "web-0.web.shop.svc.cluster.local"
        nameserver.shows_pods = False
        nameserver.set(name, *pods.addresses)
        nameserver.set_ptr(pods.addresses[0], name)
        finished = run(config(pods.port, host="web-0.web.shop"))
        happened = reached(pods.endpoints, qname=name)
        check_log(finished, url(pods, "web-0.web.shop"), happened)
        assert list(pods.requests.values()) == [1]


def test_a_service_that_loses_its_headlessness_in_mid_run(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    first, second, virtual = three_pods.addresses
    nameserver.set(WEB, first, second)

    def change(_: Query) -> None:
        if three_pods.requests[first] and three_pods.requests[second]:
            be_ordinary(nameserver, virtual)

    nameserver.on_query = change
    finished = run(config(three_pods.port))
    happened: list[Entry] = [
        resolved(1, 2, newcomers=2),
        *(succeeded(endpoint) for endpoint in three_pods.endpoints[:2]),
        no_answer(2, "not_headless", NOT_HEADLESS.format(virtual), last=True),
    ]
    check_log(finished, url(three_pods), happened, reason="not_headless", confirmed=False)
    assert list(three_pods.requests.values()) == [1, 1, 0]


# --- answers that are not about the name --------------------------------------------------------


@pytest.mark.parametrize("kind", ["referral", "other_owner"])
def test_an_answer_about_something_else_does_not_mean_nobody(
    kind: FaultKind, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.fault(kind)
    finished = run(config(three_pods.port, f"{IMPATIENT}  min_pods: 0\n"))
    message = {
        "referral": f"{nameserver} referred to other servers instead of answering",
        "other_owner": f"{nameserver} answered with records that were not asked for",
    }[kind]
    happened = unanswered(finished, "dns_servfail", message)
    check_log(
        finished, url(three_pods), happened, reason="dns_servfail", confirmed=False, min_pods=0
    )
    assert finished.exit_code == 4
    check_nobody_called(three_pods)


@pytest.mark.parametrize("target_exists", [True, False])
def test_an_alias_of_a_name_without_addresses_does_not_mean_nobody(
    target_exists: bool, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    target = "other.shop.svc.cluster.local"
    nameserver.remove(WEB)
    nameserver.set_cname(WEB, target)
    if target_exists:
        nameserver.set(target)
    finished = run(config(three_pods.port, f"{IMPATIENT}  min_pods: 0\n"))
    message = f"{WEB} is an alias of {target}, of which DNS lists no address"
    happened = unanswered(finished, "dns_servfail", message)
    check_log(
        finished, url(three_pods), happened, reason="dns_servfail", confirmed=False, min_pods=0
    )
    check_nobody_called(three_pods)


def test_an_alias_of_a_name_with_ipv6_alone_is_followed(run: Run, nameserver: Nameserver) -> None:
    with Pods(["::1"]) as pods:
        target = "other.shop.svc.cluster.local"
        nameserver.set_cname(WEB, target)
        nameserver.set(target, "::1")
        check_log(run(config(pods.port)), url(pods), reached([f"[::1]:{pods.port}"]))
        assert pods.requests == {"::1": 1}


def test_nxdomain_for_ipv4_is_not_believed_about_ipv6(run: Run, nameserver: Nameserver) -> None:
    with Pods(["::1"]) as pods:
        nameserver.set(WEB, "::1")
        nameserver.fault("nxdomain", rdtype="A")
        check_log(run(config(pods.port)), url(pods), reached([f"[::1]:{pods.port}"]))
        assert pods.requests == {"::1": 1}


# --- servers that speak an older DNS ------------------------------------------------------------

OLD: dict[str, Callable[[Nameserver], None]] = {
    "FORMERR to EDNS": lambda server: server.fault("formerr", only_edns=True),
    "NOTIMP to EDNS": lambda server: server.fault("notimp", only_edns=True),
    "BADVERS to EDNS": lambda server: server.fault("badvers", only_edns=True),
    "no question in the answer": lambda server: server.fault("no_question"),
    "bytes after the answer": lambda server: setattr(server, "mangle", lambda w: w + bytes(4)),
}


@pytest.mark.parametrize("what", OLD)
def test_what_other_resolvers_put_up_with(
    what: str, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    OLD[what](nameserver)
    check_log(run(config(three_pods.port)), url(three_pods), reached(three_pods.endpoints))
    assert list(three_pods.requests.values()) == [1, 1, 1]


# --- names --------------------------------------------------------------------------------------


def test_a_missing_service_of_another_namespace_is_reported_by_its_own_name(
    run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    host = "web-headless.shop-us"
    finished = run(config(three_pods.port, IMPATIENT, host=host))
    message = "NXDOMAIN: no ready pods, or no such Service"
    happened = [
        entry | {"qname": f"{host}.svc.cluster.local"}
        for entry in unanswered(finished, "no_pods", message)
    ]
    check_log(finished, url(three_pods, host), happened, reason="no_pods", confirmed=False)
    below = [suffix for suffix in SEARCH if "svc" in suffix]
    assert {query.qname for query in nameserver.queries} == {f"{host}.{s}" for s in below}


NODE = ("corp.example.com",)
NO_SUFFIX = "resolv.conf has no search suffix svc.ZONE, as a pod's has"


@pytest.mark.parametrize("host", ["web.shop", "web.shop.svc"])
def test_where_resolv_conf_is_not_a_pods_a_short_name_is_refused(
    host: str, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    for name in (host, f"{host}.corp.example.com"):
        nameserver.set(name, *three_pods.addresses)
    more = IMPATIENT + TOKEN
    finished = run(config(three_pods.port, more, host=host), search=NODE, environment=SECRET)
    happened = [
        entry | {"qname": host}
        for entry in unanswered(finished, "no_cluster_suffix", f"{host}: {NO_SUFFIX}")
    ]
    reason = "no_cluster_suffix"
    check_log(finished, url(three_pods, host), happened, reason=reason, confirmed=False)
    check_nobody_called(three_pods)
    assert nameserver.queries == []


@pytest.mark.parametrize("dot", ["", "."])
def test_where_resolv_conf_is_not_a_pods_a_whole_name_is_asked_as_it_is(
    dot: str, run: Run, nameserver: Nameserver, three_pods: Pods
) -> None:
    nameserver.set(f"{WEB}.corp.example.com", "127.0.0.77")
    finished = run(config(three_pods.port, host=WEB + dot), search=NODE)
    check_log(finished, url(three_pods, WEB + dot), reached(three_pods.endpoints))
    assert list(three_pods.requests.values()) == [1, 1, 1]
    assert {query.qname for query in nameserver.queries} == {WEB}
