"""The first final response decides, and never how TCP cuts the bytes into packets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.calls.judge import judge
from worker.calls.response import KEPT_BODY_BYTES, ProtocolError, Response
from worker.model import Expect

KIB = 1024
ONLY_200 = Expect(status_codes=frozenset({200}))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops"
HINTS = b"HTTP/1.1 103 Early Hints\r\n"
BROKEN_OFF = "closed in the middle of the header fields"
LONG_HEADERS = "more than 64 KiB of header fields"


class Verdict(NamedTuple):
    """What the rest of the program learns of a response."""

    status_code: int | None
    error_type: str | None = None
    error_message: str | None = None
    body: bytes = b""
    server: str | None = None


def verdict(packets: Iterable[bytes], method: str = "POST") -> Verdict:
    """What comes of these packets and a closed connection."""
    response = Response(method, KEPT_BODY_BYTES)
    try:
        for packet in packets:
            response.feed(packet)
        if not response.whole:
            response.end(None)
        assert response.whole
        failure = judge(response, ONLY_200)
    except ProtocolError as error:
        failure = "protocol", str(error)
    except ConnectionResetError as error:
        failure = "connection_reset", str(error)
    finally:
        response.release()
    error_type, message = failure or (None, None)
    server = response.field("server")
    return Verdict(response.status_code, error_type, message, bytes(response.body), server)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data in packets that begin at these places."""
    return [data[a:b] for a, b in pairwise([0, *sorted({*places}), len(data)])]


def check(data: bytes, expected: Verdict, method: str = "POST") -> None:
    """In one packet, in any two, and byte by byte."""
    assert verdict([data], method) == expected
    for place in range(1, min(len(data), 300)):
        assert verdict(cut(data, [place]), method) == expected, data[:place]
    assert verdict(cut(data, range(len(data))), method) == expected


FIRST: dict[str, tuple[bytes, Verdict]] = {
    "403 and then 200": (
        FORBIDDEN + OK,
        Verdict(403, "status", "answered 403 Forbidden", b"no"),
    ),
    "200 and then 500": (OK + BROKEN, Verdict(200, body=b"ok")),
    "200 and then another version": (
        OK + b"HTTP/2.0 500 x\r\n\r\n",
        Verdict(200, body=b"ok"),
    ),
    "200 and then more than its length": (OK + b" and more", Verdict(200, body=b"ok")),
    "200, which closes, and then 500": (
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + BROKEN,
        Verdict(200, body=b"ok"),
    ),
    "500 and then a 103": (
        BROKEN + HINTS + b"\r\n",
        Verdict(500, "status", "answered 500 Internal Server Error", b"oops"),
    ),
    "204 with a body that it must not have": (
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
        Verdict(204, "status", "answered 204 No Content"),
    ),
    "103, whose fields are its own, and then 200": (
        HINTS + b"Connection: close\r\nServer: a\r\nContent-Length: 9\r\n\r\n" + OK,
        Verdict(200, body=b"ok"),
    ),
    "an HTTP/1.0 100 and then 200": (
        b"HTTP/1.0 100 Continue\r\n\r\n" + OK,
        Verdict(200, body=b"ok"),
    ),
    "103 and then an end without a length": (
        HINTS + b"Content-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\nServer: b\r\n\r\nok",
        Verdict(200, body=b"ok", server="b"),
    ),
    "103 and then a status without a phrase": (
        HINTS + b"\r\nHTTP/1.1 404\r\nContent-Length: 0\r\n\r\n",
        Verdict(404, "status", "answered 404"),
    ),
    "empty lines before, between and behind": (
        b"\r\n\r\n" + HINTS + b"\r\n\r\n\r\n" + OK + b"\r\n\r\n",
        Verdict(200, body=b"ok"),
    ),
    "empty lines between interim responses": (
        HINTS + b"\r\n\r\n\r\n" + HINTS + b"\r\n" + OK,
        Verdict(200, body=b"ok"),
    ),
    "nothing": (b"", Verdict(None, "connection_reset", "closed before a response")),
    "another version": (
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Verdict(200, "protocol", "HTTP/2.0 where HTTP/1.1 was asked for"),
    ),
    "another protocol": (
        b"SSH-2.0-OpenSSH_10.0\r\n",
        Verdict(None, "protocol", "Expected HTTP/, RTSP/ or ICE/"),
    ),
    "103 and nothing more": (HINTS + b"\r\n", Verdict(103, "protocol", BROKEN_OFF)),
    "103 and half of a 200": (
        HINTS + b"\r\nHTTP/1.1 200 OK\r\nServer: b\r\nX",
        Verdict(103, "protocol", BROKEN_OFF),
    ),
    "101, behind which there is no HTTP": (
        b"HTTP/1.1 101 Switching Protocols\r\nServer: c\r\n\r\n" + OK,
        Verdict(101, "status", "answered 101 Switching Protocols", server="c"),
    ),
    "trailers, which are no header fields": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nServer: d\r\n\r\n",
        Verdict(200, body=b"ok"),
    ),
    "trailers that break off": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nServer: d\r\n",
        Verdict(200, "protocol", "closed in the middle of the body", b"ok"),
    ),
    "16 interim responses and then 200": (
        (HINTS + b"\r\n") * 16 + OK,
        Verdict(200, body=b"ok"),
    ),
    "17 interim responses and then 200": (
        (HINTS + b"\r\n") * 17 + OK,
        Verdict(103, "protocol", "more than 16 interim (1xx) responses"),
    ),
}


