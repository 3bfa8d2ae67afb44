"""resolv.conf as resolv.conf(5) has it, and a search list that never leaves the cluster."""

from __future__ import annotations

import pytest

from worker.discovery.addresses import fault_of
from worker.discovery.dns.resolvconf import Nameserver, ResolvConf, candidates, zone_of
from worker.discovery.dns.resolvconf import parse as parse_with


def parse(text: str) -> ResolvConf:
    return parse_with(text, fault_of)


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
nameserver fe80::1%lo
options rotate use-vc timeout:3 attempts:4 edns0 max-depth:3
options ndots:2
sortlist 10.0.0.0
"""
    assert parse(text) == ResolvConf(
        nameservers=(Nameserver("127.0.0.1"), Nameserver("fe80::1%lo")),
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


def test_the_defaults_are_those_of_resolv_conf_5() -> None:
    assert parse("") == ResolvConf(
        nameservers=(Nameserver("127.0.0.1", 53),),
        search=(),
        ndots=1,
        timeout_seconds=5,
        attempts=2,
        rotate=False,
        use_tcp=False,
        warnings=(),
        chosen=False,
    )


@pytest.mark.parametrize("number", [0, 1])
def test_a_server_has_a_second_and_is_asked_once_at_least(number: int) -> None:
    conf = parse(f"options timeout:{number} attempts:{number}\n")
    assert (conf.timeout_seconds, conf.attempts) == (1, 1)


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
            ),
        ),
        (
            "Web.Other",
            (
                "web.other.shop.svc.cluster.local.",
                "web.other.svc.cluster.local.",
            ),
        ),
        (
            "web.other.svc.cluster.local",
            (
                "web.other.svc.cluster.local.shop.svc.cluster.local.",
                "web.other.svc.cluster.local.svc.cluster.local.",
                "web.other.svc.cluster.local.",
            ),
        ),
        ("web.corp.example.com.", ("web.corp.example.com.",)),
        (
            "web.evilcluster.local",
            (
                "web.evilcluster.local.shop.svc.cluster.local.",
                "web.evilcluster.local.svc.cluster.local.",
            ),
        ),
    ],
)
def test_in_a_cluster_no_name_outside_its_zone_is_tried(
    host: str, expected: tuple[str, ...]
) -> None:
    assert candidates(host, POD) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("web", ("web.",)),
        ("web.shop", ()),
        ("Web.Shop.SVC", ()),
        ("web.", ("web.",)),
        ("web.example.com", ("web.example.com.",)),
        ("Web.Shop.svc.cluster.local", ("web.shop.svc.cluster.local.",)),
    ],
)
@pytest.mark.parametrize("ndots", [1, 5])
def test_outside_a_cluster_nothing_is_appended_and_no_short_name_tried(
    host: str, expected: tuple[str, ...], ndots: int
) -> None:
    assert candidates(host, ResolvConf(search=("corp.example",), ndots=ndots)) == expected


def test_a_suffix_whose_last_labels_only_end_like_the_zones_is_not_appended() -> None:
    conf = ResolvConf(search=("shop.svc.cluster.local", "evil-svc.cluster.local"))
    assert candidates("web", conf) == ("web.shop.svc.cluster.local.",)


def test_names_that_are_too_long_are_not_tried() -> None:
    host = ".".join(["a" * 60] * 4)  # 243 characters
    conf = ResolvConf(search=("svc.cluster.local", "cluster.local"), ndots=5)
    assert candidates(host, conf) == ()
    assert candidates("b" * 60, conf) == (f"{'b' * 60}.svc.cluster.local.",)
    longest = f"{'.'.join(['a' * 60] * 3)}.{'b' * 52}"
    assert len(f"{longest}.svc.cluster.local") == 253
    assert candidates(longest, conf) == (f"{longest}.svc.cluster.local.",)
    assert candidates(f"{longest}b", conf) == ()


@pytest.mark.parametrize(("ndots", "as_it_is_first"), [(3, True), (4, True), (5, False)])
def test_a_name_with_as_many_dots_as_ndots_is_tried_as_it_is_first(
    ndots: int, as_it_is_first: bool
) -> None:
    host = "web.shop.svc.cluster.local"
    conf = ResolvConf(search=("svc.cluster.local",), ndots=ndots)
    names = (f"{host}.", f"{host}.svc.cluster.local.")
    assert candidates(host, conf) == (names if as_it_is_first else names[::-1])


@pytest.mark.parametrize(
    ("host", "search", "zone"),
    [
        ("web", ("a.svc.k8s.test", "svc.k8s.test"), "k8s.test"),
        ("web", ("corp.example", "a.svc.k8s.test"), "k8s.test"),
        ("web", ("a.b.svc.k8s.test", "svc", "asvc.k8s.test"), None),
        ("web.a.svc.k8s.test.", ("svc.k8s.test",), "k8s.test"),
        ("WEB.corp.example.", ("svc.k8s.test",), None),
        ("web.a.svc.other.test.", ("svc.k8s.test",), None),
        ("web.evilk8s.test.", ("svc.k8s.test",), None),
        ("Web.a.svc.Cluster.local", ("corp.example",), "cluster.local"),
        ("web-0.web.a.svc.cluster.local.", (), "cluster.local"),
        ("web", ("corp.example",), None),
        ("web.shop.svc", (), None),
        ("web.corp.example", (), None),
    ],
)
def test_a_name_in_the_zone_is_told_by_the_search_list_or_by_itself(
    host: str, search: tuple[str, ...], zone: str | None
) -> None:
    assert zone_of(host, ResolvConf(search=search)) == zone


def test_the_zone_is_the_first_svc_suffixs() -> None:
    conf = ResolvConf(search=("a.svc.k8s.test", "svc.k8s.test", "svc.corp.example"))
    assert candidates("web", conf) == ("web.a.svc.k8s.test.", "web.svc.k8s.test.")


LONG = "a" * 70


@pytest.mark.parametrize(
    ("line", "skipped"),
    [
        ("nameserver kube-dns.kube-system", "kube-dns.kube-system, which is not an IP address"),
        ("nameserver 10.0.0.2:53", "10.0.0.2:53, which is not an IP address"),
        ("nameserver ${X}", "${X}, which is not an IP address"),
        ("nameserver fé", "fé, which is not an IP address"),
        ("nameserver a\0b", "a\0b, which is not an IP address"),
        ("nameserver fe80::1%eth9", "fe80::1%eth9, whose network interface is not there"),
        ("search corp..example.com b.example", "corp..example.com, which is not a domain name"),
        (f"search b.example {LONG}.com", f"{LONG}.com, which is not a domain name"),
        ("search corp\\999 b.example fé", "corp\\999, fé, which is not a domain name"),
    ],
)
def test_what_cannot_be_used_is_skipped_with_a_warning_that_quotes_the_line(
    line: str, skipped: str
) -> None:
    conf = parse(f"search b.example\nnameserver 10.0.0.1\n\n  {line}\nnameserver 10.0.0.3\n")
    assert conf == ResolvConf(
        nameservers=(Nameserver("10.0.0.1"), Nameserver("10.0.0.3")),
        search=("b.example",),
        warnings=((4, f"{line}: skipped {skipped}"),),
    )


@pytest.mark.parametrize(("characters", "used"), [(63, True), (64, False)])
def test_a_label_has_63_characters_at_most(characters: int, used: bool) -> None:
    conf = parse(f"search {'a' * characters}.example\n")
    assert (bool(conf.search), not conf.warnings) == (used, used)


def test_a_line_of_200_characters_is_quoted_whole() -> None:
    ((_, message),) = parse(f"nameserver {'x' * 189}").warnings
    assert message.partition(":")[0] == f"nameserver {'x' * 189}"


def test_a_long_line_is_quoted_in_part() -> None:
    ((_, message),) = parse(f"nameserver {'x' * 300}").warnings
    assert message == f"nameserver {'x' * 189}…: skipped {'x' * 200}…"


def test_what_the_c_library_takes_for_an_address_is_one() -> None:
    text = "nameserver 127.1\nnameserver 10.0.0.2#comment\nnameserver 10.0.0.3;comment\n"
    assert parse(text) == ResolvConf(
        nameservers=(Nameserver("127.1"), Nameserver("10.0.0.2"), Nameserver("10.0.0.3"))
    )


def test_of_the_first_three_nameservers_those_that_cannot_be_used_do_not_count() -> None:
    text = "".join(f"nameserver {address}\n" for address in ["x", "10.1", "y", "10.2", "10.3"])
    assert parse(text).nameservers == (Nameserver("10.1"), Nameserver("10.2"), Nameserver("10.3"))


def test_the_root_as_a_suffix_says_nothing() -> None:
    assert parse("search . b.example.\n") == ResolvConf(search=("b.example",))
