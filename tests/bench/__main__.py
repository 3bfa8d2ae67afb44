"""`make bench`: the worker beside every other way to send one request to all pods of a Service.

Results go to a JSON file; `tests.bench.page` makes tables and a plot of it. Only ratios within one
run mean anything: all ways take turns, on loopback, and one of the rows shows the machine's noise.
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

from tests.bench import certificates, lists, page, slices, startup
from tests.bench.measure import Command, Series, take_turns
from tests.bench.servers import (
    NGINX_PORT,
    PODS_PORT,
    TLS_PORT,
    Dns,
    Nginx,
    SlowPods,
    allow_many_sockets,
    name_of,
    services,
)
from tests.bench.ways import (
    CURL_PARALLEL,
    FOR_LOOP,
    NOISE,
    PROCESS_FOR_EACH_CALL,
    curl_tls,
    others,
    without_calls,
    worker,
)
from tests.loopback.program import ROOT

NEEDED = {
    "curl": "apt-get install curl",
    "dig": "apt-get install dnsutils",
    "nginx": "apt-get install nginx-light",
    "openssl": "apt-get install openssl",
}
SLOW_HELP = "no for-loop of curl and no xargs with more pods than this: they take minutes"
QUICK_HELP = "in two minutes: http and https beside curl --parallel alone, in three turns"
QUICK: dict[str, Any] = {"only": ["whole", "https"], "turns": 3, "pods": [4000]}
# The kernel's table of connections, which remembers each for two minutes; Docker switches it on.
CONNTRACK_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")
MANY_CONNECTIONS = 2_000_000
LATENCY_SECONDS = 0.05
SLOW_PODS = 3200
SLOW_PODS_SOME_HANGING = 640
HANG_EVERY = 100
HANG_TIMEOUT_SECONDS = 2
IN_FLIGHT, IN_FLIGHT_SECONDS = 1000, 1.0
JSON = ROOT / "build" / "performance.json"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    sections = {
        "whole": whole,
        "https": https,
        "latency": latency,
        "growth": growth,
        "in_flight": in_flight,
        "list": lambda options, folder: lists.measure(folder, options.turns, options.broadcasts),
        "slices": lambda options, folder: slices.measure(folder, options.turns),
        "contexts": lambda options, folder: startup.contexts(folder, options.turns),
        "startup": lambda options, folder: startup.measure(folder, options.turns),
        "loglines": log_lines,
    }
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--pods", type=int, nargs="+", default=[3, 100, 1000, 4000])
    parser.add_argument("--concurrency", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--slow-pods", type=int, default=4000, help=SLOW_HELP)
    parser.add_argument("--tls-pods", type=int, default=1000)
    parser.add_argument("--broadcasts", type=int, default=40, help="in the list of broadcasts")
    parser.add_argument("--only", nargs="+", choices=sections, default=list(sections))
    parser.add_argument("--quick", action="store_true", help=QUICK_HELP)
    parser.add_argument("--json", type=Path, default=JSON, help="added to if it exists")
    parser.set_defaults(**QUICK if "--quick" in arguments else {})
    options = parser.parse_args(arguments)
    check_needed()
    options.json.parent.mkdir(exist_ok=True)
    compileall.compile_dir(ROOT / "worker", quiet=1)  # as the image has it
    allow_many_sockets()
    results = json.loads(options.json.read_text()) if options.json.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            print(f"{name} …", file=sys.stderr)
            results[name] = sections[name](options, Path(folder))
            results["machine"] = machine(options.turns)
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    measured = {name: results[name] for name in [*options.only, "machine"]}
    for title, table in page.tables(measured).items():
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
    if int(_first_line("openssl", "version").split()[1].split(".")[0]) < 3:
        raise SystemExit("make bench needs openssl 3 or newer, whose req has -CA")
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
        with Nginx(pods) as nginx, Dns(services(pods)) as dns:
            for concurrency in options.concurrency:
                ours = worker(folder, dns.port, pods, NGINX_PORT, concurrency)
                theirs = others(dns.port, pods, NGINX_PORT, concurrency)
                if options.quick:
                    theirs = [way for way in theirs if way.name == CURL_PARALLEL]
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


def https(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """The worker and curl --parallel, which verify the pods' certificates; the pods are nginx."""
    pods = options.tls_pods
    found = []
    for kind in certificates.KEYS:
        certificate = certificates.issue(folder, kind, name_of(pods).rstrip("."))
        with Nginx(pods, certificate) as nginx, Dns(services(pods)) as dns:
            window = _window(nginx, pods)
            for concurrency in options.concurrency:
                where = (dns.port, pods, TLS_PORT, concurrency)
                tls = f"  tls: {{ca_file: {certificate.ca_file}}}\n"
                ours = worker(folder, *where, more=tls, scheme="https")
                curl = curl_tls(*where, certificate.ca_file)
                commands = [ours, replace(ours, name=NOISE), curl]
                rows = _series(commands, options.turns, folder, window, pods, concurrency)
                found += [row | {"certificate": kind} for row in rows]
            bare = without_calls(ours, dns.port, pods)
            rows = _series(bare, options.turns, folder, lambda: 0.0, pods, concurrency)
            found += [row | {"certificate": kind} for row in rows]
    return found


def latency(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Pods that take 50 ms; and such pods of which every hundredth hangs until the timeout."""
    found = []
    for pods, hang_every in ((SLOW_PODS, 0), (SLOW_PODS_SOME_HANGING, HANG_EVERY)):
        with SlowPods(pods, LATENCY_SECONDS, hang_every) as slow, Dns(services(pods)) as dns:
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
    with Nginx(max(sizes)), Dns(services(*sizes)) as dns:
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


def in_flight(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """The worker alone, with a call to every pod in flight; each pod takes a second."""
    pods = IN_FLIGHT
    with SlowPods(pods, IN_FLIGHT_SECONDS, hang_every=0) as slow, Dns(services(pods)) as dns:
        ours = [worker(folder, dns.port, pods, PODS_PORT, concurrency=pods)]
        return _series(ours, options.turns, folder, _window(slow, pods), pods, pods)


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
