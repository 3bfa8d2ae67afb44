"""What comes of a call over TLS. tests/process/test_tls.py has the certificates of all kinds."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.loopback import calling
from tests.loopback.pods import Behaviour, Exchange, Pods, raw
from tests.records import parsed
from worker.calls.call import Caller
from worker.config.tls import tls_context
from worker.model import CallResult, Endpoint, Tls
from worker.model import Exchange as Wanted


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> str:
    path = str(tmp_path / "ca.pem")
    ca.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def pods(ca: trustme.CA) -> Iterator[Pods]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("web").configure_cert(context)
    with Pods(1, tls=context) as pods:
        yield pods


def called(pods: Pods, tls: Tls) -> CallResult:
    exchange = Wanted(parsed(f"https://web:{pods.port}/"), tls=tls, log_response="all")
    call = Caller(exchange, "0" * 32, tls_context).call
    return calling.make(call(Endpoint(pods.addresses[0], pods.port), "0" * 16))


def what(result: CallResult) -> tuple[object, ...]:
    return result.status_code, result.error_type, result.error_message, result.response_body


async def ragged(exchange: Exchange) -> None:
    """Closes without TLS's close_notify, as many servers do."""
    await exchange.read_request()
    await exchange.send(b"HTTP/1.1 200 OK\r\n\r\nok")
    exchange.writer.transport.abort()


@pytest.mark.parametrize(
    "behaviour",
    [
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        raw(b"HTTP/1.1 200 OK\r\n\r\nok"),
        ragged,
    ],
    ids=["with a length", "until close_notify", "until the end"],
)
def test_a_response(behaviour: Behaviour, pods: Pods, ca_file: str) -> None:
    pods[0].script(behaviour)
    assert what(called(pods, Tls(ca_file=ca_file))) == (200, None, None, b"ok")
    assert pods.server_names == ["web"]


def test_a_certificate_of_an_unknown_ca(pods: Pods) -> None:
    words = "unable to get local issuer certificate"
    assert what(called(pods, Tls())) == (None, "tls", words, None)


async def hang_up(exchange: Exchange) -> None:
    """Reads what the client says first, so that closing is no reset."""
    await exchange.reader.read(1)
    await exchange.reader.read(1 << 16)


def test_a_pod_that_hangs_up_in_the_handshake(ca_file: str) -> None:
    with Pods(1) as pods:
        pods[0].script(hang_up)
        words = "closed during the TLS handshake"
        assert what(called(pods, Tls(ca_file=ca_file))) == (None, "connection_reset", words, None)


async def speak_http(exchange: Exchange) -> None:
    await exchange.reader.read(1)
    await exchange.reader.read(1 << 16)
    await exchange.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def test_a_pod_that_answers_in_plain_http(ca_file: str) -> None:
    with Pods(1) as pods:
        pods[0].script(speak_http)
        result = called(pods, Tls(ca_file=ca_file))
        assert what(result) == (None, "tls", "WRONG_VERSION_NUMBER", None)
