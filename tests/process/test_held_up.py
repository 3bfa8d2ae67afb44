"""A worker that is held up: by SIGSTOP, or by whoever reads its log."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods, reply
from tests.loopback.program import BARE_ENVIRONMENT, ROOT, Worker, command_line
from tests.loopback.serving import HANG_SECONDS


@pytest.mark.parametrize("size", [10, 40_000])
def test_a_response_that_arrived_whole_before_the_cut_counts_whatever_its_size(
    size: int, tmp_path: Path, nameserver: Nameserver, three_pods: Pods
) -> None:
    """What has arrived by then is read first. 40,000 bytes take three reads."""
    gate = three_pods.gate()
    for address in three_pods.addresses:
        three_pods[address].script(reply(body=b"x" * size, after=gate))
    config = f"- {{name: clear, url: 'http://web:{three_pods.port}/', deadline: 3s}}\n"
    with Worker(tmp_path, config, nameserver=nameserver) as worker:
        three_pods.wait_for("requests", lambda: three_pods.in_flight == 3)
        worker.signal(signal.SIGSTOP)
        gate.open()
        three_pods.wait_for("answers", lambda: three_pods.in_flight == 0)
        time.sleep(4)  # until the deadline is over
        worker.signal(signal.SIGCONT)
        finished = worker.finish()
    assert len(finished.events("call.succeeded")) == 3


@pytest.mark.parametrize("reader", ["stuck", "slow"])
def test_a_reader_of_the_log_that_takes_little_does_not_keep_the_pods_from_being_called(
    reader: str, tmp_path: Path, nameserver: Nameserver, three_pods: Pods
) -> None:
    """The pods come first, and --deadline is kept. At the end the log counts as lost."""
    config = f"- {{name: clear, url: 'http://web:{three_pods.port}/'}}\n"
    for_reading, for_writing = os.pipe()
    size = fcntl.fcntl(for_writing, fcntl.F_GETPIPE_SZ)
    os.write(for_writing, b"x" * size)  # full from the start
    line = command_line(tmp_path, config, nameserver)
    with subprocess.Popen(
        [*line, "--deadline", "5s"],
        cwd=ROOT,
        env=BARE_ENVIRONMENT,
        stdout=for_writing,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(for_writing)
        ended = threading.Event()

        def read_slowly() -> None:
            while not ended.wait(6):
                os.read(for_reading, 4096)

        if reader == "slow":
            threading.Thread(target=read_slowly, daemon=True).start()
        try:
            process.wait(HANG_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        ended.set()
    assert list(three_pods.requests.values()) == [1, 1, 1]
    assert process.returncode != -signal.SIGKILL, f"--deadline 5s, not over in {HANG_SECONDS:g} s"
