"""A Service's name is asked of a nameserver on loopback."""

from __future__ import annotations

import time
from itertools import pairwise

import dns.name
import pytest

from tests.loopback.nameserver import Nameserver, Query
from worker.discovery.dns.lookup import Lookup
from worker.discovery.dns.proof import is_service
from worker.discovery.dns.resolvconf import Nameserver as Server
from worker.discovery.dns.resolvconf import ResolvConf
from worker.discovery.dns.resolver import Resolver
from worker.model import Answer, Endpoint, ResolutionFailure

NAME = "web.example."


def lookup(
    nameserver: Nameserver,
    host: str = NAME,
    search: tuple[str, ...] = (),
    address: str | None = None,
    chosen: bool = False,
) -> Lookup:
    server = Server(address or nameserver.address, nameserver.port)
    conf = ResolvConf((server,), search, ndots=5, timeout_seconds=5, attempts=1, chosen=chosen)
    return Lookup(host, 8080, "auto", conf, Resolver(conf))


def ask(asked: Lookup) -> Answer | ResolutionFailure:
    return asked.ask(time.monotonic() + 5)


def test_endpoints_are_in_numerical_order_and_the_bounds_of_expiry_span_the_exchange(
    nameserver: Nameserver,
) -> None:
    before = time.monotonic()
    answer = ask(lookup(nameserver))
    after = time.monotonic()
    assert isinstance(answer, Answer)
    assert answer.qname == "web.example"
    assert answer.endpoints == (Endpoint("127.0.0.9", 8080), Endpoint("127.0.0.10", 8080))
    assert answer.ttl_seconds == 7
    assert before + 7 <= answer.expires_earliest_at <= answer.expires_latest_at <= after + 7


def test_of_several_replies_an_answer_holds_for_as_short_and_as_long_as_each(
    nameserver: Nameserver,
) -> None:
    """Nobody is listed under two names, of which the servers remember that for 5 and for 60 s."""

    def remember(query: Query) -> None:
        nameserver.negative_ttl_seconds = 5 if query.qname == WEB else 60

    nameserver.on_query = remember
    before = time.monotonic()
    answer = ask(lookup(nameserver, "web", CLUSTER))
    after = time.monotonic()
    assert isinstance(answer, Answer)
    assert (answer.endpoints, answer.ttl_seconds) == ((), 5)
    assert before + 5 <= answer.expires_earliest_at <= after + 5
    assert before + 60 <= answer.expires_latest_at <= after + 60


def test_the_first_record_type_that_answers_is_the_only_one_asked_for_from_then_on(
    nameserver: Nameserver,
) -> None:
    nameserver.set("web.example", "::2", "::1")
    asked = lookup(nameserver)
    expected = (Endpoint("::1", 8080), Endpoint("::2", 8080))
    for _ in range(2):
        answer = ask(asked)
        assert isinstance(answer, Answer)
        assert answer.endpoints == expected
    assert [query.rdtype for query in nameserver.queries] == ["A", "AAAA", "AAAA"]


def test_a_negative_answer_without_a_soa_is_newer_than_nothing(nameserver: Nameserver) -> None:
    nameserver.negative_ttl_seconds = None
    nameserver.remove("web.example")
    answer = ask(lookup(nameserver))
    assert isinstance(answer, Answer)
    assert (answer.endpoints, answer.absence, answer.ttl_seconds) == ((), "NXDOMAIN", 0)
    assert not answer.capped
    later = answer._replace(expires_earliest_at=answer.expires_latest_at + 100)
    assert not later.is_newer_than(answer)


def test_a_failure_names_what_was_asked_for(nameserver: Nameserver) -> None:
    nameserver.fault("servfail")
    message = f"{nameserver} answered SERVFAIL"
    failure = ResolutionFailure("web.example", "dns_servfail", message)
    assert ask(lookup(nameserver)) == failure


CLUSTER = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example")
WEB = "web.shop.svc.cluster.local"
NO_SUFFIX = "resolv.conf has no search suffix svc.ZONE, as a pod's has"
NOBODY = "no ready pods, or no such Service"


