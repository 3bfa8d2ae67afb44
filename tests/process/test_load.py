"""Many pods, of which some hang and some fail: nobody is forgotten, and nothing is left behind."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from tests.loopback.machine import wait_for
from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods, reply, silent
from tests.loopback.program import Worker
from worker.calls.pool import pool_size

PODS = 4000
CONFIG = """\
defaults:
  settle: 0s
  attempts: 2
  timeout: 5s
  concurrency: 200
  backoff: {{initial: 10ms}}
broadcasts:
  - {{name: first, url: "http://first:{port}/"}}
  - {{name: second, url: "http://second:{port}/"}}
"""


def open_files(process: Path) -> list[str]:
    """What its descriptors lead to. One may be closed while this looks."""
    files = []
    for file in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            files.append(str(file.readlink()).partition(":")[0])
    return sorted(files)


def test_4000_pods_of_which_some_hang_and_a_tenth_answer_503(tmp_path: Path) -> None:
    with Nameserver() as nameserver, Pods(PODS) as pods:
        nameserver.set("first.default.svc.cluster.local", *pods.addresses)
        nameserver.fault("silence", name="second.default.svc.cluster.local")
        for number in range(0, PODS, 10):
            pods[number].script(reply(503))
        for number in range(1, PODS, 40):
            pods[number].script(silent)
        config = CONFIG.format(port=pods.port)
        with Worker(
            tmp_path, config, "--sequential", nameserver=nameserver, options="timeout:30"
        ) as worker:
            nameserver.wait_for(
                "the second broadcast's question",
                lambda: nameserver.asked("second.default.svc.cluster.local") > 0,
                seconds=300,  # the deadline of the first
            )
            process = Path("/proc", str(worker.process.pid))
            # The main thread, one for signals, those of the pool, one that asks DNS, and one that
            # writes the log where its reader is slow.
            pool = pool_size()
            threads = len(list((process / "task").iterdir()))
            # Standard input, output and error; an epoll and an eventfd for each thread of the
            # pool; a socket and an epoll for the question that waits for its answer.
            standard, waiting = ["/dev/null", "pipe", "pipe"], ["anon_inode"] * (2 * pool + 1)
            expected = sorted([*standard, *waiting, "socket"])
            wait_for(f"only {expected} are open", lambda: open_files(process) == expected)
            worker.process.terminate()
            finished = worker.finish()
        first, _ = finished.events("broadcast.finished")
        counts = (first["seen"], first["acknowledged"], first["failed"], first["calls"])
        hang, broken = PODS // 40, PODS // 10
        missed = hang + broken
        assert counts == (PODS, PODS - missed, missed, PODS + missed)
        failures = Counter(entry["error_type"] for entry in finished.events("endpoint.failed"))
        assert failures == {"timeout": hang, "status": broken}
        assert Counter(pods.requests.values()) == {1: PODS - missed, 2: missed}
        assert threads <= 2 + pool + 1 + 1
