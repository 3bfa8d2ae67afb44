"""`make recipe`: the loop of dig and curl, and the worker, against the same faults.

The recipe is run as it stands, by bash, with the real dig and curl; a ~/.digrc leads it to a DNS
server on loopback, as options lead the worker. docs/from-dig-and-curl.md shows what this prints.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import dns.message
import dns.query

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Behaviour, Exchange, Pods, reply, silent
from tests.loopback.program import SEARCH, run_worker
from tests.loopback.serving import HANG_SECONDS

SERVICE = "web-server-headless.default.svc.cluster.local"
RECIPE = (
    "for ip in $(dig +short +search web-server-headless); do "
    "curl http://$ip:{port}/clear-caches; done"
)
CONFIG = """\
- name: clear-web-caches
  url: http://web-server-headless:{port}/clear-caches
  method: GET
  timeout: 2s
  attempts: 3
  backoff: {{initial: 200ms, max: 1s}}
  settle: 8s
"""
PATIENCE_SECONDS = 3
AT_ONCE = 4


@dataclass(slots=True)
class Fleet:
    """Pods behind a Service, and which of them have cleared their caches."""

    nameserver: Nameserver
    pods: Pods
    dead: set[str] = field(default_factory=set)
    cleared: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.nameserver.shuffles = False
        self.list_pods(*self.pods.addresses)
        for address in self.pods.addresses:
            self.pods[address].script(self.clear())

    def list_pods(self, *addresses: str) -> None:
        self.nameserver.set(SERVICE, *addresses)

    def clear(self, host: str | None = None) -> Behaviour:
        """Clears and answers 200, if the request is for this host."""

        async def behave(exchange: Exchange) -> None:
            address = exchange.pod.address

            async def answer(status: int) -> None:
                text = f"HTTP/1.1 {status} \r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                await exchange.send(text.encode())

            await exchange.read_request()
            if host not in {None, exchange.pod.requests[-1].header("Host")}:
                await answer(404)
                return
            self.cleared.add(address)
            await answer(200)

        return behave

    def names(self, text: str) -> str:
        """The text with pods' names instead of their addresses."""
        for number, endpoint in enumerate(self.pods.endpoints, 1):
            text = text.replace(endpoint, f"pod-{number}")
        return text

    def missed(self) -> str:
        missed = [
            f"pod-{number}"
            for number, address in enumerate(self.pods.addresses, 1)
            if address not in self.cleared | self.dead
        ]
        if len(missed) == len(self.pods.addresses):
            return "everybody"
        return ", ".join(missed) or "nobody"


def _status(status: int, *headers: str) -> Callable[[Fleet], None]:
    return lambda fleet: fleet.pods[1].script(reply(status, headers=headers))


def _unready_once(fleet: Fleet) -> None:
    fleet.pods[1].script(reply(503), fleet.clear())


def _refuses(number: int) -> Callable[[Fleet], None]:
    return lambda fleet: fleet.pods.die(fleet.pods.addresses[number - 1])


def _hangs(fleet: Fleet) -> None:
    fleet.pods[1].script(silent)


def _checks_host(fleet: Fleet) -> None:
    for address in fleet.pods.addresses:
        fleet.pods[address].script(fleet.clear(f"web-server-headless:{fleet.pods.port}"))


def _dies(fleet: Fleet) -> None:
    """The last pod is gone, and the next answer does not list it."""
    *others, last = fleet.pods.addresses
    fleet.pods.die(last)
    fleet.dead.add(last)

    def leave(_: object) -> None:
        if fleet.nameserver.asked(SERVICE):
            fleet.list_pods(*others)

    fleet.nameserver.on_query = leave


def _cached(fleet: Fleet) -> None:
    """A cache holds an answer for four seconds that is older than the last pod."""
    fleet.nameserver.caching_seconds = 4
    fleet.list_pods(*fleet.pods.addresses[:-1])
    question = dns.message.make_query(SERVICE, "A")
    dns.query.udp(question, fleet.nameserver.address, timeout=5, port=fleet.nameserver.port)
    fleet.list_pods(*fleet.pods.addresses)


def _cut_short(fleet: Fleet) -> None:
    fleet.list_pods(*fleet.pods.addresses[:-1])
    fleet.nameserver.fault("truncate")


