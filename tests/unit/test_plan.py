"""What `plan` shows of a body that stays in its file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.config.reading import one
from worker.commands.plan import document
from worker.config.errors import ConfigInvalid
from worker.model import ResolutionFailure

NO_ANSWER = ResolutionFailure("web", "dns_timeout", "")


def test_a_body_file_that_has_changed_is_an_error(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"x" * 70_000)
    entry = one(tmp_path, "  body_file: body\n")
    assert document(entry, NO_ANSWER)["body"] == "x" * 70_000
    os.truncate(body, 1)
    with pytest.raises(ConfigInvalid) as caught:
        document(entry, NO_ANSWER)
    message = f"body_file {body} has changed since the configuration was read"
    assert str(caught.value) == f"broadcast a: {message}"
