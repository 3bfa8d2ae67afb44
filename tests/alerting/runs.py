"""The real program's log lines, of runs with every outcome, made once and moved in time."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.loopback.kubernetes_api import KubernetesApi, endpointslice, listing, pod
from tests.loopback.nameserver import Nameserver, Query
from tests.loopback.pods import Pods, reply
from tests.loopback.program import ROOT, SEARCH, Entry, Finished, Worker
from tests.process.test_secrets import CRASH

WEB, EDGE = "web.default.svc.cluster.local", "edge.default.svc.cluster.local"
NAMESPACE, JOB = "the-namespace", "clear-29380000"
ENVIRONMENT = {
    "POD_NAMESPACE": NAMESPACE,
    "JOB_NAME": JOB,
    "POD_NAME": f"{JOB}-x7k2p",
    "NODE_NAME": "node-1",
}
CONFIG = """\
- name: clear-web-caches
  url: http://web:{port}/clear-caches
  settle: {settle}
  attempts: {attempts}
  backoff: {{initial: 100ms, max: 100ms}}
  log_response: true
"""

BY_API = (
    CONFIG.replace("//web:", "//web.shop:").replace("log_response: true", "log_response: all")
    + "  discovery: endpointslices\n"
)

CONVERGING = (
    BY_API
    + """\
  verify: {{path: /config, every: 50ms, within: 1s}}
  canary: 1
  max_failed: 1
"""
)

Prepare = Callable[[Nameserver, Pods], None]
Script = Callable[[KubernetesApi, Pods], None]
Signal = Callable[[Worker, Pods], None]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run: its lines, each with the seconds from the run's end back to it."""

    exit_code: int
    lines: tuple[tuple[float, str], ...]

    def ended(self, at: float, namespace: str, job: str = JOB) -> list[tuple[float, str]]:
        """The same run by another id, as if it had ended then, there and in that Job."""
        (run_id,) = {json.loads(line)["run_id"] for _, line in self.lines}
        other = uuid.uuid4().hex
        return [
            (
                at - before,
                line.replace(run_id, other)
                .replace(f'"worker_namespace":"{NAMESPACE}"', f'"worker_namespace":"{namespace}"')
                .replace(f'"worker_job":"{JOB}"', f'"worker_job":"{job}"'),
            )
            for before, line in self.lines
        ]


def renamed(lines: Sequence[tuple[float, str]], field: str) -> list[tuple[float, str]]:
    """The same lines by a program that calls a field something else."""
    return [(at, line.replace(f'"{field}":', f'"x_{field}":')) for at, line in lines]


@dataclass(frozen=True, slots=True)
class Case:
    """How to come by a run."""

    exit_code: int
    prepare: Prepare = lambda _nameserver, _pods: None
    config: str = CONFIG
    settle: str = "10s"
    attempts: int = 1
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    signal: Signal = lambda _worker, _pods: None
    search: tuple[str, ...] = SEARCH
    script: Script = lambda _api, _pods: None


def _one_fails(_nameserver: Nameserver, pods: Pods) -> None:
    pods[0].script(reply(503, b"warming up"))


def _one_fails_at_first(_nameserver: Nameserver, pods: Pods) -> None:
    pods[0].script(reply(503), reply())


def _another_fails(_nameserver: Nameserver, pods: Pods) -> None:
    pods[1].script(reply(503))


def _both_fail(nameserver: Nameserver, pods: Pods) -> None:
    _one_fails(nameserver, pods)
    _another_fails(nameserver, pods)


def _all_fail(_nameserver: Nameserver, pods: Pods) -> None:
    pods.die(*pods.addresses)


def _servfail(nameserver: Nameserver, _pods: Pods) -> None:
    nameserver.fault("servfail")


def _nobody(nameserver: Nameserver, _pods: Pods) -> None:
    nameserver.remove(WEB)


def _one_has_died(nameserver: Nameserver, pods: Pods) -> None:
    """DNS lists a dead pod, and then no longer."""
    pods.die(pods.addresses[0])

    def turn(query: Query) -> None:
        if query.qname == WEB and nameserver.asked(WEB):
            nameserver.set(WEB, *pods.addresses[1:])

    nameserver.on_query = turn


def _pods_of_every_kind(api: KubernetesApi, pods: Pods) -> None:
    """One fails, one is there, one dies and is gone, and one is not ready."""
    _one_fails_for_good(api, pods)
    pods.die(pods.addresses[2])
    *kept, dead, unready = api.slices[0]["endpoints"]
    api.script(listing(endpointslice(*kept, dead, unready)))
    api.slices = [endpointslice(*kept, unready)]


def _one_fails_for_good(api: KubernetesApi, pods: Pods) -> None:
    pods[0].script(reply(503))
    api.slices = [endpointslice(*_named(pods), pod("127.0.0.9", "web-9", ready=False))]


