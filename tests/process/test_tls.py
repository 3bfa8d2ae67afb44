"""https: the certificate is that of the URL's host, though the connection goes to an address."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Behaviour, Exchange, Pods, raw
from tests.loopback.program import Entry
from tests.process.conftest import Run
from tests.process.logbook import check_log, failed, missed, reached, resolved

WEB = "web.default.svc.cluster.local"


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_pods(ca: trustme.CA, nameserver: Nameserver, tmp_path: Path) -> Iterator[Pods]:
    """Two pods with a certificate for web.default.svc."""
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("web.default.svc").configure_cert(context)
    with Pods(2, tls=context) as pods:
        nameserver.set(WEB, *pods.addresses)
        yield pods


def config(port: int, tls: str, host: str = "web.default.svc") -> str:
    return f"- name: clear\n  url: https://{host}:{port}/\n  settle: 2s\n  tls: {tls}\n"


def url(pods: Pods, host: str = "web.default.svc") -> str:
    return f"https://{host}:{pods.port}/"


def untrusted(pods: Pods, error_message: str, error_type: str = "tls") -> list[Entry]:
    """What happens when each pod's only call fails."""
    count, endpoints = len(pods.endpoints), pods.endpoints
    return [
        resolved(1, count, newcomers=count),
        *(failed(endpoint, error_type, error_message) for endpoint in endpoints),
        resolved(2, count),
        *(missed(endpoint, error_type, 1) for endpoint in endpoints),
    ]


def test_pods_are_verified_by_the_urls_host_and_told_it_in_sni(run: Run, tls_pods: Pods) -> None:
    finished = run(config(tls_pods.port, "{ca_file: ca.pem}"))
    check_log(finished, url(tls_pods), reached(tls_pods.endpoints))
    assert tls_pods.server_names == ["web.default.svc"] * 2
    (request,) = tls_pods[0].requests
    assert request.header("Host") == f"web.default.svc:{tls_pods.port}"


async def ragged(exchange: Exchange) -> None:
    """Closes without TLS's close_notify, as many servers do."""
    await exchange.read_request()
    await exchange.send(b"HTTP/1.1 200 OK\r\n\r\nok")
    exchange.writer.transport.abort()


@pytest.mark.parametrize("behaviour", [raw(b"HTTP/1.1 200 OK\r\n\r\nok"), ragged])
def test_a_response_without_a_length_ends_with_the_connection(
    behaviour: Behaviour, run: Run, tls_pods: Pods
) -> None:
    for number in range(2):
        tls_pods[number].script(behaviour)
    finished = run(config(tls_pods.port, "{ca_file: ca.pem}"))
    check_log(finished, url(tls_pods), reached(tls_pods.endpoints))
    assert list(tls_pods.requests.values()) == [1, 1]


def test_server_name_replaces_the_urls_host(run: Run, tls_pods: Pods) -> None:
    tls = "{ca_file: ca.pem, server_name: web.default.svc}"
    finished = run(config(tls_pods.port, tls, host="web"))
    check_log(finished, url(tls_pods, "web"), reached(tls_pods.endpoints))
    assert tls_pods.server_names == ["web.default.svc"] * 2


@pytest.mark.parametrize(
    ("tls", "host", "message"),
    [
        (
            "{ca_file: ca.pem}",
            "web",
            "Hostname mismatch, certificate is not valid for 'web'.",
        ),
        ("{}", "web.default.svc", "unable to get local issuer certificate"),
    ],
)
def test_a_certificate_that_proves_nothing_is_a_failure_that_is_not_retried(
    tls: str, host: str, message: str, run: Run, tls_pods: Pods
) -> None:
    finished = run(config(tls_pods.port, tls, host))
    happened = untrusted(tls_pods, message)
    check_log(finished, url(tls_pods, host), happened, reason="all_calls_failed")
    assert list(tls_pods.requests.values()) == [0, 0]


