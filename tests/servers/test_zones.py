"""CoreDNS that has the records itself: what it shows of a Service, and where names lead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods, reply
from tests.loopback.program import SEARCH, Finished, Worker
from tests.servers.conftest import WEB, ZONE, Run, addresses, config, dashed, pointers, zone
from tests.servers.programs import CoreDNS

REVERSE = "127.in-addr.arpa"
CORP = "corp.example.com"
COREFILE = """\
(here) {
  bind 127.0.0.1
  errors
}
cluster.local {
  import here
  file cluster
}
127.in-addr.arpa {
  import here
  file reverse
}
"""
WITHOUT_REVERSE = COREFILE[: COREFILE.index("127.in-addr")]
WITH_CORP = (
    COREFILE
    + """\
corp.example.com {
  import here
  file corp
}
"""
)


def serve(
    directory: Path,
    records: list[str],
    names: dict[str, str] | None = None,
    corefile: str = COREFILE,
    corp: list[str] | None = None,
) -> CoreDNS:
    """CoreDNS with these records in cluster.local, and PTR records for these addresses."""
    return CoreDNS(
        directory,
        corefile,
        cluster=zone(ZONE, *records),
        reverse=zone(REVERSE, *pointers(names or {})),
        corp=zone(CORP, *(corp or [])),
    )


def ended(finished: Finished) -> tuple[int, str | None, bool]:
    """Exit code, reason, and whether a newer answer confirmed the outcome."""
    entry = finished.only("broadcast.finished")
    return finished.exit_code, entry.get("reason"), entry["confirmed"]


COMPLETE = (0, None, True)


@pytest.fixture
def three_pods() -> Iterator[Pods]:
    with Pods(3) as pods:
        yield pods


# --- Services -----------------------------------------------------------------------------------


def test_all_pods_of_a_headless_service_are_called(
    run: Run, tmp_path: Path, three_pods: Pods
) -> None:
    names = {address: dashed(address) for address in three_pods.addresses}
    with serve(tmp_path, addresses(WEB, three_pods.addresses), names) as coredns:
        assert ended(run(config(three_pods.port), coredns)) == COMPLETE
    assert list(three_pods.requests.values()) == [1, 1, 1]


def test_the_only_pod_of_a_headless_service_is_called(run: Run, tmp_path: Path) -> None:
    with Pods(1) as pods:
        names = {pods.addresses[0]: dashed(pods.addresses[0])}
        with serve(tmp_path, addresses(WEB, pods.addresses), names) as coredns:
            assert ended(run(config(pods.port), coredns)) == COMPLETE
        assert list(pods.requests.values()) == [1]


def test_the_only_pod_of_a_headless_service_is_known_by_its_own_record_too(
    run: Run, tmp_path: Path
) -> None:
    with Pods(1) as pods:
        own = addresses(dashed(pods.addresses[0]), pods.addresses)
        records = [*addresses(WEB, pods.addresses), *own]
        with serve(tmp_path, records, corefile=WITHOUT_REVERSE) as coredns:
            assert ended(run(config(pods.port), coredns)) == COMPLETE
        assert list(pods.requests.values()) == [1]


def test_a_service_with_a_virtual_address_is_not_headless(run: Run, tmp_path: Path) -> None:
    with Pods(1) as pods:
        records = addresses(WEB, pods.addresses)
        with serve(tmp_path, records, {pods.addresses[0]: WEB}) as coredns:
            assert ended(run(config(pods.port), coredns)) == (4, "not_headless", False)
        assert pods[0].connections == 0


def test_one_address_that_nothing_shows_to_be_an_endpoint_is_not_complete(
    run: Run, tmp_path: Path
) -> None:
    with Pods(1) as pods:
        records = addresses(WEB, pods.addresses)
        with serve(tmp_path, records, corefile=WITHOUT_REVERSE) as coredns:
            finished = run(config(pods.port), coredns)
        assert finished.exit_code == 4, finished.stdout
        assert pods[0].connections == 0


def test_the_own_name_of_a_pod_is_called(run: Run, tmp_path: Path) -> None:
    with Pods(1) as pods:
        own = f"web-0.{WEB}"
        with serve(tmp_path, addresses(own, pods.addresses), {pods.addresses[0]: own}) as coredns:
            assert ended(run(config(pods.port, host="web-0.web"), coredns)) == COMPLETE
        assert list(pods.requests.values()) == [1]


# --- how much fits ------------------------------------------------------------------------------


def many(count: int) -> list[str]:
    """Addresses at which nobody listens."""
    return [f"127.68.{number // 250}.{number % 250 + 1}" for number in range(count)]


def test_1200_pods_do_not_fit_into_a_datagram_and_are_all_called(
    run: Run, tmp_path: Path, three_pods: Pods
) -> None:
    listed = [*three_pods.addresses, *many(1197)]
    with serve(tmp_path, addresses(WEB, listed)) as coredns:
        more = "  settle: 0s\n  attempts: 1\n  concurrency: 64\n"
        finished = run(config(three_pods.port, more), coredns)
    assert finished.events("endpoints.resolved")[0]["endpoints"] == 1200
    done = finished.only("broadcast.finished")
    assert (done["acknowledged"], done["failed"], done["calls"]) == (3, 1197, 1200)
    assert list(three_pods.requests.values()) == [1, 1, 1]


def test_exactly_1000_addresses_are_never_complete(run: Run, tmp_path: Path) -> None:
    with Pods(1000) as pods, serve(tmp_path, addresses(WEB, pods.addresses)) as coredns:
        more = "  settle: 3s\n  concurrency: 64\n"
        finished = run(config(pods.port, more), coredns)
        exit_code, reason, _ = ended(finished)
        assert reason == "dns_capped", finished.only("broadcast.finished")
        assert exit_code == 3
        assert set(pods.requests.values()) == {1}


# --- names that lead elsewhere ------------------------------------------------------------------


def check_nobody_called(finished: Finished, reason: str, *pods: Pods) -> None:
    """Not even a connection: it would carry the credentials."""
    assert ended(finished) == (4, reason, False), finished.stdout
    assert [pod[a].connections for pod in pods for a in pod.addresses] == [0] * 3


TOKEN = "  settle: 0s\n  auth: {bearer: {env: TOKEN}}\n"
SECRET = {"TOKEN": "s3cret"}


def test_an_external_name_is_outside_the_cluster(
    run: Run, tmp_path: Path, three_pods: Pods
) -> None:
    records = [f"{WEB}. IN CNAME shop.{CORP}."]
    corp = addresses(f"shop.{CORP}", three_pods.addresses)
    with serve(tmp_path, records, corefile=WITH_CORP, corp=corp) as coredns:
        finished = run(config(three_pods.port, TOKEN), coredns, environment=SECRET)
    check_nobody_called(finished, "outside_cluster", three_pods)
    assert f"shop.{CORP}" in finished.events("resolution.failed")[0]["error_message"]


def test_autopath_that_ends_at_a_wildcard_is_outside_the_cluster(
    run: Run, tmp_path: Path, three_pods: Pods
) -> None:
    """The Service does not exist, and CoreDNS itself goes on through the search list."""
    search = [*SEARCH, CORP]
    (tmp_path / "pod.conf").write_text(f"nameserver 127.0.0.1\nsearch {' '.join(search)}\n")
    corefile = f"""\
. {{
  bind 127.0.0.1
  errors
  autopath {tmp_path}/pod.conf
  file cluster {ZONE}
  file corp {CORP}
}}
"""
    corp = addresses(f"*.{CORP}", three_pods.addresses)
    with serve(tmp_path, [], corefile=corefile, corp=corp) as coredns:
        finished = run(config(three_pods.port, TOKEN), coredns, search=search, environment=SECRET)
    check_nobody_called(finished, "outside_cluster", three_pods)


def test_a_wildcard_in_the_search_list_of_a_node_is_not_asked(
    run: Run, tmp_path: Path, three_pods: Pods
) -> None:
    """hostNetwork: true gives the worker the resolv.conf of its node."""
    corp = addresses(f"*.{CORP}", three_pods.addresses)
    with serve(tmp_path, [], corefile=WITH_CORP, corp=corp) as coredns:
        finished = run(
            config(three_pods.port, TOKEN, host=WEB),
            coredns,
            search=[CORP],
            environment=SECRET,
            options="ndots:5",
        )
    check_nobody_called(finished, "no_pods", three_pods)


def test_a_template_that_blocks_ipv4_leaves_ipv6(run: Run, tmp_path: Path) -> None:
    corefile = f"""\
{ZONE} {{
  bind 127.0.0.1
  errors
  template IN A {ZONE} {{
    rcode NXDOMAIN
    authority "{ZONE}. 5 IN SOA ns.{ZONE}. hostmaster.{ZONE}. 1 7200 1800 86400 5"
  }}
  file cluster
}}
ip6.arpa {{
  bind 127.0.0.1
  file reverse
}}
"""
    with Pods(["::1"]) as pods:
        coredns = CoreDNS(
            tmp_path,
            corefile,
            cluster=zone(ZONE, *addresses(WEB, pods.addresses)),
            reverse=zone("ip6.arpa", *pointers({"::1": f"one.{WEB}"})),
        )
        with coredns:
            assert ended(run(config(pods.port), coredns)) == COMPLETE
        assert list(pods.requests.values()) == [1]


# --- two nameservers ----------------------------------------------------------------------------


def test_a_second_nameserver_that_knows_of_no_such_service_makes_nobody_gone(
    tmp_path: Path, three_pods: Pods
) -> None:
    """The first fails in mid-run. The third pod, which refuses connections, may live."""
    three_pods.die(three_pods.addresses[2])
    names = {address: dashed(address) for address in three_pods.addresses}
    with (
        serve(tmp_path, addresses(WEB, three_pods.addresses), names) as first,
        serve(tmp_path, []) as second,
    ):
        servers = [text for each in (first, second) for text in ("--nameserver", str(each))]
        with Worker(tmp_path, config(three_pods.port, "  settle: 6s\n"), *servers) as worker:
            worker.wait_for_event("call.failed")
            first.stop()
            finished = worker.finish()
    assert finished.exit_code == 3, finished.stdout
    assert finished.events("endpoint.gone") == []
    missed = finished.only("endpoint.failed")
    assert (missed["endpoint"], missed["error_type"]) == (
        three_pods.endpoints[2],
        "connect_refused",
    )
    assert list(three_pods.requests.values()) == [1, 1, 0]


def test_one_nxdomain_of_a_second_nameserver_takes_no_call_from_a_pod(
    tmp_path: Path, three_pods: Pods
) -> None:
    """The first loses a datagram, so that the second is asked; the pod answers 503 until then."""
    first_pod = three_pods.addresses[0]
    gate = three_pods.gate()
    three_pods[first_pod].script(reply(503, after=gate), reply())
    with Nameserver() as first, serve(tmp_path, []) as second:
        first.set(WEB, *three_pods.addresses)
        servers = [text for each in (first, second) for text in ("--nameserver", str(each))]
        options = "ndots:5 timeout:1 attempts:5"
        text = config(three_pods.port, "  settle: 15s\n  backoff: {initial: 100ms}\n")
        with Worker(tmp_path, text, *servers, options=options) as worker:
            worker.wait_for_event("call.succeeded", 2)
            first.fault("silence", times=1)
            gate.open()
            finished = worker.finish()
    assert ended(finished) == COMPLETE, finished.stdout
    assert list(three_pods.requests.values()) == [2, 1, 1]
