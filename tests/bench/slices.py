"""What a list of EndpointSlices takes, and a run that calls as many pods as a cluster can have.

`python -m tests.bench.slices serve` is the API: one process that has the pages of a Service's list
ready. `python -m tests.bench.slices list URL ENDPOINTS TURNS` asks for one list after another.
"""

from __future__ import annotations

import gc
import gzip
import json
import math
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from tests.bench.measure import Command, Series, run, take_turns
from tests.bench.servers import NGINX_PORT, Nginx, addresses
from tests.loopback.program import ROOT
from worker.discovery.endpointslices import PAGE_SLICES

LISTS = (
    3,
    100,
    1_000,
    5_000,
    150_000,
)  # https://kubernetes.io/docs/setup/best-practices/cluster-large/
RUNS = (4_000, 150_000)
CONCURRENCY = 64
SLICE_ENDPOINTS = 100
BROADCASTS, PODS_EACH = 40, 3
LIST, RUN, BROADCASTS_LIST = "a list", "a run", "a list of broadcasts"
CONFIG = """\
- name: bench-{number}
  url: http://pods-{pods}.bench:{port}/clear-caches
  discovery: endpointslices
  concurrency: {concurrency}
  deadline: 10m
"""


def measure(folder: Path, turns: int) -> list[dict[str, Any]]:
    """Rows of three kinds: lists of more and more endpoints, runs, and many small broadcasts."""
    with _served() as url:
        found = [_lists(url, endpoints, turns) for endpoints in LISTS]
        for pods in RUNS:
            print(f"  {pods} pods by EndpointSlices", file=sys.stderr)
            with Nginx(pods, everywhere=True) as nginx:
                command = _worker(folder, url, pods, 1)
                few = turns if pods < max(RUNS) else 1
                window = partial(nginx.window, pods)
                (series,) = take_turns([command], few, folder / "output", window)
                found.append(series.as_json(kind=RUN, pods=pods))
        with Nginx(PODS_EACH, everywhere=True):
            series = Series("worker")
            for _ in range(turns):
                run(_worker(folder, url, PODS_EACH, BROADCASTS), folder / "output", series)
            found.append(series.as_json(kind=BROADCASTS_LIST, pods=PODS_EACH))
    return found


def _worker(folder: Path, url: str, pods: int, broadcasts: int) -> Command:
    config = folder / f"slices-{pods}.yaml"
    fields = {"pods": pods, "port": NGINX_PORT, "concurrency": CONCURRENCY}
    config.write_text("".join(CONFIG.format(number=n, **fields) for n in range(broadcasts)))
    line = [sys.executable, "-m", "worker", "--config", str(config), "--log-format", "json"]
    return Command("worker", [*line, "--api-server", url])


def _lists(url: str, endpoints: int, turns: int) -> dict[str, Any]:
    print(f"  a list of {endpoints} endpoints", file=sys.stderr)
    line = [sys.executable, "-m", "tests.bench.slices", "list", url, str(endpoints), str(turns)]
    done = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return {"kind": LIST, "pods": endpoints, **found}


@contextmanager
def _served() -> Iterator[str]:
    line = [sys.executable, "-m", "tests.bench.slices", "serve"]
    with subprocess.Popen(
        line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        yield process.stdout.readline().strip()
        process.stdin.close()


# --- in processes of their own ------------------------------------------------------------------


def ask(url: str, endpoints: int, turns: int) -> None:
    """Prints what a list takes: seconds of CPU each time, bytes that come, and the peak memory."""
    gc.set_threshold(50_000)  # as `python -m worker` does

    import urllib3

    from tests.records import broadcast
    from worker.discovery.api import Api
    from worker.discovery.endpointslices import EndpointSlices
    from worker.model import Answer

    read = 0
    original = urllib3.HTTPResponse.read1

    def counted(self: Any, *arguments: Any, **named: Any) -> bytes:
        nonlocal read
        data = original(self, *arguments, **named)
        read += len(data or b"")
        return data

    urllib3.HTTPResponse.read1 = counted  # type: ignore[method-assign]
    urlopen(f"{url}/?labelSelector=pods-{endpoints}").close()
    name = f"http://pods-{endpoints}.bench:{NGINX_PORT}/"
    source = EndpointSlices(broadcast(name), Api(url, None, None, ""))
    cpu, wall = [], []
    for turn in range(turns + 1):
        read, began_at, began = 0, time.monotonic(), time.process_time()
        answer = source.ask(math.inf)
        if turn:  # the first warms up
            wall.append(round(time.monotonic() - began_at, 6))
            cpu.append(round(time.process_time() - began, 6))
        assert isinstance(answer, Answer), answer
        assert len(answer.endpoints) == endpoints
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    print(
        json.dumps(
            {"cpu_seconds": cpu, "wall_seconds": wall, "bytes": read, "peak_megabytes": peak}
        )
    )


class Handler(BaseHTTPRequestHandler):
    """Lists of the Services pods-COUNT. A request without a limit makes all pages ready."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as in Go

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        count = int(query["labelSelector"].rpartition("-")[2])
        if "limit" in query:
            body = page(count, int(query.get("continue", "0")), int(query["limit"]))
        else:
            slices = math.ceil(count / SLICE_ENDPOINTS)
            body = b"".join(page(count, n, PAGE_SLICES) for n in range(0, slices, PAGE_SLICES))
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


pods_of = cache(addresses)


@cache
def page(count: int, first: int, limit: int) -> bytes:
    """A page, with all that the API server writes about an endpoint."""
    pods = pods_of(count)
    slices = range(math.ceil(count / SLICE_ENDPOINTS))
    items = [
        _slice(n, pods[n * SLICE_ENDPOINTS : (n + 1) * SLICE_ENDPOINTS])
        for n in slices[first:][:limit]
    ]
    more = {"continue": str(first + limit)} if first + limit < len(slices) else {}
    metadata = {"resourceVersion": "123456", **more}
    found = {"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1"}
    return gzip.compress(json.dumps({**found, "metadata": metadata, "items": items}).encode())


def _slice(number: int, pods: list[str]) -> dict[str, Any]:
    endpoints = [
        {
            "addresses": [address],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {
                "kind": "Pod",
                "namespace": "bench",
                "name": f"web-7d4b9c6f5-{index:05x}",
                "uid": f"5bc04a48-6a48-4b5c-9bd0-{index:012x}",
            },
            "nodeName": f"node-{index % 5000}",
            "zone": f"zone-{index % 3}",
        }
        for index, address in enumerate(pods, number * SLICE_ENDPOINTS)
    ]
    return {
        "metadata": {
            "name": f"pods-{number:05x}",
            "generateName": "pods-",
            "namespace": "bench",
            "uid": f"1bc04a48-6a48-4b5c-9bd0-{number:012x}",
            "labels": {
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": "pods",
            },
            "managedFields": [{"manager": "kube-controller-manager", "fieldsV1": {"f:x": {}}}],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": NGINX_PORT, "protocol": "TCP"}],
    }


def serve() -> None:
    """Writes the URL, and serves until standard input ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
