"""Runs the worker's image and web servers as containers."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from docker.errors import APIError
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy

from tests.container import daemon
from tests.container.daemon import IMAGES, ROOT
from tests.loopback.program import Entry, Finished

REVISION = "0123abc"
SERVICE = "web-server-headless"
HANG_SECONDS = 120
# What the manifests ask for as well.
RESTRICTED: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}


def build_worker() -> str:
    """The image that is tested. Returns its tag, as all of these do."""
    revision = ("--build-arg", f"REVISION={REVISION}")
    return daemon.build("worker", ROOT / "Dockerfile", ROOT, *revision)


def build_suite() -> str:
    """The Python of the worker's image, with what the tests need."""
    return daemon.build("suite", IMAGES / "suite.Dockerfile", ROOT)


def build_nginx() -> str:
    return daemon.build("nginx", IMAGES / "nginx.Dockerfile", IMAGES)


def build_varnish() -> str:
    base = ("--build-arg", f"NGINX={build_nginx()}")
    return daemon.build("varnish", IMAGES / "varnish.Dockerfile", IMAGES, *base)


def network() -> Network:
    return Network(docker_network_kw={"labels": daemon.LABELS})


class WorkerContainer:
    """A run of the worker's image; its files are in `directory`."""

    def __init__(
        self,
        image: str,
        network: Network,
        directory: Path,
        arguments: Sequence[str],
        settings: dict[str, Any],
    ) -> None:
        self.docker = (
            DockerContainer(image, labels=daemon.LABELS, **RESTRICTED | settings)
            .with_network(network)
            .with_volume_mapping(str(directory), "/etc/pod-broadcast")
            .with_command(list(arguments))
        )

    def __enter__(self) -> Self:
        self.docker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.docker.stop()

    def wait_for_event(self, name: str, count: int = 1) -> Entry:
        """The count-th entry of that event, once it is written."""
        command = ["docker", "logs", "--follow", self.docker.get_wrapped_container().id]
        lines: list[str] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as logs:
            assert logs.stdout
            for line in logs.stdout:
                lines.append(line)
                count -= json.loads(line)["event"] == name
                if not count:
                    logs.kill()
                    return dict(json.loads(line))
        raise AssertionError(f"{name}: {count} more are not in {lines}")

    def stop(self) -> None:
        """`docker stop`: SIGTERM to process 1, SIGKILL if that does not help."""
        self.docker.get_wrapped_container().stop(timeout=60)

    def finish(self) -> Finished:
        """Waits until it has ended."""
        container = self.docker.get_wrapped_container()
        exit_code = container.wait(timeout=HANG_SECONDS)["StatusCode"]
        stdout, stderr = self.docker.get_logs()
        return Finished(exit_code, stdout.decode(), stderr.decode())


class WebServer:
    """A container with a cache, one of those that share the alias."""

    def __init__(self, image: str, network: Network, port: int) -> None:
        self.port = port
        self._network = network
        self.docker = (
            DockerContainer(image, labels=daemon.LABELS)
            .with_network(network)
            .with_network_aliases(SERVICE)
            .with_exposed_ports(port)
            .waiting_for(HttpWaitStrategy(port, "/"))
        )

    @property
    def endpoint(self) -> str:
        container = self.docker.get_wrapped_container()
        container.reload()
        networks = container.attrs["NetworkSettings"]["Networks"]
        return f"{networks[self._network.name]['IPAddress']}:{self.port}"

    def page(self) -> str:
        """What a visitor sees."""
        host, port = self.docker.get_container_host_ip(), self.docker.get_exposed_port(self.port)
        with urllib.request.urlopen(f"http://{host}:{port}/page", timeout=HANG_SECONDS) as response:
            text: bytes = response.read()
        return text.decode()

    def requests(self, method: str) -> list[str]:
        """The access log's lines of that method."""
        lines = self.docker.get_logs()[0].decode().splitlines()
        return [line for line in lines if line.startswith(f"{method} ")]

    def pause(self) -> None:
        """Its processes stand still; the kernel goes on accepting connections for them."""
        for attempt in range(10):
            try:
                self.docker.get_wrapped_container().pause()
                return
            except APIError:  # "unable to freeze": runc gives up while its processes are busy
                if attempt == 9:
                    raise

    def kill(self) -> None:
        """It stops at once, and leaves DNS."""
        self.docker.get_wrapped_container().kill()