def _has_cluster_ip(fleet: Fleet) -> None:
    fleet.list_pods(fleet.pods.addresses[0])
    fleet.nameserver.set_ptr(fleet.pods.addresses[0], SERVICE)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and how to bring it about."""

    title: str
    bring_about: Callable[[Fleet], None]
    addresses: int | Sequence[str] = 3
    endless: bool = False  # the recipe does not end


FAULTS = (
    Fault("nothing", lambda _: None),
    Fault("pod-2 answers 500", _status(500)),
    Fault("pod-2 answers 503, once", _unready_once),
    Fault("pod-2 answers 302, to a login", _status(302, "Location: /login")),
    Fault("pod-1 refuses connections", _refuses(1)),
    Fault("pod-3 refuses connections", _refuses(3)),
    Fault("pod-2 never answers", _hangs, endless=True),
    Fault("pod-3 has died, DNS learns of it", _dies),
    Fault("pod-3 is new, DNS has a cached answer", _cached),
    Fault("pods answer 404 to a foreign Host", _checks_host),
    Fault("pods have IPv6 only", lambda _: None, ["::1"]),
    Fault("no Service of that name", lambda fleet: fleet.nameserver.remove(SERVICE)),
    Fault("the Service has a cluster IP", _has_cluster_ip),
    Fault("DNS answers SERVFAIL", lambda fleet: fleet.nameserver.fault("servfail")),
    Fault("DNS cuts its answer short", _cut_short),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one fault."""

    title: str
    recipe_exit: str
    recipe_missed: str
    worker_exit: str
    worker_missed: str
    worker_says: str


HEAD = Row("what is wrong", "exit", "missed", "exit", "missed", "and says")


def compare(fault: Fault) -> Row:
    """Each gets a fleet of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Nameserver() as nameserver, Pods(fault.addresses) as pods:
            fleet = Fleet(nameserver, pods)
            fault.bring_about(fleet)
            recipe_exit = _run_recipe(fleet, folder, fault.endless)
            recipe_missed = fleet.missed()
        with Nameserver() as nameserver, Pods(fault.addresses) as pods:
            fleet = Fleet(nameserver, pods)
            fault.bring_about(fleet)
            worker_exit, says = _run_worker(fleet, folder)
            worker_missed = fleet.missed()
    return Row(fault.title, recipe_exit, recipe_missed, worker_exit, worker_missed, says)


def _run_recipe(fleet: Fleet, home: Path, endless: bool) -> str:
    """Its exit code, or that it was still running a while after a pod had its request."""
    server = fleet.nameserver
    digrc = f"@{server.address}\n-p {server.port}\n+domain={SEARCH[0]}\n"
    (home / ".digrc").write_text(digrc)
    process = subprocess.Popen(
        ["bash", "-c", RECIPE.format(port=fleet.pods.port)],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        if not endless:
            return str(process.wait(HANG_SECONDS))
        fleet.pods.wait_for("a request that hangs", lambda: bool(fleet.pods[1].requests))
        return str(process.wait(PATIENCE_SECONDS))
    except subprocess.TimeoutExpired:
        return "never" if endless else "hangs"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _run_worker(fleet: Fleet, folder: Path) -> tuple[str, str]:
    """Its exit code, and whom or what its last line for the broadcast names."""
    config = CONFIG.format(port=fleet.pods.port)
    finished = run_worker(folder, config, nameserver=fleet.nameserver)
    done = finished.only("broadcast.finished")
    gone = [f"{entry['endpoint']} is gone" for entry in finished.events("endpoint.gone")]
    says = done.get("failed_endpoints") or done.get("reason") or ", ".join(gone)
    return str(finished.exit_code), fleet.names(says)


def table() -> str:
    """What `make recipe` prints."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rows = list(pool.map(compare, FAULTS))
    over = f"{'':<39}{'the recipe':<22}the worker"
    return "\n".join([over, _line(HEAD), *map(_line, rows)]) + "\n"


def _line(row: Row) -> str:
    return (
        f"{row.title:<39}{row.recipe_exit:<7}{row.recipe_missed:<15}"
        f"{row.worker_exit:<6}{row.worker_missed:<11}{row.worker_says}"
    ).rstrip()


if __name__ == "__main__":
    if missing := [tool for tool in ("bash", "dig", "curl") if not shutil.which(tool)]:
        sys.exit(f"the recipe needs {', '.join(missing)}: apt-get install bind9-dnsutils curl")
    sys.stdout.write(table())
