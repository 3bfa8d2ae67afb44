"""Reads configurations for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.config import load as config
from worker.config.errors import ConfigInvalid
from worker.model import Broadcast, Config

URL = "http://web:8080/clear"
ENVIRONMENT = {"TOKEN": "t0ken", "PASSWORD": "p ss", "HEADER": "he4der", "VERSION": "1.2"}


def load(folder: Path, text: str, name: str = "broadcasts.yaml") -> Config:
    file = folder / name
    file.write_text(text)
    return config.load([str(file)], ENVIRONMENT)


def one(folder: Path, more: str) -> Broadcast:
    (broadcast,) = load(folder, f"- name: a\n  url: {URL}\n{more}").broadcasts
    return broadcast


def messages(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load(folder, text)
    return [str(error).replace(f"{folder}/", "") for error in caught.value.errors]
