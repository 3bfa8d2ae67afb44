"""What the masker finds that no whole line shows: tests/unit/log/test_setup.py has the lines."""

from __future__ import annotations

import base64

import pytest

from worker.log.masking import Masker


def test_a_secret_within_longer_base64_is_masked() -> None:
    secret = "correct horse battery staple"
    masker = Masker([secret])
    for prefix in ("", "a", "ab", "user:"):
        encoded = base64.b64encode(f"{prefix}{secret}!".encode()).decode()
        assert "***" in masker.mask(encoded)


@pytest.mark.parametrize("secrets", [["abc", "abcdef"], ["abcdef", "abc"]])
def test_a_secret_that_begins_with_another_is_masked_whole(secrets: list[str]) -> None:
    assert Masker(secrets).mask("<abcdef> <abc>") == "<***> <***>"


def test_without_secrets_nothing_changes() -> None:
    assert Masker(()).mask("text") == "text"