@pytest.mark.parametrize("what", FIRST)
def test_the_first_final_response_is_the_answer(what: str) -> None:
    check(*FIRST[what])


def test_what_follows_the_header_fields_of_an_answer_to_head_is_not_read() -> None:
    check(OK, Verdict(200), method="HEAD")


def field_of(size: int) -> bytes:
    return b"X: " + b"x" * (size - 5) + b"\r\n"


LINE = b"HTTP/1.1 200 OK\r\n"
LIMITS: dict[str, tuple[bytes, Verdict]] = {
    "header fields of 64 KiB": (
        LINE + field_of(64 * KIB - len(LINE) - 2) + b"\r\nok",
        Verdict(200, body=b"ok"),
    ),
    "header fields of a byte more": (
        LINE + field_of(64 * KIB - len(LINE) - 1) + b"\r\nok",
        Verdict(None, "protocol", LONG_HEADERS),
    ),
    "header fields of a byte more, of two responses": (
        HINTS + field_of(60 * KIB) + b"\r\n" + LINE + field_of(4 * KIB) + b"\r\nok",
        Verdict(103, "protocol", LONG_HEADERS),
    ),
    "a fault behind the 64 KiB of header fields": (
        LINE + field_of(64 * KIB) + b"\x00\r\n\r\n",
        Verdict(None, "protocol", LONG_HEADERS),
    ),
    "a body that ends behind the first MiB": (
        LINE + b"Content-Length: 2000000\r\n\r\n" + b"x" * 2_000_000,
        Verdict(200, body=b"x" * 64 * KIB),
    ),
    "a fault behind the first MiB": (
        LINE
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n%s\r\n" % (KIB * KIB, b"x" * KIB * KIB)
        + b"no chunk",
        Verdict(200, body=b"x" * 64 * KIB),
    ),
    "trailers that end behind the first MiB": (
        LINE
        + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
        + field_of(32 * KIB) * 40
        + b"\x00",
        Verdict(200, body=b"ok"),
    ),
}


@pytest.mark.parametrize("size", [1000, 16 * KIB, 64 * KIB, 100 * KIB, 3_000_000])
@pytest.mark.parametrize("what", LIMITS)
def test_a_limit_holds_at_a_byte(what: str, size: int) -> None:
    data, expected = LIMITS[what]
    assert verdict(cut(data, range(size, len(data), size))) == expected


TEXTS = st.sampled_from([b"", b"a", b"a b", b"\xff"])
FIELDS = st.lists(
    st.sampled_from(
        [
            b"Server: a\r\n",
            b"server:\r\n",
            b"Connection: close\r\n",
            b"Connection: keep-alive\r\n",
            b"Upgrade: h2c\r\nConnection: upgrade\r\n",
            b"Retry-After: 1\r\n",
            b"X-Bad \r\n",
            field_of(30 * KIB),
        ]
    ),
    max_size=3,
).map(b"".join)
HEADS = st.tuples(
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"]), TEXTS, FIELDS
)
CHUNKS = st.lists(st.sampled_from([b"a", b"bc" * 9, b"d" * 40 * KIB]), max_size=3)


@st.composite
def interim_responses(draw: st.DrawFn) -> bytes:
    version, phrase, fields = draw(HEADS)
    status_code = draw(st.sampled_from([b"100", b"102", b"103", b"103", b"101"]))
    return b"%s %s %s\r\n%s\r\n" % (version, status_code, phrase, fields)


@st.composite
def final_responses(draw: st.DrawFn) -> bytes:
    version, phrase, fields = draw(HEADS)
    status_code = draw(st.sampled_from([b"200", b"200", b"204", b"304", b"301", b"403", b"500"]))
    chunks = draw(CHUNKS)
    framing = draw(st.sampled_from(["length", "chunks", "trailers", "end"]))
    body = b"".join(chunks)
    if framing == "length":
        fields += b"Content-Length: %d\r\n" % (len(body) + draw(st.integers(0, 1)))
    elif framing != "end":
        fields += b"Transfer-Encoding: chunked\r\n"
        trailers = draw(FIELDS) if framing == "trailers" else b""
        body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
        body += b"0\r\n%s\r\n" % trailers
    return b"%s %s %s\r\n%s\r\n%s" % (version, status_code, phrase, fields, body)


STREAMS = st.tuples(
    st.lists(interim_responses(), max_size=3).map(b"".join)
    | interim_responses().map(lambda one: one * 17),
    st.lists(final_responses(), max_size=3).map(b"".join),
    st.sampled_from([b"", b"\r\n", b"garbage", b"HTTP/1.1 ", b"\x00"]),
).map(b"".join)
PLACES = st.lists(st.integers(0, 200) | st.integers(0, 100 * KIB), max_size=8)


@given(STREAMS, PLACES, PLACES, st.sampled_from(["POST", "HEAD"]))
def test_however_the_bytes_are_cut_the_verdict_is_the_same(
    data: bytes, places: Sequence[int], others: Sequence[int], method: str
) -> None:
    one = verdict(cut(data, [place for place in places if place < len(data)]), method)
    other = verdict(cut(data, [place for place in others if place < len(data)]), method)
    assert one == other
    if len(data) < KIB:
        assert verdict(cut(data, range(len(data))), method) == one
