"""The request's bytes, held against what requests prepares for the same exchange."""

from __future__ import annotations

import pytest
import requests
from hypothesis import assume, given
from hypothesis import strategies as st
from requests.auth import HTTPBasicAuth

from tests.records import parsed
from worker import __version__
from worker.calls.request import prepare
from worker.config.parts import FIELD_VALUE, FRAMING, TOKEN
from worker.model import Auth, Exchange

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
PLAIN = Exchange(parsed("http://web:8080/clear?all=1"))

# What requests would write in another way is a case of its own, below.
SEGMENT = r"([A-Za-z0-9_~!$&'()*+,;=:@-]|%(2F|20|C3%A9))+"
NAMES = st.from_regex(TOKEN, fullmatch=True).filter(lambda n: n.lower() not in FRAMING)
VALUES = st.from_regex(FIELD_VALUE, fullmatch=True)
AUTHS = (
    st.none()
    | st.from_regex(r"[A-Za-z0-9._~+/-]+=*", fullmatch=True).map(lambda token: Auth(bearer=token))
    | st.builds(
        Auth,
        bearer=st.none(),
        username=st.from_regex(r"[^:\x00-\x1f\x7f]+", fullmatch=True),
        password=VALUES,
    )
)


def sent(exchange: Exchange) -> bytes:
    return b"".join(prepare(exchange, TRACE_ID).pieces(SPAN_ID))


def expected(exchange: Exchange, authority: str) -> requests.PreparedRequest:
    headers = requests.structures.CaseInsensitiveDict(
        {
            "Host": authority,
            "User-Agent": f"pod-broadcast/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "traceparent": TRACEPARENT,
        }
    )
    if exchange.content_type:
        headers["Content-Type"] = exchange.content_type
    headers.update(exchange.headers)
    auth = exchange.auth
    if auth and auth.bearer:
        headers["Authorization"] = f"Bearer {auth.bearer}"
    basic = None
    if auth and auth.username is not None:
        basic = HTTPBasicAuth(auth.username.encode(), (auth.password or "").encode())
    return requests.Request(
        exchange.method, exchange.url.text, headers=headers, data=exchange.body, auth=basic
    ).prepare()


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PURGE", "BAN", "OPTIONS"]),
    scheme=st.sampled_from(["http", "https"]),
    port=st.sampled_from(["", ":80", ":443", ":8080"]),
    path=st.lists(st.from_regex(SEGMENT, fullmatch=True)).map("".join),
    query=st.none() | st.from_regex(SEGMENT, fullmatch=True),
    headers=st.lists(
        st.tuples(
            NAMES | st.sampled_from(["host", "accept", "Content-Type", "traceparent"]), VALUES
        ),
        unique_by=lambda field: field[0].lower(),
    ),
    body=st.none() | st.binary(),
    content_type=st.none() | st.just("application/json"),
    auth=AUTHS,
)
def test_it_is_what_requests_would_send(
    method: str,
    scheme: str,
    port: str,
    path: str,
    query: str | None,
    headers: list[tuple[str, str]],
    body: bytes | None,
    content_type: str | None,
    auth: Auth | None,
) -> None:
    url = f"{scheme}://web.shop{port}" + (f"/{path}" if path else "")
    assume(not port or "@" not in f"{path}{query}")  # that may be a password
    exchange = PLAIN._replace(
        url=parsed(url + ("" if query is None else f"?{query}")),
        method=method,
        # auth and an Authorization header exclude each other, as `config` sees to
        headers=tuple(f for f in headers if not auth or f[0].lower() != "authorization"),
        body=body,
        content_type=content_type,
        auth=auth,
    )
    data = sent(exchange)
    head, _, sent_body = data.partition(b"\r\n\r\n")
    request_line, *lines = head.decode().split("\r\n")
    default = port == {"http": ":80", "https": ":443"}[scheme]
    wanted = expected(exchange, "web.shop" if default else f"web.shop{port}")
    assert request_line == f"{method} {wanted.path_url} HTTP/1.1"
    assert sorted(lines) == sorted(f"{name}: {value}" for name, value in wanted.headers.items())
    assert sent_body == (wanted.body or b"")


def test_its_bytes() -> None:
    exchange = PLAIN._replace(
        url=parsed("http://web.:8080/clear?all=1"),
        headers=(("ACCEPT", "text/plain"), ("X-Reason", "deploy")),
        body=b"{}",
        content_type="application/json",
        auth=Auth(username="löwe", password="p:w"),
    )
    assert sent(exchange) == (
        b"POST /clear?all=1 HTTP/1.1\r\n"
        b"Host: web:8080\r\n"
        b"User-Agent: pod-broadcast/" + __version__.encode() + b"\r\n"
        b"ACCEPT: text/plain\r\n"
        b"Accept-Encoding: identity\r\n"
        b"Content-Type: application/json\r\n"
        b"X-Reason: deploy\r\n"
        b"Authorization: Basic bMO2d2U6cDp3\r\n"
        b"Content-Length: 2\r\n"
        b"Connection: close\r\n"
        b"traceparent: " + TRACEPARENT.encode() + b"\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    "target", ["/a%7Eb", "/a/../b", "/./a", "//a", "/a%2fb", "/?tag[]=x", "/[x]", "/a?b?c", "/."]
)
def test_path_and_query_are_sent_as_they_are_written(target: str) -> None:
    """A cache that is purged by URL compares its bytes: another spelling is another object."""
    exchange = PLAIN._replace(url=parsed(f"http://web:8080{target}"))
    assert sent(exchange).startswith(b"POST %b " % target.encode())


def test_a_url_without_a_path_asks_for_the_root() -> None:
    for url, target in (("http://web", b"/"), ("http://web?a", b"/?a"), ("http://web/?", b"/?")):
        line = b"POST %b HTTP/1.1\r\nHost: web\r\n" % target
        assert sent(PLAIN._replace(url=parsed(url))).startswith(line)