def addresses(answer: Answer | ResolutionFailure) -> list[str]:
    assert isinstance(answer, Answer), answer
    return [endpoint.address for endpoint in answer.endpoints]


# --- what an answer is worth --------------------------------------------------------------------


@pytest.mark.parametrize(("ttl", "stale"), [(0, True), (5, False)])
def test_an_answer_with_a_ttl_of_0_is_stale(ttl: int, stale: bool, nameserver: Nameserver) -> None:
    nameserver.set(WEB, "127.0.0.1", "127.0.0.2", ttl=ttl)
    answer = ask(lookup(nameserver, "web", CLUSTER))
    assert isinstance(answer, Answer)
    assert answer.stale is stale


def test_nobody_is_stale_if_it_is_so_of_one_name(nameserver: Nameserver) -> None:
    def be_stale_about_web(query: Query) -> None:
        nameserver.extended_error = 19 if query.qname == WEB else None

    nameserver.on_query = be_stale_about_web
    answer = ask(lookup(nameserver, "web", CLUSTER))
    assert isinstance(answer, Answer)
    assert (answer.endpoints, answer.stale) == ((), True)


@pytest.mark.parametrize(
    ("host", "count", "capped"),
    [(WEB, 1000, True), (WEB, 999, False), (WEB, 1001, False), ("web.example.", 1000, False)],
)
def test_a_thousand_addresses_in_the_cluster_may_be_all_that_kube_dns_lists(
    host: str, count: int, capped: bool, nameserver: Nameserver
) -> None:
    nameserver.set(host, *(f"127.1.{n // 250}.{n % 250}" for n in range(count)))
    answer = ask(lookup(nameserver, host, CLUSTER))
    assert len(addresses(answer)) == count
    assert isinstance(answer, Answer)
    assert answer.capped is capped


# --- addresses that no pod has ------------------------------------------------------------------

FOREIGN = {
    "0.0.0.0": "an unspecified",
    "127.0.0.1": "a loopback",
    "169.254.169.254": "a link-local",
    "224.0.0.1": "a multicast",
    "239.255.255.255": "a multicast",
    "255.255.255.255": "a broadcast",
    "::": "an unspecified",
    "::1": "a loopback",
    "fe80::1": "a link-local",
    "febf::1": "a link-local",
    "ff02::1": "a multicast",
    "::ffff:127.0.0.1": "a loopback",
    "::ffff:169.254.169.254": "a link-local",
    "::ffff:255.255.255.255": "a broadcast",
}


@pytest.mark.parametrize("address", FOREIGN)
@pytest.mark.parametrize("host", ["web", "web.example."])
def test_an_address_that_no_pod_has_among_others(
    host: str, address: str, nameserver: Nameserver
) -> None:
    name = WEB if host == "web" else "web.example"
    nameserver.set(name, address, "fd00::9" if ":" in address else "10.0.0.9")
    # A nameserver that is not on loopback, as far as its address says.
    asked = lookup(nameserver, host, CLUSTER, address="::ffff:127.0.0.1")
    message = f"{name} resolves to {address}: no pod has {FOREIGN[address]} address"
    assert ask(asked) == ResolutionFailure(name, "outside_cluster", message)


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "128.0.0.1", "169.253.1.1", "240.0.0.1", "fec0::1", "fd00::1", "::2"]
)
def test_any_other_address_may_be_a_pods(address: str, nameserver: Nameserver) -> None:
    nameserver.set(WEB, address)
    asked = lookup(nameserver, "web", CLUSTER, address="::ffff:127.0.0.1")
    assert addresses(ask(asked)) == [address]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_nameserver_on_loopback_may_list_pods_there(address: str, nameserver: Nameserver) -> None:
    nameserver.set(WEB, address)
    assert addresses(ask(lookup(nameserver, "web", CLUSTER))) == [address]


# --- where one address may be the Service's own -------------------------------------------------


