"""Every way to send one POST to all pods of a Service, each as one command.

All ways ask the same nameserver and send the same request, each on a new connection.
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
# Each URL needs the address that it goes to, so each has a section of options (--next) of its own.
# The name that is verified is the Service's, as the worker verifies it.
CURL_PARALLEL_TLS = (
    DIG
    + " | sed 's|.*|"
    + r'next\nurl = "https://{host}:{port}/clear-caches"\nconnect-to = "{host}:{port}:&:{port}"\n'
    + r'cacert = "{ca_file}"\noutput = /dev/null\nrequest = POST\nfail\nhttp1.1\n'
    + r'max-time = {timeout}\nno-keepalive\nheader = "Connection: close"'
    + "|' | curl --silent --show-error --parallel --parallel-immediate"
    + " --parallel-max {concurrency} --config -"
)
PYTHON = {
    "pool of requests.post": "requests_pool",
    "Session per thread": "session_pool",
    "aiohttp": "aiohttp_calls",
}
# The same way without its calls.
DIG_ALONE = "dig, no curl"
PLAN = "plan, no calls"
WITHOUT_CALLS = {"curl --parallel": DIG_ALONE, "worker": PLAN, "worker again": PLAN}
PROCESS_FOR_EACH_CALL = {FOR_LOOP, "xargs -P curl"}
WORKER = "worker"
NOISE = "worker again"  # compared with the worker, it shows the noise of the machine
CONFIG = """\
- name: bench
  url: {scheme}://{name}:{port}/clear-caches
  concurrency: {concurrency}
  settle: 0s
  attempts: 1
"""


def worker(
    folder: Path,
    dns_port: int,
    pods: int,
    port: int,
    concurrency: int,
    more: str = "",
    scheme: str = "http",
) -> Command:
    """The worker with one broadcast to so many pods; `more` is YAML, further keys of it."""
    text = CONFIG.format(scheme=scheme, name=name_of(pods), port=port, concurrency=concurrency)
    return worker_with(folder / f"{pods}-{port}-{concurrency}.yaml", text + more, dns_port)


def worker_with(config: Path, text: str, dns_port: int) -> Command:
    """The worker with this configuration, which is written to the file."""
    config.write_text(text)
    line = [sys.executable, "-m", "worker", "--config", str(config), "--log-format", "json"]
    return Command(WORKER, [*line, "--nameserver", f"127.0.0.1:{dns_port}"])


def curl_tls(dns_port: int, pods: int, port: int, concurrency: int, ca_file: Path) -> Command:
    """curl --parallel over https, which verifies the name of the Service against the CA."""
    text = CURL_PARALLEL_TLS.format(
        dns_port=dns_port,
        name=name_of(pods),
        host=name_of(pods).rstrip("."),
        port=port,
        concurrency=concurrency,
        timeout=10,
        ca_file=ca_file,
    )
    return Command(CURL_PARALLEL, ["sh", "-c", text])


def without_calls(ours: Command, dns_port: int, pods: int) -> list[Command]:
    """The worker and curl without their calls: what a whole run takes beyond it is its calls."""
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
