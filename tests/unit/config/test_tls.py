"""Certificates: loaded once for each distinct `tls`, with errors in the right place."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import trustme

from tests.unit.config.reading import load, messages
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


def test_each_distinct_tls_of_an_https_broadcast_has_one_context(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(trustme.CA().cert_pem.bytes())
    text = broadcasts(*["", ""], *["{ca_file: ca.pem}"] * 20, "{insecure_skip_verify: true}")
    loaded = load(tmp_path, f"{text}- {{name: plain, url: 'http://web/'}}\n")
    contexts = loaded.tls_contexts
    ca_file = str(tmp_path / "ca.pem")
    assert set(contexts) == {Tls(), Tls(ca_file=ca_file), Tls(insecure_skip_verify=True)}
    assert len(contexts[Tls(ca_file=ca_file)].get_ca_certs()) == 1
    assert contexts[Tls()].verify_mode == ssl.CERT_REQUIRED
    assert contexts[Tls()].check_hostname
    assert contexts[Tls(insecure_skip_verify=True)].verify_mode == ssl.CERT_NONE


def test_a_ca_that_can_be_read_only_once_is_read_only_once(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, trustme.CA().cert_pem.bytes())
    os.close(writer)
    try:
        ca_file = f"ca_file: /dev/fd/{reader}"
        text = broadcasts(f"{{{ca_file}}}", f"{{{ca_file}, server_name: a}}", f"{{{ca_file}}}")
        contexts = load(tmp_path, text).tls_contexts
    finally:
        os.close(reader)
    first, second = contexts.values()
    assert first is second
    assert len(first.get_ca_certs()) == 1