@pytest.mark.parametrize(
    ("host", "search"),
    [
        ("web", CLUSTER),
        ("web.shop", CLUSTER),
        ("web.shop.svc", CLUSTER),
        (WEB, CLUSTER),
        (WEB, ()),
        (f"{WEB}.", ()),
    ],
)
def test_a_services_one_address_needs_proof(
    host: str, search: tuple[str, ...], nameserver: Nameserver
) -> None:
    nameserver.shows_pods = False
    nameserver.set(WEB, "127.0.0.1")
    nameserver.set_ptr("127.0.0.1", "localhost")
    assert ask(lookup(nameserver, host, search)) == ResolutionFailure(
        WEB,
        "unproven",
        f"{WEB} resolves to one address, 127.0.0.1, and DNS does not show whether it is a pod's or "
        "the Service's own: PTR 1.0.0.127.in-addr.arpa: localhost; "
        f"SRV {WEB}: NODATA; A 127-0-0-1.{WEB}: NXDOMAIN",
    )


@pytest.mark.parametrize(
    "name",
    [
        f"web-0.{WEB}",  # a pod's own
        "10-0-0-1.shop.pod.cluster.local",
        "web.cluster.local",
        "web.shop.svc.other.test",
        "web.example",
    ],
)
def test_a_name_that_is_no_services_needs_no_proof(name: str, nameserver: Nameserver) -> None:
    nameserver.shows_pods = False
    nameserver.set(name, "127.0.0.1")
    assert addresses(ask(lookup(nameserver, f"{name}.", CLUSTER))) == ["127.0.0.1"]
    assert nameserver.asked(rdtype="PTR") == nameserver.asked(rdtype="SRV") == 0


def test_a_record_that_leads_elsewhere_proves_nothing(nameserver: Nameserver) -> None:
    nameserver.shows_pods = False
    nameserver.set(WEB, "127.0.0.1")
    nameserver.set(f"127-0-0-1.{WEB}", "127.0.0.2")
    failure = ask(lookup(nameserver, "web", CLUSTER))
    assert isinstance(failure, ResolutionFailure)
    assert failure.error_type == "unproven"
    assert failure.error_message.endswith(f"A 127-0-0-1.{WEB}: 127.0.0.2")


def test_a_wildcard_proves_nothing(nameserver: Nameserver) -> None:
    nameserver.shows_pods = False
    for name in (WEB, f"127-0-0-1.{WEB}"):
        nameserver.set(name, "127.0.0.1")
    assert addresses(ask(lookup(nameserver, "web", CLUSTER))) == ["127.0.0.1"]
    nameserver.set(f"no-pod-has-this-name.{WEB}", "127.0.0.1")  # as every other name
    failure = ask(lookup(nameserver, "web", CLUSTER))
    assert isinstance(failure, ResolutionFailure)
    assert failure.error_type == "unproven"


def test_the_case_of_a_services_name_does_not_matter() -> None:
    zone = dns.name.from_text("cluster.local")
    assert is_service(dns.name.from_text("Web.Shop.SVC.Cluster.Local"), zone)


def test_an_alias_of_a_pods_own_name_needs_no_proof(nameserver: Nameserver) -> None:
    nameserver.shows_pods = False
    nameserver.set_cname(WEB, f"web-0.{WEB}")
    nameserver.set(f"web-0.{WEB}", "127.0.0.1")
    assert addresses(ask(lookup(nameserver, "web", CLUSTER))) == ["127.0.0.1"]


def test_where_an_alias_may_lead_out_of_the_cluster_nothing_is_proved_there(
    nameserver: Nameserver,
) -> None:
    nameserver.shows_pods = False
    nameserver.set_cname(WEB, "web.corp.example")
    nameserver.set("web.corp.example", "127.0.0.1")
    assert addresses(ask(lookup(nameserver, f"{WEB}.", CLUSTER))) == ["127.0.0.1"]
    failure = ask(lookup(nameserver, WEB, CLUSTER))
    assert isinstance(failure, ResolutionFailure)
    assert failure.error_type == "outside_cluster"


def test_an_alias_of_another_service_is_proved_by_that_services_records(
    nameserver: Nameserver,
) -> None:
    nameserver.shows_pods = False
    other = "other.shop.SVC.cluster.local"
    nameserver.set_cname(WEB, other)
    nameserver.set(other, "127.0.0.1")
    nameserver.set_ptr("127.0.0.1", f"a.{other.lower()}")
    assert addresses(ask(lookup(nameserver, "web", CLUSTER))) == ["127.0.0.1"]
    nameserver.set_ptr("127.0.0.1", other.lower())
    failure = ask(lookup(nameserver, "web", CLUSTER))
    assert isinstance(failure, ResolutionFailure)
    assert failure.error_type == "not_headless"


