"""Many pods, of which some hang and some fail: nobody is forgotten, and nothing is left behind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods, reply, silent
from tests.loopback.program import Worker
from worker.calls.pool import pool_size

PODS = 4000
CONFIG = """\
defaults:
  settle: 0s
  attempts: 2
  timeout: 2s
  concurrency: 200
  backoff: {{initial: 10ms}}
broadcasts:
  - {{name: first, url: "http://first:{port}/"}}
  - {{name: second, url: "http://second:{port}/"}}
"""


def test_4000_pods_of_which_a_tenth_hang_and_a_tenth_answer_503(tmp_path: Path) -> None:
    with Nameserver() as nameserver, Pods(PODS) as pods:
        nameserver.set("first.default.svc.cluster.local", *pods.addresses)
        nameserver.fault("silence", name="second.default.svc.cluster.local")
        for number in range(0, PODS, 10):
            pods[number].script(silent)
            pods[number + 1].script(reply(503))
        config = CONFIG.format(port=pods.port)
        with Worker(
            tmp_path, config, "--sequential", nameserver=nameserver, options="timeout:30"
        ) as worker:
            nameserver.wait_for(
                "the second broadcast's question",
                lambda: nameserver.asked("second.default.svc.cluster.local") > 0,
            )
            process = Path("/proc", str(worker.process.pid))
            threads = len(list((process / "task").iterdir()))
            files = sorted(
                str(file.readlink()).partition(":")[0] for file in (process / "fd").iterdir()
            )
            worker.process.terminate()
            finished = worker.finish()
        first, _ = finished.events("broadcast.finished")
        counts = (first["seen"], first["acknowledged"], first["failed"], first["calls"])
        assert counts == (PODS, PODS * 8 // 10, PODS * 2 // 10, PODS * 12 // 10)
        failures = Counter(entry["error_type"] for entry in finished.events("endpoint.failed"))
        assert failures == {"timeout": PODS // 10, "status": PODS // 10}
        assert Counter(pods.requests.values()) == {1: PODS * 8 // 10, 2: PODS * 2 // 10}
        # The main thread, one for signals, those of the pool, one that asks DNS, and one that
        # writes the log where its reader is slow.
        pool = pool_size()
        assert threads <= 2 + pool + 1 + 1
        # Standard input, output and error; an epoll and an eventfd for each thread of the pool; a
        # socket and an epoll for the question that waits for its answer.
        standard, waiting = ["/dev/null", "pipe", "pipe"], ["anon_inode"] * (2 * pool + 1)
        assert files == sorted([*standard, *waiting, "socket"])