def _named(pods: Pods) -> list[Entry]:
    return [pod(address, f"web-{n}") for n, address in enumerate(pods.addresses)]


def _one_converges_late(api: KubernetesApi, pods: Pods) -> None:
    pods[0].script(reply(), reply(503), reply())
    api.slices = [endpointslice(*_named(pods))]


def _one_converges_never(api: KubernetesApi, pods: Pods) -> None:
    pods[1].script(reply(), reply(503))
    api.slices = [endpointslice(*_named(pods))]


def _stop_after_a_call(worker: Worker, pods: Pods) -> None:
    pods.wait_for("a call to the pod that fails", lambda: len(pods[0].requests) > 1)
    worker.process.terminate()


TWO = CONFIG + CONFIG.replace("clear-web-caches", "reload-edge").replace("//web:", "//edge:")
CASES = {
    "complete": Case(0),
    "recovered": Case(0, _one_fails_at_first, attempts=3),
    "partial": Case(3, _one_fails),
    "partial elsewhere": Case(3, _another_fails),
    "failed": Case(4, _all_fail),
    "no pods": Case(4, _nobody, settle="0s"),
    "dns broken": Case(4, _servfail, settle="0s"),
    "gone": Case(0, _one_has_died),
    "unconfirmed": Case(0, settle="0s"),
    "outside a pod": Case(
        3, _one_fails, environment=(("POD_NAMESPACE", ""), ("JOB_NAME", ""), ("POD_NAME", ""))
    ),
    "two broadcasts": Case(3, _one_fails, TWO),
    "odd resolv.conf": Case(0, settle="0s", search=(*SEARCH, "corp..example.com")),
    "invalid": Case(2, config=CONFIG.replace("  settle", "  setle")),
    "usage": Case(2, arguments=("--frobnicate",)),
    "stopped": Case(143, _one_fails, attempts=500, signal=_stop_after_a_call),
    "one pod": Case(3, config=BY_API, script=_one_fails_for_good),
    "by pods": Case(3, config=BY_API, attempts=2, script=_pods_of_every_kind),
    "stopped by pods": Case(
        143,
        config=BY_API,
        attempts=500,
        script=_one_fails_for_good,
        signal=_stop_after_a_call,
    ),
    "verified": Case(0, config=CONVERGING, script=_one_converges_late),
    "not verified": Case(3, config=CONVERGING, script=_one_converges_never),
    "crashed": Case(
        1,
        environment=(
            ("CRASH", "worker.rounds.ledger:Ledger.record_call"),
            ("TOKEN", "a"),
            ("HEADER", "b"),
        ),
    ),
}
# For what the alerts do not look at.
OTHER_CASES = {"both fail": Case(3, _both_fail, TWO)}

# Enough to have every event, and every field of each.
EVERY_EVENT = (
    "gone",
    "dns broken",
    "failed",
    "two broadcasts",
    "both fail",
    "odd resolv.conf",
    "invalid",
    "usage",
    "stopped",
    "by pods",
    "stopped by pods",
    "verified",
    "not verified",
    "crashed",
)


def record(cases: Iterable[str] = CASES, log_format: str = "json") -> Mapping[str, Recorded]:
    """Runs the cases, some at a time."""
    cases_of = CASES | OTHER_CASES
    with ThreadPoolExecutor(4) as pool:
        return dict(pool.map(lambda name: (name, _record(cases_of[name], log_format)), cases))


def finished(case: Case, log_format: str = "json") -> Finished:
    """One run of the program against pods and a nameserver of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Nameserver() as nameserver,
        Pods(3) as pods,
        KubernetesApi() as api,
    ):
        Path(folder, "sitecustomize.py").write_text(CRASH)
        nameserver.set(WEB, *pods.addresses)
        nameserver.set(EDGE, *pods.addresses[1:])
        case.prepare(nameserver, pods)
        case.script(api, pods)
        environment = ENVIRONMENT | dict(case.environment)
        if "CRASH" in environment:
            environment["PYTHONPATH"] = f"{folder}:{ROOT}"
        config = case.config.format(port=pods.port, settle=case.settle, attempts=case.attempts)
        arguments = ("--log-format", log_format, "--api-server", api.url, *case.arguments)
        with Worker(
            Path(folder),
            config,
            *arguments,
            nameserver=nameserver,
            environment=environment,
            search=case.search,
        ) as worker:
            case.signal(worker, pods)
            done = worker.finish()
    assert done.exit_code == case.exit_code, done
    return done


def _record(case: Case, log_format: str) -> Recorded:
    done = finished(case, log_format)
    key = {"ecs": "@timestamp", "gcp": "time"}.get(log_format, "timestamp")
    lines = [
        (datetime.fromisoformat(json.loads(t)[key]).timestamp(), t)
        for t in done.stdout.splitlines()
    ]
    end = max(at for at, _ in lines)
    return Recorded(case.exit_code, tuple((end - at, line) for at, line in lines))
