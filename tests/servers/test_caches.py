"""Real caches that go on answering when their upstream is dead, and a new pod that nobody lists.

What a cache says of itself (a TTL of 0, an Extended DNS Error) is heeded: nothing is confirmed.
What it keeps to itself cannot be told through DNS; the last tests hold what the documentation says
about that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.loopback.machine import wait_for
from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods
from tests.loopback.program import Finished
from tests.servers.conftest import WEB, Run, config
from tests.servers.programs import CoreDNS, Dnsmasq, DnsServer, Unbound

SERVE_STALE = "cache 3600 {\n    serve_stale 1h immediate\n  }"
KEEPTTL = "cache 3600 {\n    keepttl\n  }"
Make = Callable[[Path, Nameserver], DnsServer]


def coredns(directory: Path, upstream: Nameserver, cache: str) -> CoreDNS:
    corefile = f". {{\n  bind 127.0.0.1\n  errors\n  {cache}\n  forward . {upstream}\n}}\n"
    return CoreDNS(directory, corefile)


def ttl_of(server: DnsServer) -> int | None:
    """The TTL of its answer; None if it has no addresses."""
    answer = server.ask(WEB)
    return answer.answer[0].ttl if answer and answer.answer else None


@contextmanager
def cut_off(make: Make, directory: Path, pods: Pods, ttl: int) -> Iterator[DnsServer]:
    """A cache that has learnt of all pods but the last, and whose upstream has died since."""
    with Nameserver() as upstream:
        upstream.set(WEB, *pods.addresses[:-1], ttl=ttl)
        with make(directory, upstream) as server:
            assert ttl_of(server) is not None
            upstream.fault("silence")
            yield server


@pytest.fixture
def four_pods() -> Iterator[Pods]:
    with Pods(4) as pods:
        yield pods


def check(finished: Finished, pods: Pods, confirmed: bool) -> None:
    """Those that DNS lists are called, once each; exit 0 says no more than that."""
    assert finished.exit_code == 0, finished.stdout
    done = finished.only("broadcast.finished")
    assert (done["acknowledged"], done["confirmed"]) == (3, confirmed)
    assert done["level"] == ("info" if confirmed else "warning")
    assert list(pods.requests.values()) == [1, 1, 1, 0]


# --- caches that say so -------------------------------------------------------------------------

TTL_0: dict[str, Make] = {
    "CoreDNS, serve_stale": lambda directory, upstream: coredns(directory, upstream, SERVE_STALE),
    "dnsmasq, --use-stale-cache": lambda directory, upstream: Dnsmasq(
        directory, upstream, "--use-stale-cache"
    ),
    "unbound, serve-expired-reply-ttl: 0": lambda directory, upstream: Unbound(
        directory, upstream, "serve-expired: yes", "serve-expired-reply-ttl: 0"
    ),
}


@pytest.mark.parametrize("what", TTL_0)
def test_stale_answers_with_a_ttl_of_0_confirm_nothing(
    what: str, run: Run, tmp_path: Path, four_pods: Pods
) -> None:
    with cut_off(TTL_0[what], tmp_path, four_pods, ttl=1) as server:
        wait_for("the answer is stale", lambda: ttl_of(server) == 0)
        finished = run(config(four_pods.port), server)
    check(finished, four_pods, confirmed=False)
    answers = finished.events("endpoints.resolved")
    assert {answer["ttl_seconds"] for answer in answers} == {0}
    assert not any(answer.get("newer") for answer in answers)


@pytest.mark.parametrize("what", list(TTL_0)[:2])
def test_an_answer_that_becomes_stale_in_mid_run_confirms_nothing(
    what: str, run: Run, tmp_path: Path, four_pods: Pods
) -> None:
    with cut_off(TTL_0[what], tmp_path, four_pods, ttl=3) as server:
        finished = run(config(four_pods.port, "  settle: 8s\n"), server)
    check(finished, four_pods, confirmed=False)
    assert finished.events("endpoints.resolved")[-1]["ttl_seconds"] == 0


def test_an_extended_dns_error_that_says_stale_confirms_nothing(
    run: Run, tmp_path: Path, four_pods: Pods
) -> None:
    """RFC 8914, 4.4: the TTL says nothing here, the error code 3 does."""

    def make(directory: Path, upstream: Nameserver) -> Unbound:
        return Unbound(
            *(directory, upstream, "serve-expired: yes", "ede: yes", "ede-serve-expired: yes")
        )

    with cut_off(make, tmp_path, four_pods, ttl=1) as server:
        wait_for("the answer is stale", lambda: (ttl_of(server) or 0) > 1)
        finished = run(config(four_pods.port), server)
    check(finished, four_pods, confirmed=False)


@pytest.mark.parametrize("what", TTL_0)
def test_a_cache_whose_upstream_lives_is_waited_for_and_confirms(
    what: str, run: Run, tmp_path: Path, four_pods: Pods
) -> None:
    with Nameserver() as upstream:
        upstream.set(WEB, *four_pods.addresses[:-1], ttl=2)
        with TTL_0[what](tmp_path, upstream) as server:
            ttl_of(server)
            upstream.set(WEB, *four_pods.addresses, ttl=2)
            finished = run(config(four_pods.port, "  settle: 10s\n"), server)
    assert finished.exit_code == 0, finished.stdout
    done = finished.only("broadcast.finished")
    assert (done["acknowledged"], done["confirmed"]) == (4, True)
    assert list(four_pods.requests.values()) == [1, 1, 1, 1]


@pytest.mark.parametrize("absence", ["NXDOMAIN", "NODATA"])
def test_a_cached_answer_without_a_soa_record_does_not_confirm_that_nobody_is_there(
    absence: str, run: Run, tmp_path: Path, four_pods: Pods
) -> None:
    with Nameserver() as upstream:
        upstream.negative_ttl_seconds = None
        if absence == "NODATA":
            upstream.set(WEB)
        with Dnsmasq(tmp_path, upstream, "--neg-ttl=600") as server:
            server.ask(WEB)
            upstream.set(WEB, *four_pods.addresses)
            finished = run(config(four_pods.port, "  settle: 2s\n  min_pods: 0\n"), server)
    done = finished.only("broadcast.finished")
    assert (finished.exit_code, done["seen"], done["confirmed"]) == (0, 0, False)


NO_SOA: dict[str, Make] = {
    "NXDOMAIN": lambda directory, upstream: Unbound(directory, upstream),
    "NODATA": lambda directory, upstream: coredns(directory, upstream, "cache 3600"),
}


@pytest.mark.parametrize("absence", NO_SOA)
def test_caches_keep_an_answer_without_a_soa_record_though_rfc_2308_forbids_it(
    absence: str, tmp_path: Path
) -> None:
    with Nameserver() as upstream:
        upstream.negative_ttl_seconds = None
        if absence == "NODATA":
            upstream.set(WEB)
        with NO_SOA[absence](tmp_path, upstream) as server:
            server.ask(WEB)
            asked = len(upstream.queries)
            server.ask(WEB)
            assert len(upstream.queries) == asked


# --- caches that do not -------------------------------------------------------------------------


def test_a_stale_answer_of_unbound_cannot_be_told_from_a_fresh_one(
    run: Run, tmp_path: Path, four_pods: Pods
) -> None:
    """It gives each stale answer a new TTL of 30 s, and by default no Extended DNS Error."""

    def make(directory: Path, upstream: Nameserver) -> Unbound:
        return Unbound(directory, upstream, "serve-expired: yes")

    with cut_off(make, tmp_path, four_pods, ttl=1) as server:
        wait_for("the answer is stale", lambda: (ttl_of(server) or 0) > 1)
        finished = run(config(four_pods.port), server)
    check(finished, four_pods, confirmed=True)
    assert {answer["ttl_seconds"] for answer in finished.events("endpoints.resolved")} == {30}


def test_a_cached_answer_of_coredns_with_keepttl_cannot_be_told_from_a_fresh_one(
    run: Run, tmp_path: Path, four_pods: Pods
) -> None:
    def make(directory: Path, upstream: Nameserver) -> CoreDNS:
        return coredns(directory, upstream, KEEPTTL)

    with cut_off(make, tmp_path, four_pods, ttl=60) as server:
        finished = run(config(four_pods.port), server)
    check(finished, four_pods, confirmed=True)
    assert {answer["ttl_seconds"] for answer in finished.events("endpoints.resolved")} == {60}
