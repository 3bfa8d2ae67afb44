"""The image under limits: nothing to write on, whatever uid, little memory, little CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from testcontainers.core.network import Network

from tests.container import running
from tests.container.conftest import Run
from tests.container.measure import measure
from tests.container.running import SERVICE, WebServer

MEBIBYTE = 1 << 20
CONFIG = f"- {{name: purge, url: 'http://{SERVICE}:8080/', method: PURGE, settle: 10s}}\n"
LIMITS: dict[str, dict[str, Any]] = {
    "a read-only root": {"read_only": True},
    "an arbitrary uid": {"user": "1000650000:0"},
    "64 MB of memory": {"mem_limit": 64 * MEBIBYTE, "memswap_limit": 64 * MEBIBYTE},
    "a tenth of a CPU": {"nano_cpus": 100_000_000},
}
ALL = {name: value for limits in LIMITS.values() for name, value in limits.items()}


@pytest.fixture(scope="module")
def shared_network() -> Iterator[Network]:
    with running.network() as network:
        yield network


@pytest.fixture
def network(shared_network: Network) -> Network:
    """One for the module: nothing here changes what is in it."""
    return shared_network


@pytest.fixture(scope="module", autouse=True)
def nginx(nginx_image: str, shared_network: Network) -> Iterator[list[WebServer]]:
    servers = [WebServer(nginx_image, shared_network, 8080) for _ in range(3)]
    try:
        for server in servers:
            server.docker.start()
        yield servers
    finally:
        for server in servers:
            server.docker.stop()


@pytest.mark.parametrize("limits", [*LIMITS, "all of them"])
def test_the_run_is_complete_with(limits: str, run: Run, nginx: list[WebServer]) -> None:
    finished = run(CONFIG, **LIMITS.get(limits, ALL))
    assert finished.exit_code == 0, finished
    assert finished.stderr == ""
    assert finished.entries[-1]["acknowledged"] == len(nginx)


def test_4000_pods_fit_into_64_mb_of_memory() -> None:
    used = measure(4000, 200, "--memory", "64m", "--memory-swap", "64m")
    assert used["exit_code"] == 0, used
