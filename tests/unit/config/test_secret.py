"""Secrets from files: the one line end that is no part of them, and what cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.reading import URL, load, messages, one
from worker.model import Auth


@pytest.mark.parametrize(
    ("content", "value"), [(b"x", "x"), (b"x\n", "x"), (b"x\r\n", "x"), ("pä".encode(), "pä")]
)
def test_a_secret_file_loses_one_line_end(content: bytes, value: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    auth = one(
        tmp_path, "  auth: {basic: {username: me, password: {file: secret}}}\n"
    ).exchange.auth
    assert auth == Auth(username="me", password=value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"x\n\n", "a value with a control character"),
        (b"x\r", "a value with a control character"),
        (b"x\x7f", "a value with a control character"),
        ("x\x9bm".encode(), "a value with a control character"),
        (b"\n", "an empty value"),
        (b"\xff", "a value that is not UTF-8"),
    ],
)
def test_a_secret_file_that_cannot_be_used(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    more = "  auth: {basic: {username: me, password: {file: secret}}}\n"
    assert messages(tmp_path, f"- name: a\n  url: {URL}\n{more}") == [
        f"broadcasts.yaml:3:42: broadcasts[0].auth.basic.password: expected a password, "
        f"got {problem}"
    ]


def test_a_secret_file_that_is_too_long(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * (64 * 1024 + 1))
    more = "  auth: {bearer: {file: secret}}\n"
    assert messages(tmp_path, f"- name: a\n  url: {URL}\n{more}") == [
        "broadcasts.yaml:3:18: broadcasts[0].auth.bearer: expected at most 65536 bytes in "
        "secret, got more"
    ]


def test_a_file_that_many_values_name_is_read_once(tmp_path: Path) -> None:
    """Else a configuration of 1 MiB may name it 40,000 times, and checking it takes ten seconds."""
    secret = tmp_path / "secret"
    secret.write_text("t0ken")
    text = "".join(
        f"- {{name: b{n}, url: '{URL}', auth: {{bearer: {{file: secret}}}}}}\n" for n in range(3)
    )
    broadcasts = load(tmp_path, text).broadcasts
    first, *others = (each.exchange.auth.bearer for each in broadcasts if each.exchange.auth)
    assert first == "t0ken"
    assert all(other is first for other in others)


def test_what_json_refers_to_is_bounded_in_sum(tmp_path: Path) -> None:
    """20 KB of YAML may stand for 100 MB."""
    (tmp_path / "secret").write_bytes(b"x" * 64 * 1024)
    fits = ", ".join(["{file: secret}"] * 64)
    body = one(tmp_path, f"  json: [{fits}]\n").exchange.body
    assert isinstance(body, bytes)
    assert len(body) > 4 * 1024 * 1024
    more = f"  json: [{fits}]\n- name: b\n  url: {URL}\n  json: {{file: secret}}\n"
    assert messages(tmp_path, f"- name: a\n  url: {URL}\n{more}") == [
        "broadcasts.yaml:6:9: broadcasts[1].json: all references in JSON may stand for at most "
        "4194304 characters, got more"
    ]


def test_a_secret_file_of_just_64_kib_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 64 * 1024)
    exchange = one(tmp_path, "  auth: {bearer: {file: secret}}\n").exchange
    assert exchange.auth == Auth(bearer="x" * 64 * 1024)


@pytest.mark.parametrize(
    ("value", "found"), [("", "nothing"), ("[]", "an empty list"), ("[a]", "a list")]
)
def test_a_secret_that_is_no_text_says_what_it_is(value: str, found: str, tmp_path: Path) -> None:
    more = f"  auth:\n    bearer: {value}\n"
    (message,) = messages(tmp_path, f"- name: a\n  url: {URL}\n{more}")
    assert message.endswith(
        f": broadcasts[0].auth.bearer: expected {{env: NAME}} or {{file: PATH}}: got {found}"
    )


@pytest.mark.parametrize(("body", "secrets"), [("{}\n", set()), ("{purge: 1}\n", {"{purge: 1}"})])
def test_a_body_from_outside_is_a_secret_unless_it_occurs_by_chance(
    body: str, secrets: set[str], tmp_path: Path
) -> None:
    (tmp_path / "body").write_text(body)
    (tmp_path / "config").mkdir()
    config = load(tmp_path / "config", f"- name: a\n  url: {URL}\n  body_file: ../body\n")
    assert config.secrets == secrets
    exchange = config.broadcasts[0].exchange
    assert (exchange.body, exchange.body_is_secret) == (body.encode(), True)
    assert not one(tmp_path, "  body_file: body\n").exchange.body_is_secret
