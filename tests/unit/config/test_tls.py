"""Certificates: loaded once for each distinct `tls`, with errors in the right place."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
import trustme

from tests.unit.config.reading import load, messages
from worker.config.tls import tls_context
from worker.model import Tls


def test_a_certificate_without_its_key_names_the_certificate(tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("web")
    (tmp_path / "crt.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    text = "- name: a\n  url: https://web/\n  tls: {cert_file: crt.pem}\n"
    (message,) = messages(tmp_path, text)
    assert message.startswith("broadcasts.yaml:3:20: broadcasts[0].tls.cert_file: expected a cert")


def broadcasts(*tls: str) -> str:
    return "".join(
        f"- name: b{i}\n  url: https://web/\n{f'  tls: {text}' if text else ''}\n"
        for i, text in enumerate(tls)
    )


def test_the_context_of_a_tls(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(trustme.CA().cert_pem.bytes())
    ca_file = str(tmp_path / "ca.pem")
    own = one(tmp_path, "{ca_file: ca.pem, server_name: web.shop}")
    assert own == Tls(ca_file=ca_file, server_name="web.shop")
    assert len(tls_context(own).get_ca_certs()) == 1
    system = tls_context(one(tmp_path, ""))
    assert system.cert_store_stats()["x509_ca"] == len(ssl.create_default_context().get_ca_certs())
    for context in (tls_context(own), system):
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
    assert tls_context(one(tmp_path, "{insecure_skip_verify: true}")).verify_mode == ssl.CERT_NONE


def test_each_python_verifies_alike_and_writes_no_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ssl.create_default_context sets depends on Python's version and the environment."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context = tls_context(Tls())
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.keylog_filename is None


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "key_file"])
def test_a_file_is_a_regular_one(key: str, tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("web")
    (tmp_path / "crt.pem").write_bytes(leaf.private_key_and_cert_chain_pem.bytes())
    os.mkfifo(tmp_path / "pipe")
    files = {"cert_file": "crt.pem"} if key == "key_file" else {}
    text = ", ".join(f"{name}: {file}" for name, file in (files | {key: "pipe"}).items())
    (message,) = messages(tmp_path, broadcasts(f"{{{text}}}"))
    assert message.startswith("broadcasts.yaml:3:")
    found = "expected a regular file at pipe, got a pipe or a device"
    assert message.endswith(f"broadcasts[0].tls.{key}: {found}")


def test_a_key_that_does_not_fit_names_the_certificate(tmp_path: Path) -> None:
    first, second = (trustme.CA().issue_cert("web") for _ in range(2))
    (tmp_path / "crt.pem").write_bytes(first.cert_chain_pems[0].bytes())
    (tmp_path / "key.pem").write_bytes(second.private_key_pem.bytes())
    text = broadcasts("{cert_file: crt.pem, key_file: key.pem}")
    (message,) = messages(tmp_path, text)
    expected = "expected a certificate and its unencrypted key in crt.pem and key.pem"
    assert f"tls.cert_file: {expected}, got: KEY_VALUES_MISMATCH" in message


def one(folder: Path, text: str) -> Tls:
    return load(folder, broadcasts(text)).broadcasts[0].exchange.tls
