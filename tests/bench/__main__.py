"""`make bench`: the worker beside every other way to send one request to all pods of a Service.

Results go to a JSON file; `tests.bench.page` makes tables and a plot of it. Only ratios within one
run mean anything: everything takes turns, on loopback, and the machine's noise is one of the rows.
"""

from __future__ import annotations

import argparse
import compileall
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench import page, startup
from tests.bench.measure import Command, Series, take_turns
from tests.bench.servers import NGINX_PORT, PODS_PORT, Dns, Nginx, SlowPods, allow_many_sockets
from tests.bench.ways import (
    CURL_PARALLEL,
    FOR_LOOP,
    NOISE,
    PROCESS_FOR_EACH_CALL,
    others,
    without_calls,
    worker,
)
from tests.loopback.program import ROOT

NEEDED = {
    "curl": "apt-get install curl",
    "dig": "apt-get install dnsutils",
    "nginx": "apt-get install nginx-light",
}
SLOW_HELP = "no for-loop of curl and no xargs with more pods than this: they take minutes"
# The kernel's table of connections, which remembers each for two minutes; Docker switches it on.
CONNTRACK_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")
MANY_CONNECTIONS = 2_000_000
LATENCY_SECONDS = 0.05
SLOW_PODS = 3200
SLOW_PODS_SOME_HANGING = 640
HANG_EVERY = 100
HANG_TIMEOUT_SECONDS = 2


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    sections = {
        "whole": whole,
        "latency": latency,
        "growth": growth,
        "startup": lambda options, folder: startup.measure(folder, options.turns),
        "loglines": log_lines,
    }
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--pods", type=int, nargs="+", default=[3, 100, 1000, 4000])
    parser.add_argument("--concurrency", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--slow-pods", type=int, default=4000, help=SLOW_HELP)
    parser.add_argument("--only", nargs="+", choices=sections, default=list(sections))
    parser.add_argument("--json", type=Path, default=page.RESULTS, help="added to if it exists")
    options = parser.parse_args(arguments)
    check_needed()
    compileall.compile_dir(ROOT / "worker", quiet=1)  # as the image has it
    allow_many_sockets()
    results = json.loads(options.json.read_text()) if options.json.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            print(f"{name} …", file=sys.stderr)
            results[name] = sections[name](options, Path(folder))
            results["machine"] = machine(options.turns)
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    for title, table in page.tables(results).items():
        print(f"\n{title}\n\n{table}")


def check_needed() -> None:
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [
        f"{name} ({how})" for name, how in NEEDED.items() if not shutil.which(name, path=path)
    ]
    if missing:
        raise SystemExit(f"make bench needs {', '.join(missing)}")
    curl = subprocess.run(["curl", "--help", "all"], capture_output=True, text=True, check=False)
    if "--parallel" not in curl.stdout:
        raise SystemExit("make bench needs curl 7.66 or newer, which has --parallel")
    if not shutil.which("valgrind"):
        print("instructions are not counted: apt-get install valgrind", file=sys.stderr)
    if CONNTRACK_MAX.exists() and (most := int(CONNTRACK_MAX.read_text())) < MANY_CONNECTIONS:
        print(
            f"beyond {most} connections in two minutes the kernel may drop some: "
            f"sysctl net.netfilter.nf_conntrack_max={MANY_CONNECTIONS}",
            file=sys.stderr,
        )


def machine(turns: int) -> dict[str, Any]:
    return {
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "curl": _first_line("curl", "--version").split()[1],
        "turns": turns,
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


def _first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0]


def whole(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Whole processes, from the name to the last answer; the pods are nginx."""
    found = []
    for pods in options.pods:
        with Nginx(pods) as nginx, Dns([pods]) as dns:
            for concurrency in options.concurrency:
                ours = worker(folder, dns.port, pods, NGINX_PORT, concurrency)
                theirs = others(dns.port, pods, NGINX_PORT, concurrency)
                if concurrency != options.concurrency[0]:  # it knows no concurrency
                    theirs = [way for way in theirs if way.name != FOR_LOOP]
                if pods > options.slow_pods:
                    theirs = [way for way in theirs if way.name not in PROCESS_FOR_EACH_CALL]
                commands = [ours, replace(ours, name=NOISE), *theirs]
                window = _window(nginx, pods)
                found += _series(commands, options.turns, folder, window, pods, concurrency)
            bare = without_calls(ours, dns.port, pods)
            found += _series(bare, options.turns, folder, lambda: 0.0, pods, concurrency)
    return found


def latency(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Pods that take 50 ms; and such pods of which every hundredth hangs until the timeout."""
    found = []
    for pods, hang_every in ((SLOW_PODS, 0), (SLOW_PODS_SOME_HANGING, HANG_EVERY)):
        with SlowPods(pods, LATENCY_SECONDS, hang_every) as slow, Dns([pods]) as dns:
            for concurrency in options.concurrency:
                where = (dns.port, pods, PODS_PORT, concurrency)
                timeout = HANG_TIMEOUT_SECONDS if hang_every else 10
                ours = worker(folder, *where, more=f"  timeout: {timeout}s\n")
                commands = [ours, replace(ours, name=NOISE)]
                commands += [w for w in others(*where, timeout) if w.name == CURL_PARALLEL]
                hanging = pods // hang_every if hang_every else 0
                allowed = [replace(c, exit_codes=(0, 3, 28)) for c in commands]
                least = math.ceil(pods / concurrency) * LATENCY_SECONDS
                window = _window(slow, pods - hanging)
                rows = _series(allowed, options.turns, folder, window, pods, concurrency)
                found += [row | {"hanging": hanging, "least_seconds": least} for row in rows]
    return found


def growth(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """The worker alone, with more and more pods."""
    sizes = [1, 10, *options.pods[1:]]
    with Nginx(max(sizes)), Dns(sizes) as dns:
        commands = [
            replace(worker(folder, dns.port, pods, NGINX_PORT, 16), name=str(pods))
            for pods in sizes
        ]
        found = [
            s.as_json(pods=int(s.name))
            for s in take_turns(commands, options.turns, folder / "output")
        ]
        if shutil.which("valgrind"):
            for row, command in zip(found, commands, strict=True):
                row["instructions"] = startup.instructions(command)
        return found


def log_lines(_options: argparse.Namespace, _folder: Path) -> dict[str, float]:
    from tests.bench import loglines  # which needs what only the benchmark's environment has

    return loglines.measure()


def _window(pods: Nginx | SlowPods, count: int) -> Callable[[], float]:
    return lambda: pods.window(count)


def _series(
    commands: list[Command],
    turns: int,
    folder: Path,
    window: Callable[[], float],
    pods: int,
    concurrency: int,
) -> list[dict[str, Any]]:
    print(f"  {pods} pods, {concurrency} at once", file=sys.stderr)
    series: list[Series] = take_turns(commands, turns, folder / "output", window)
    return [each.as_json(pods=pods, concurrency=concurrency) for each in series]


if __name__ == "__main__":
    main(sys.argv[1:])
