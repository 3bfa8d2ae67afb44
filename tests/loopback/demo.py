"""`make demo`: the worker against five pods behind `web-server-headless`, on loopback.

It is the real program over real sockets, and a live view on a terminal. Arguments go to the
worker: `--log-format json`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.loopback.nameserver import Nameserver, Query
from tests.loopback.pods import Pods, reply
from tests.loopback.program import ROOT, SEARCH

SERVICE = "web-server-headless.default.svc.cluster.local"
ADDRESSES = [f"127.10.0.{number}" for number in range(11, 16)]
PORT = 8080  # that of config/clear-web-caches.yaml
CONFIG = "config/clear-web-caches.yaml"
SETTLE = "settle: 5s"  # for how long the pod that died may come back; 40s is the default
HEALTHY, FLAKY, OTHER, LATE, DYING = ADDRESSES

INTRODUCTION = f"""\
Five pods of web-server-headless, port {PORT}, on loopback:
  {FLAKY} answers 503 to its first request,
  {LATE} becomes ready late: DNS lists it from the second answer on,
  {DYING} has died: it refuses connections, and DNS still lists it in its first two answers.

$ python -m worker --config {CONFIG}    # and {SETTLE}
"""
WHAT_THEY_DID = {
    HEALTHY: "answered",
    FLAKY: "answered 503, then 200",
    OTHER: "answered",
    LATE: "became ready late, answered",
    DYING: "had died",
}
EXPECTED_REQUESTS = {HEALTHY: 1, FLAKY: 2, OTHER: 1, LATE: 1, DYING: 0}


def main(arguments: list[str]) -> int:
    """0 if the worker says that it reached every living pod, and the pods say the same."""
    with Nameserver() as nameserver, Pods(ADDRESSES, PORT) as pods:
        pods.die(DYING)
        pods[FLAKY].script(reply(503, b"warming up"), reply())
        _list_pods_by_turns(nameserver)
        print(INTRODUCTION, flush=True)
        # ^C is the worker's, which reports before it ends; it would get no time for that.
        signal.signal(signal.SIGINT, lambda _number, _frame: None)
        exit_code = _run(nameserver, arguments)
        _print_table(pods, exit_code)
        return int(exit_code != 0 or pods.requests != EXPECTED_REQUESTS)


def _list_pods_by_turns(nameserver: Nameserver) -> None:
    """What DNS lists at the first question, the second, and from the third on."""
    turns = [[HEALTHY, FLAKY, OTHER, DYING], ADDRESSES, [HEALTHY, FLAKY, OTHER, LATE]]

    def turn(query: Query) -> None:
        if query.qname == SERVICE and len(turns) > 1:
            nameserver.set(SERVICE, *turns.pop(0))
        elif query.qname == SERVICE:
            nameserver.set(SERVICE, *turns[0])

    nameserver.on_query = turn


def _run(nameserver: Nameserver, arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        resolv_conf = Path(folder, "resolv.conf")
        resolv_conf.write_text(f"search {' '.join(SEARCH)}\noptions ndots:5\n")
        config = Path(folder, "clear-web-caches.yaml")
        config.write_text((ROOT / CONFIG).read_text() + f"  {SETTLE}\n")
        command = [sys.executable, "-m", "worker", "--config", str(config)]
        command += ["--log-format", "console"]
        command += ["--nameserver", str(nameserver), "--resolv-conf", str(resolv_conf)]
        return subprocess.run([*command, *arguments], cwd=ROOT, check=False).returncode


def _print_table(pods: Pods, exit_code: int) -> None:
    print(f"\n{'pod':<18}{'requests':<10}")
    for address, count in pods.requests.items():
        print(f"{address:<18}{count:<10}{WHAT_THEY_DID[address]}")
    says = "every living pod acknowledged" if exit_code == 0 else "some pod was missed"
    print(f"\nThe worker's exit code is {exit_code}: {says}.")
    print("The same as structured logs: .venv/bin/python -m tests.loopback.demo --log-format json")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError as error:
        print(f"the demo cannot start its pods: {error}", file=sys.stderr)
        sys.exit(2)