def test_an_expired_certificate_is_a_failure_that_is_not_retried(
    run: Run, ca: trustme.CA, nameserver: Nameserver, tmp_path: Path
) -> None:
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    ca.issue_cert("web", not_after=yesterday).configure_cert(context)
    with Pods(1, tls=context) as pods:
        nameserver.set(WEB, *pods.addresses)
        finished = run(config(pods.port, "{ca_file: ca.pem}", "web"))
        happened = untrusted(pods, "certificate has expired")
        check_log(finished, url(pods, "web"), happened, reason="all_calls_failed")
        assert list(pods.requests.values()) == [0]


def test_insecure_skip_verify_verifies_nothing(run: Run, tls_pods: Pods) -> None:
    finished = run(config(tls_pods.port, "{insecure_skip_verify: true}", "web"))
    check_log(finished, url(tls_pods, "web"), reached(tls_pods.endpoints))
    assert list(tls_pods.requests.values()) == [1, 1]


def test_a_client_certificate_is_shown_to_pods_that_ask_for_one(
    run: Run, ca: trustme.CA, nameserver: Nameserver, tmp_path: Path
) -> None:
    client = ca.issue_cert("worker@example.org")
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    with Pods(1, tls=asking(ca)) as pods:
        nameserver.set(WEB, *pods.addresses)
        shown = run(config(pods.port, "{ca_file: ca.pem, cert_file: client.pem}", "web"))
        check_log(shown, url(pods, "web"), reached(pods.endpoints))
        assert list(pods.requests.values()) == [1]


def test_without_a_client_certificate_the_pods_alert_is_a_failure_that_is_not_retried(
    run: Run, ca: trustme.CA, nameserver: Nameserver, tmp_path: Path
) -> None:
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    address = "127.77.0.1"
    nameserver.set(WEB, address)
    with socket.create_server((address, 0)) as listener:
        # asyncio closes without sending the alert; a blocking server does as others do.
        server = threading.Thread(target=_refuse, args=(listener, asking(ca)))
        server.start()
        port = listener.getsockname()[1]
        finished = run(config(port, "{ca_file: ca.pem}", "web"))
        server.join()
    endpoint, alert = f"{address}:{port}", "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    happened = [
        resolved(1, 1, newcomers=1),
        failed(endpoint, "tls", alert),
        resolved(2, 1),
        missed(endpoint, "tls", 1),
    ]
    check_log(finished, f"https://web:{port}/", happened, reason="all_calls_failed")


def asking(ca: trustme.CA) -> ssl.SSLContext:
    """A server's, that wants to see a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(context)
    ca.issue_cert("web").configure_cert(context)
    return context


def _refuse(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with connection, pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        context.wrap_socket(connection, server_side=True)


async def close(exchange: Exchange) -> None:
    """Takes a ClientHello, and goes."""
    await exchange.reader.read(1000)


def test_a_pod_that_closes_during_the_handshake_is_a_connection_reset(
    run: Run, three_pods: Pods
) -> None:
    for number in range(3):
        three_pods[number].script(close)
    finished = run(config(three_pods.port, "{}\n  attempts: 1", "web"))
    happened = untrusted(three_pods, "closed during the TLS handshake", "connection_reset")
    check_log(finished, url(three_pods, "web"), happened, reason="all_calls_failed")


async def plain_http(exchange: Exchange) -> None:
    """Answers to a ClientHello what most servers do."""
    await exchange.reader.read(1)
    await exchange.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_tls_spoken_to_a_plain_port_is_a_failure_that_is_not_retried(
    run: Run, three_pods: Pods
) -> None:
    for number in range(3):
        three_pods[number].script(plain_http)
    finished = run(config(three_pods.port, "{}", "web"))
    happened = untrusted(three_pods, "WRONG_VERSION_NUMBER")
    check_log(finished, url(three_pods, "web"), happened, reason="all_calls_failed")
