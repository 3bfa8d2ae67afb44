"""https: the certificate is that of the URL's host, though the connection goes to an address."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Exchange, Pods
from tests.process.conftest import Run

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


def test_pods_are_verified_by_the_urls_host_and_told_it_in_sni(run: Run, tls_pods: Pods) -> None:
    finished = run(config(tls_pods.port, "{ca_file: ca.pem}"))
    assert finished.exit_code == 0, finished.stdout
    assert tls_pods.server_names == ["web.default.svc"] * 2
    (request,) = tls_pods[0].requests
    assert request.header("Host") == f"web.default.svc:{tls_pods.port}"


def test_server_name_replaces_the_urls_host(run: Run, tls_pods: Pods) -> None:
    tls = "{ca_file: ca.pem, server_name: web.default.svc}"
    finished = run(config(tls_pods.port, tls, host="web"))
    assert finished.exit_code == 0, finished.stdout
    assert tls_pods.server_names == ["web.default.svc"] * 2


@pytest.mark.parametrize(
    ("tls", "host", "message"),
    [
        ("{ca_file: ca.pem}", "web", "Hostname mismatch"),
        ("{}", "web.default.svc", "unable to get local issuer certificate"),
    ],
)
def test_a_certificate_that_proves_nothing_is_a_failure_that_is_not_retried(
    tls: str, host: str, message: str, run: Run, tls_pods: Pods
) -> None:
    finished = run(config(tls_pods.port, tls, host))
    assert finished.exit_code == 4
    failed = finished.events("call.failed")
    assert [(entry["attempt"], entry["error_type"]) for entry in failed] == [(1, "tls")] * 2
    assert all(message in entry["error_message"] for entry in failed)
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
    assert finished.exit_code == 4
    failed = finished.only("call.failed")
    assert (failed["error_type"], failed["attempt"]) == ("tls", 1)
    assert "expired" in failed["error_message"]


def test_insecure_skip_verify_verifies_nothing(run: Run, tls_pods: Pods) -> None:
    finished = run(config(tls_pods.port, "{insecure_skip_verify: true}", "web"))
    assert finished.exit_code == 0, finished.stdout


def test_a_client_certificate_is_shown_to_pods_that_ask_for_one(
    run: Run, ca: trustme.CA, nameserver: Nameserver, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(context)
    ca.issue_cert("web").configure_cert(context)
    client = ca.issue_cert("worker@example.org")
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    with Pods(1, tls=context) as pods:
        nameserver.set(WEB, *pods.addresses)
        without = run(config(pods.port, "{ca_file: ca.pem}\n  attempts: 1", "web"))
        assert without.exit_code == 4
        shown = run(config(pods.port, "{ca_file: ca.pem, cert_file: client.pem}", "web"))
        assert shown.exit_code == 0, shown.stdout
        assert list(pods.requests.values()) == [1]


async def close(exchange: Exchange) -> None:
    """Takes a ClientHello, and goes."""
    await exchange.reader.read(1000)


def test_a_pod_that_closes_during_the_handshake_is_a_connection_reset(
    run: Run, three_pods: Pods
) -> None:
    for number in range(3):
        three_pods[number].script(close)
    finished = run(config(three_pods.port, "{}\n  attempts: 1", "web"))
    assert finished.exit_code == 4
    failed = finished.events("call.failed")
    assert {entry["error_type"] for entry in failed} == {"connection_reset"}
    assert {entry["error_message"] for entry in failed} == {"closed during the TLS handshake"}


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
    assert finished.exit_code == 4
    failed = finished.events("call.failed")
    assert [(entry["error_type"], entry["attempt"]) for entry in failed] == [("tls", 1)] * 3
