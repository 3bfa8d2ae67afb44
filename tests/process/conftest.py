"""What most tests of the whole program stand on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods
from tests.loopback.program import Finished, run_worker

Run = Callable[..., Finished]


@pytest.fixture
def nameserver() -> Iterator[Nameserver]:
    with Nameserver() as server:
        yield server


@pytest.fixture
def three_pods(nameserver: Nameserver) -> Iterator[Pods]:
    """Pods that `web` resolves to in every search list."""
    with Pods(3) as pods:
        nameserver.set("web.default.svc.cluster.local", *pods.addresses)
        yield pods


@pytest.fixture
def run(tmp_path: Path, nameserver: Nameserver) -> Run:
    """Runs a configuration against the nameserver."""

    def run(config: str | Path, *arguments: str, **settings: Any) -> Finished:
        settings.setdefault("nameserver", nameserver)
        return run_worker(tmp_path, config, *arguments, **settings)

    return run
