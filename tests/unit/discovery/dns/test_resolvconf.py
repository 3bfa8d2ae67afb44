"""resolv.conf as resolv.conf(5) has it, and a search list that never leaves the cluster."""

from __future__ import annotations

import pytest

from worker.discovery.dns.resolvconf import Nameserver, ResolvConf, candidates, parse

POD = parse(
    """\
search shop.svc.cluster.local svc.cluster.local cluster.local corp.example.com
nameserver 10.96.0.10
options ndots:5
"""
)


def test_a_pods_file() -> None:
    assert (
        ResolvConf(
            nameservers=(Nameserver("10.96.0.10"),),
            search=(
                "shop.svc.cluster.local",
                "svc.cluster.local",
                "cluster.local",
                "corp.example.com",
            ),
            ndots=5,
        )
        == POD
    )


def test_everything_that_is_honoured() -> None:
    text = """\
; a comment
# another
domain ignored.example
search A.example. b.example
nameserver 127.0.0.1
nameserver fe80::1%eth0
options rotate use-vc timeout:3 attempts:4 edns0 max-depth:3
options ndots:2
sortlist 10.0.0.0
"""
    assert parse(text) == ResolvConf(
        nameservers=(Nameserver("127.0.0.1"), Nameserver("fe80::1%eth0")),
        search=("a.example", "b.example"),
        ndots=2,
        timeout_seconds=3,
        attempts=4,
        rotate=True,
        use_tcp=True,
    )


def test_the_c_librarys_limits() -> None:
    text = "options ndots:99 timeout:99 attempts:99\n"
    text += "".join(f"nameserver 10.0.0.{number}\n" for number in range(1, 6))
    assert parse(text) == ResolvConf(
        nameservers=(Nameserver("10.0.0.1"), Nameserver("10.0.0.2"), Nameserver("10.0.0.3")),
        ndots=15,
        timeout_seconds=30,
        attempts=5,
    )


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "nameserver\noptions\nsearch\n", "options ndots: timeout:x attempts:-1 ndots:²\n"],
)
def test_what_says_nothing_leaves_the_defaults(text: str) -> None:
    assert parse(text) == ResolvConf()


@pytest.mark.parametrize("last", ["search one.example", "domain one.example two.example"])
def test_the_last_of_search_and_domain_wins(last: str) -> None:
    assert parse(f"search zero.example\n{last}\n").search == ("one.example",)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (
            "web",
            (
                "web.shop.svc.cluster.local.",
                "web.svc.cluster.local.",
                "web.cluster.local.",
            ),
        ),
        (
            "Web.Other",
            (
                "web.other.shop.svc.cluster.local.",
                "web.other.svc.cluster.local.",
                "web.other.cluster.local.",
            ),
        ),
        (
            "web.other.svc.cluster.local",
            (
                "web.other.svc.cluster.local.shop.svc.cluster.local.",
                "web.other.svc.cluster.local.svc.cluster.local.",
                "web.other.svc.cluster.local.cluster.local.",
                "web.other.svc.cluster.local.",
            ),
        ),
        ("web.corp.example.com.", ("web.corp.example.com.",)),
    ],
)
def test_in_a_cluster_no_name_outside_its_zone_is_tried(
    host: str, expected: tuple[str, ...]
) -> None:
    assert candidates(host, POD) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("web", ("web.corp.example.", "web.")),
        ("web.shop", ("web.shop.", "web.shop.corp.example.")),
    ],
)
def test_outside_a_cluster_ndots_decides_the_order(host: str, expected: tuple[str, ...]) -> None:
    assert candidates(host, ResolvConf(search=("corp.example",))) == expected


def test_the_zone_is_the_first_svc_suffixs() -> None:
    conf = ResolvConf(search=("a.svc.k8s.test", "svc.k8s.test", "svc.corp.example"))
    assert candidates("web", conf) == ("web.a.svc.k8s.test.", "web.svc.k8s.test.")
