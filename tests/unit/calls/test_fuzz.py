"""Whatever comes from outside is a result or a clear error, never an exception, and it ends."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.loopback import calling
from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods, raw
from tests.loopback.serving import HANG_SECONDS
from tests.records import parsed
from worker.calls.call import Caller
from worker.calls.request import prepare
from worker.config.errors import ConfigError, ConfigInvalid
from worker.config.load import load
from worker.config.tls import tls_context
from worker.discovery.addresses import fault_of
from worker.discovery.dns.lookup import Lookup
from worker.discovery.dns.resolvconf import Nameserver as Server
from worker.discovery.dns.resolvconf import ResolvConf, candidates, parse
from worker.discovery.dns.resolver import Resolver
from worker.model import Answer, Broadcast, Endpoint, Exchange, ResolutionFailure

DNS_SECONDS = 0.1
MAX_BODY_BYTES = 64 * 1024
SOME = settings(
    max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
LINE = st.text("nameserver search options ndots:timeout attempts rotate use-vc 0123456789.:-#;\t")


@given(st.one_of(st.text(), st.lists(LINE).map("\n".join)))
def test_any_text_is_a_resolv_conf(text: str) -> None:
    conf = parse(text, fault_of)
    assert isinstance(conf, ResolvConf)
    assert conf.nameservers
    assert candidates("web.shop.example", conf)


ODD = st.text("abc/:@?#[]%. \r\n\t\x00\x7féü漢😀*\u2028=&-_~", max_size=12) | st.text(max_size=6)


@settings(suppress_health_check=list(HealthCheck))
@given(
    host=st.just("") | ODD,
    path=st.just("a%20b?c=d") | ODD,
    name=st.sampled_from(["X-A", "x-b", "Accept"]) | ODD,
    value=st.just("a b") | ODD,
    text=st.just("ok") | ODD,
)
def test_any_text_in_url_headers_and_expect_is_refused_or_stays_in_its_place(
    host: str, path: str, name: str, value: str, text: str, tmp_path: Path
) -> None:
    entry = {
        "name": "a",
        "url": f"http://web{host}:8080/{path}",
        "headers": {name: value},
        "expect": {"body_contains": text},
    }
    file = tmp_path / "a.yaml"
    file.write_bytes(json.dumps([entry]).encode())
    broadcasts: tuple[Broadcast, ...] = ()
    errors: list[ConfigError] = []
    try:
        broadcasts = load([str(file)], {}).broadcasts
    except ConfigInvalid as invalid:
        errors = invalid.errors
    assert all(str(error).startswith(f"{file}:1:") for error in errors)
    assert bool(broadcasts) != bool(errors)
    for broadcast in broadcasts:
        check_request(broadcast, name, value)


def check_request(broadcast: Broadcast, name: str, value: str) -> None:
    """Whether the header is there, and nothing but it and the usual ones."""
    head, _, body = b"".join(prepare(broadcast.exchange, "0" * 32).pieces("0" * 16)).partition(
        b"\r\n\r\n"
    )
    request_line, *lines = head.decode("ascii").split("\r\n")
    assert request_line.startswith("POST /")
    assert request_line.count(" ") == 2
    assert f"{name}: {value}" in lines
    names = [line.partition(":")[0].lower() for line in lines]
    assert sorted(names) == sorted({*names})
    assert set(names) == {*DEFAULT_HEADERS, name.lower()}
    assert not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f]", head.decode())
    assert body == b""


DEFAULT_HEADERS = (
    *("host", "user-agent", "accept", "accept-encoding", "content-length", "connection"),
    "traceparent",
)
MANGLING = st.lists(st.tuples(st.integers(2, 200), st.integers(0, 255)), max_size=6)


@pytest.fixture(scope="module")
def nameserver() -> Iterator[Nameserver]:
    with Nameserver() as server:
        server.set("web.example", "127.0.0.1", "127.0.0.2")
        # A late answer would be shuffled while Hypothesis draws, from the same source.
        server.shuffles = False
        yield server


@SOME
@given(changes=MANGLING, length=st.integers(0, 300))
def test_a_mangled_dns_answer(
    changes: list[tuple[int, int]], length: int, nameserver: Nameserver
) -> None:
    def mangle(wire: bytes) -> bytes:
        data = bytearray(wire)
        for position, byte in changes:
            if position < len(data):
                data[position] = byte
        return bytes(data[:length])

    nameserver.mangle = mangle
    conf = ResolvConf(
        nameservers=(Server(nameserver.address, nameserver.port),),
        timeout_seconds=1,
        attempts=1,
    )
    ends_at = time.monotonic() + DNS_SECONDS
    result = Lookup("web.example.", 8080, "ipv4", conf, Resolver(conf)).ask(ends_at)
    assert isinstance(result, (Answer, ResolutionFailure))


@pytest.fixture(scope="module")
def pods() -> Iterator[Pods]:
    with Pods(1) as pods:
        yield pods


WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE += b"2\r\nok\r\n0\r\n\r\n"
PIECES = st.sampled_from(
    [
        b"HTTP/1.1 ",
        b"HTTP/1.0 ",
        b"200",
        b"404 x",
        b"\r\n",
        b"\r\n\r\n",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: upgrade\r\n",
        b"5\r\n",
        b"0\r\n\r\n",
        b"x" * 70_000,
        b"\x00\xff",
        b": ",
        b" ",
    ]
)


@SOME
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(PIECES, max_size=12).map(b"".join),
        st.tuples(st.integers(0, len(WHOLE)), st.binary(max_size=9)).map(
            lambda cut: WHOLE[: cut[0]] + cut[1] + WHOLE[cut[0] :]
        ),
    )
)
def test_any_bytes_are_a_response_or_a_failure(pods: Pods, data: bytes) -> None:
    pods[0].script(raw(data))
    exchange = Exchange(
        parsed(f"http://web:{pods.port}/"), timeout_seconds=HANG_SECONDS, log_response="all"
    )
    call = Caller(exchange, "0" * 32, tls_context).call
    result = calling.make(call(Endpoint(pods.addresses[0], pods.port), span_id="0" * 16))
    assert len(result.response_body or b"") <= MAX_BODY_BYTES
    # The pod closes the connection behind its bytes, so there is never a reason to wait.
    assert result.error_type in {None, "protocol", "status", "redirect", "connection_reset"}
