"""The image beside three containers that share a network alias: Docker's DNS answers with three A
records, the shape of a headless Service.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

ROOT = Path(__file__).parents[2]
IMAGE = "pod-broadcast:test"
# Prints a line for each request that it serves.
SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.requestline, "Host:", self.headers["Host"], flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *arguments): pass
print("listening", flush=True)
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
CONFIG = """\
- name: clear-web-caches
  url: http://web-server-headless:8080/clear-caches
  settle: 5s
"""


@pytest.fixture(scope="module")
def image() -> str:
    subprocess.run(
        ["docker", "build", "--quiet", "--network", "host", "--tag", IMAGE, ROOT],
        check=True,
        timeout=300,
    )
    return IMAGE


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def pods(image: str, network: Network) -> Iterator[list[DockerContainer]]:
    started: list[DockerContainer] = []
    try:
        for _ in range(3):
            pod = (
                DockerContainer(image, entrypoint=["python", "-c", SERVER])
                .with_network(network)
                .with_network_aliases("web-server-headless")
                .waiting_for(LogMessageWaitStrategy("listening"))
            )
            started.append(pod)
            pod.start()
        yield started
    finally:
        for pod in started:
            pod.stop()


def run(image: str, network: Network, config: Path) -> tuple[int, list[dict[str, Any]]]:
    """The worker's exit code and its log."""
    config.chmod(0o755)
    (config / "broadcasts.yaml").write_text(CONFIG)
    worker = (
        DockerContainer(image, read_only=True)
        .with_network(network)
        .with_volume_mapping(str(config), "/etc/pod-broadcast")
    )
    with worker:
        exit_code = worker.get_wrapped_container().wait(timeout=120)["StatusCode"]
        stdout, stderr = worker.get_logs()
    assert stderr == b""
    return exit_code, [json.loads(line) for line in stdout.splitlines()]


def requests(pod: DockerContainer) -> list[str]:
    return pod.get_logs()[0].decode().splitlines()[1:]


def test_each_container_behind_the_alias_gets_the_request_once(
    image: str, network: Network, pods: list[DockerContainer], tmp_path: Path
) -> None:
    exit_code, entries = run(image, network, tmp_path)
    assert exit_code == 0, entries
    assert entries[-1]["event"] == "run.finished"
    assert (entries[-1]["seen"], entries[-1]["acknowledged"]) == (3, 3)
    line = "POST /clear-caches HTTP/1.1 Host: web-server-headless:8080"
    assert [requests(pod) for pod in pods] == [[line]] * 3


def test_nobody_behind_the_alias_is_exit_4(image: str, network: Network, tmp_path: Path) -> None:
    exit_code, entries = run(image, network, tmp_path)
    assert exit_code == 4
    finished = next(entry for entry in entries if entry["event"] == "broadcast.finished")
    assert (finished["outcome"], finished["reason"]) == ("failed", "no_pods")
