"""Every way to send one POST to all pods of a Service, each as one command.

All resolve the name at the same nameserver and send the same request, on a connection of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench.measure import Command
from tests.bench.servers import name_of

CURL = "--request POST --silent --show-error --fail --max-time {timeout} --output /dev/null"
DIG = "dig @127.0.0.1 -p {dns_port} +short {name} A"
FOR_LOOP = "for-loop of curl"
CURL_PARALLEL = "curl --parallel"
SHELL = {
    FOR_LOOP: (
        DIG
        + " | while read -r pod; do curl "
        + CURL
        + " http://$pod:{port}/clear-caches || exit; done"
    ),
    "xargs -P curl": (
        DIG + " | xargs -P {concurrency} -I POD curl " + CURL + " http://POD:{port}/clear-caches"
    ),
    # A configuration file on standard input, since each URL needs an --output of its own.
    CURL_PARALLEL: (
        DIG + " | sed 's|.*|url = http://&:{port}/clear-caches\\noutput = /dev/null|'"
        " | curl --request POST --silent --show-error --fail --max-time {timeout} --no-keepalive"
        " --header 'Connection: close' --parallel --parallel-immediate --parallel-max {concurrency}"
        " --config -"
    ),
}
PYTHON = {
    "pool of requests.post": "requests_pool",
    "Session per thread": "session_pool",
    "aiohttp": "aiohttp_calls",
}
# What is left of a way without its calls.
DIG_ALONE = "dig, no curl"
PLAN = "plan, no calls"
WITHOUT_CALLS = {"curl --parallel": DIG_ALONE, "worker": PLAN, "worker again": PLAN}
PROCESS_FOR_EACH_CALL = {FOR_LOOP, "xargs -P curl"}
WORKER = "worker"
NOISE = "worker again"  # against the worker: the machine's noise
CONFIG = """\
- name: bench
  url: http://{name}:{port}/clear-caches
  concurrency: {concurrency}
  settle: 0s
  attempts: 1
"""


def worker(
    folder: Path, dns_port: int, pods: int, port: int, concurrency: int, more: str = ""
) -> Command:
    config = folder / f"{pods}-{port}-{concurrency}.yaml"
    config.write_text(CONFIG.format(name=name_of(pods), port=port, concurrency=concurrency) + more)
    line = [sys.executable, "-m", "worker", "--config", str(config), "--log-format", "json"]
    return Command(WORKER, [*line, "--nameserver", f"127.0.0.1:{dns_port}"])


def without_calls(ours: Command, dns_port: int, pods: int) -> list[Command]:
    """As much as comes before the first packet: what a way takes beyond it, its calls take."""
    plan = [*ours.line[:3], "plan", *ours.line[3:]]
    dig = DIG.format(dns_port=dns_port, name=name_of(pods))
    return [Command(PLAN, plan), Command(DIG_ALONE, ["sh", "-c", f"{dig} | sed s/x/y/"])]


def others(
    dns_port: int, pods: int, port: int, concurrency: int, timeout: int = 10
) -> list[Command]:
    """What the worker is compared with."""
    values = {
        "dns_port": dns_port,
        "name": name_of(pods),
        "port": port,
        "concurrency": concurrency,
        "timeout": timeout,
    }
    shell = [Command(way, ["sh", "-c", text.format(**values)]) for way, text in SHELL.items()]
    arguments = ["127.0.0.1", str(dns_port), name_of(pods), str(port), str(concurrency)]
    python = [
        Command(way, [sys.executable, "-m", f"tests.bench.ways.{module}", *arguments])
        for way, module in PYTHON.items()
    ]
    return shell + python
