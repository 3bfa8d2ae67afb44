"""What the whole run takes for a list of broadcasts, each to a few pods of its own.

Such a run mostly waits for DNS. Each broadcast needs an answer that is newer than the one that its
calls were made from, and a cache has none before its copy expires.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench.measure import Command, Series, run
from tests.bench.servers import NGINX_PORT, Dns, Nginx, addresses
from tests.bench.ways import worker_with
from tests.loopback.program import ROOT

PODS_EACH = 3
TTL_SECONDS = 30
CACHED, UNCACHED, SEQUENTIAL = "behind a cache of 30 s", "uncached", "uncached, --sequential"


def measure(folder: Path, turns: int, broadcasts: int) -> list[dict[str, Any]]:
    """The list behind a cache and without one; and with --sequential, where the worker has it.

    Behind a cache it runs once, since that run mostly waits, and so does --sequential.
    """
    found = [_series(CACHED, 1, folder, broadcasts), _series(UNCACHED, turns, folder, broadcasts)]
    if "--sequential" in _help():
        found.append(_series(SEQUENTIAL, 1, folder, broadcasts))
    return [
        each.as_json(broadcasts=broadcasts, pods=PODS_EACH, ttl_seconds=TTL_SECONDS)
        for each in found
    ]


def _series(name: str, turns: int, folder: Path, broadcasts: int) -> Series:
    print(f"  {broadcasts} broadcasts, {name}", file=sys.stderr)
    pods = addresses(broadcasts * PODS_EACH)
    listed = {
        f"list-{number + 1}.bench.": pods[number * PODS_EACH : (number + 1) * PODS_EACH]
        for number in range(broadcasts)
    }
    series = Series(name)
    with Nginx(len(pods)) as nginx:
        for _ in range(turns):
            # A new nameserver for each run: its cache is empty, so that every copy lives longest.
            with Dns(listed, TTL_SECONDS, cached=name == CACHED) as dns:
                command = _command(folder, list(listed), dns.port)
                if name == SEQUENTIAL:
                    command = replace(command, line=[*command.line, "--sequential"])
                run(command, folder / "output", series)
                series.window_seconds.append(nginx.window(len(pods)))
    return series


def _command(folder: Path, names: list[str], dns_port: int) -> Command:
    text = "".join(
        f"- name: {name.partition('.')[0]}\n  url: http://{name}:{NGINX_PORT}/clear-caches\n"
        for name in names
    )
    return worker_with(folder / "list.yaml", text, dns_port)


def _help() -> str:
    line = [sys.executable, "-m", "worker", "--help"]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout
