"""Images, networks and runs of the worker that the tests on containers share."""

from __future__ import annotations

import os

# Before testcontainers is imported, which reads its environment then: its reaper is one more image
# to pull; these tests stop what they have started themselves.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from testcontainers.core.network import Network

from tests.container import running
from tests.container.running import WorkerContainer
from tests.loopback.program import Finished

Start = Callable[..., WorkerContainer]
Run = Callable[..., Finished]


@pytest.fixture(scope="session")
def image() -> str:
    return running.build_worker()


@pytest.fixture(scope="session")
def nginx_image() -> str:
    return running.build_nginx()


@pytest.fixture(scope="session")
def varnish_image() -> str:
    return running.build_varnish()


@pytest.fixture
def network() -> Iterator[Network]:
    with running.network() as network:
        yield network


@pytest.fixture
def start(image: str, network: Network, tmp_path: Path) -> Iterator[Start]:
    """Starts the worker with a configuration, in the network."""
    with ExitStack() as stack:

        def start(config: str, *arguments: str, **settings: Any) -> WorkerContainer:
            (tmp_path / "broadcasts.yaml").write_text(config)
            tmp_path.chmod(0o755)
            worker = WorkerContainer(image, network, tmp_path, arguments, settings)
            return stack.enter_context(worker)

        yield start


@pytest.fixture
def run(start: Start) -> Run:
    """A run of the worker, from its start to its end."""

    def run(config: str, *arguments: str, **settings: Any) -> Finished:
        return start(config, *arguments, **settings).finish()

    return run