def test_a_chain_of_aliases_without_an_address_names_the_last(nameserver: Nameserver) -> None:
    chain = [WEB, *(f"{name}.shop.svc.cluster.local" for name in "abc")]
    for name, target in pairwise(chain):
        nameserver.set_cname(name, target)
    failure = ask(lookup(nameserver, WEB, CLUSTER))
    message = f"{WEB} is an alias of {chain[-1]}, of which DNS lists no address"
    assert failure == ResolutionFailure(WEB, "dns_servfail", message)


def test_a_pod_with_a_hostname_is_proved_by_an_srv_record_that_leads_to_its_address(
    nameserver: Nameserver,
) -> None:
    nameserver.shows_pods = False
    nameserver.set(WEB, "127.0.0.1")
    targets = (f"web-1.{WEB}", f"web-0.{WEB}")
    nameserver.set_srv(WEB, *(f"{port} {target}" for target in targets for port in (1, 2, 3)))
    nameserver.set(f"web-1.{WEB}", "127.0.0.2")
    failure = ask(lookup(nameserver, "web", CLUSTER))
    assert isinstance(failure, ResolutionFailure)
    assert failure.error_type == "unproven"
    assert f"A web-1.{WEB}: 127.0.0.2" in failure.error_message
    nameserver.set(f"web-0.{WEB}", "127.0.0.1")
    assert addresses(ask(lookup(nameserver, "web", CLUSTER))) == ["127.0.0.1"]


def test_a_pod_is_proved_once(nameserver: Nameserver) -> None:
    nameserver.set(WEB, "::1")
    asked = lookup(nameserver, "web", CLUSTER)
    for _ in range(2):
        assert addresses(ask(asked)) == ["::1"]
    assert nameserver.asked(rdtype="PTR") == 1


def test_who_was_listed_with_others_needs_no_proof_when_left_alone(nameserver: Nameserver) -> None:
    nameserver.set(WEB, "127.0.0.1", "127.0.0.2")
    asked = lookup(nameserver, "web", CLUSTER)
    assert len(addresses(ask(asked))) == 2
    nameserver.shows_pods = False
    nameserver.set(WEB, "127.0.0.2")
    assert addresses(ask(asked)) == ["127.0.0.2"]
    nameserver.set(WEB, "127.0.0.3")  # a Service that is made anew, with a virtual address
    nameserver.set_ptr("127.0.0.3", WEB)
    failure = ask(asked)
    assert isinstance(failure, ResolutionFailure)
    assert failure.error_type == "not_headless"


# --- a resolv.conf that is not a pod's ----------------------------------------------------------


@pytest.mark.parametrize("host", ["web.shop", "web.shop.svc"])
@pytest.mark.parametrize("chosen", [True, False])
def test_a_short_name_that_nothing_completes_is_not_even_asked_for(
    host: str, chosen: bool, nameserver: Nameserver
) -> None:
    """As it is, web.shop is a stranger's name."""
    for name in (host, f"{host}.corp.example"):
        nameserver.set(name, "127.0.0.1")
    failure = ResolutionFailure(host, "no_cluster_suffix", f"{host}: {NO_SUFFIX}")
    assert ask(lookup(nameserver, host, ("corp.example",), chosen=chosen)) == failure
    assert nameserver.queries == []


def test_a_name_without_a_dot_is_asked_for_as_it_is(nameserver: Nameserver) -> None:
    """Docker's DNS has such names. Where nobody has it, this is said at once."""
    nameserver.set("web", "127.0.0.1")
    asked = lookup(nameserver, "web", ("corp.example",))
    assert addresses(ask(asked)) == ["127.0.0.1"]
    nameserver.remove("web")
    assert addresses(ask(asked)) == []  # it was there once
    other = lookup(nameserver, "other", ("corp.example",))
    message = f"NXDOMAIN: {NOBODY}; {NO_SUFFIX}"
    assert ask(other) == ResolutionFailure("other", "no_cluster_suffix", message)
    nameserver.set("other")
    message = f"NODATA: {NOBODY}; {NO_SUFFIX}"
    assert ask(other) == ResolutionFailure("other", "no_cluster_suffix", message)
    nameserver.fault("servfail")
    message = f"{nameserver} answered SERVFAIL; {NO_SUFFIX}"
    assert ask(other) == ResolutionFailure("other", "no_cluster_suffix", message)
    assert {query.qname for query in nameserver.queries} == {"web", "other"}


def test_a_whole_name_in_no_cluster_is_not_known_to_have_no_pods(nameserver: Nameserver) -> None:
    asked = lookup(nameserver, WEB)
    message = f"NXDOMAIN: {NOBODY}; {NO_SUFFIX}"
    assert ask(asked) == ResolutionFailure(WEB, "no_pods", message)
    nameserver.set(WEB)
    message = f"NODATA: {NOBODY}; {NO_SUFFIX}"
    assert ask(asked) == ResolutionFailure(WEB, "no_pods", message)
    nameserver.fault("servfail")
    message = f"{nameserver} answered SERVFAIL; {NO_SUFFIX}"
    assert ask(asked) == ResolutionFailure(WEB, "dns_servfail", message)
    nameserver.heal()
    nameserver.fault("truncate")
    failure = ask(asked)
    assert isinstance(failure, ResolutionFailure)
    assert NO_SUFFIX not in failure.error_message


def test_a_whole_name_in_no_cluster_may_be_found(nameserver: Nameserver) -> None:
    nameserver.set(WEB, "127.0.0.1", "127.0.0.2")
    assert addresses(ask(lookup(nameserver, WEB))) == ["127.0.0.1", "127.0.0.2"]


def test_a_nameserver_that_was_chosen_knows_the_cluster(nameserver: Nameserver) -> None:
    assert addresses(ask(lookup(nameserver, WEB, chosen=True))) == []


@pytest.mark.parametrize("host", ["web.corp.example", "web.", "web.shop."])
def test_a_whole_name_outside_any_cluster_may_have_no_addresses(
    host: str, nameserver: Nameserver
) -> None:
    assert addresses(ask(lookup(nameserver, host))) == []


def test_a_name_that_every_suffix_makes_too_long(nameserver: Nameserver) -> None:
    host = ".".join(["a" * 60] * 4)
    message = f"{host}: no search suffix of resolv.conf makes it a name that is short enough"
    failure = ResolutionFailure(host, "no_cluster_suffix", message)
    assert ask(lookup(nameserver, host, CLUSTER)) == failure


# --- which name a negative answer is about ------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "qname"),
    [
        ("web", "web.shop.svc.cluster.local"),
        ("web-headless.shop-us", "web-headless.shop-us.svc.cluster.local"),
        ("web.other.svc", "web.other.svc.cluster.local"),
        ("web-0.web.other", "web-0.web.other.svc.cluster.local"),
        ("web.other.svc.cluster.local", "web.other.svc.cluster.local"),
    ],
)
def test_of_several_names_that_do_not_exist_the_services_is_named(
    host: str, qname: str, nameserver: Nameserver
) -> None:
    answer = ask(lookup(nameserver, host, CLUSTER))
    assert (addresses(answer), answer.qname) == ([], qname)
    assert isinstance(answer, Answer)
    assert answer.absence == "NXDOMAIN"


def test_a_name_that_exists_says_nodata(nameserver: Nameserver) -> None:
    nameserver.set(WEB)
    nameserver.fault("nxdomain", rdtype="A")
    answer = ask(lookup(nameserver, "web", CLUSTER))
    assert isinstance(answer, Answer)
    assert (answer.qname, answer.absence) == (WEB, "NODATA")


def test_nxdomain_for_one_record_type_does_not_speak_for_the_other(nameserver: Nameserver) -> None:
    nameserver.set(WEB, "::1", "::2")
    nameserver.fault("nxdomain", rdtype="A")
    assert addresses(ask(lookup(nameserver, "web", CLUSTER))) == ["::1", "::2"]
