"""What a run keeps is bounded in sum: it stays below the 128 MiB of the manifest."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import certifi
import trustme

from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Exchange, Pods, raw
from tests.loopback.program import Finished, Worker
from tests.process.test_tls import asking

KIB = 1024
MANIFEST_MIB = 128
DOMAIN = "default.svc.cluster.local"
# Runs what follows, without what measures coverage, and writes the peak of its resident set.
MEASURE = """
import os, resource, subprocess, sys
bare = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
exit_code = subprocess.run(sys.argv[2:], env=bare).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
open(sys.argv[1], "w").write(str(peak))
sys.exit(exit_code)
"""


class Measured(Worker):
    """A run, and the peak of its memory in MiB once it is over."""

    def __init__(
        self,
        directory: Path,
        config: str,
        nameserver: Nameserver,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._peak = directory / "peak"
        prefix = [sys.executable, "-c", MEASURE, str(self._peak)]
        super().__init__(
            directory, config, nameserver=nameserver, prefix=prefix, environment=environment
        )

    def peak_mib(self, finished: Finished) -> float:
        assert finished.events("run.finished"), finished.stderr
        return int(self._peak.read_text()) / KIB


def test_300_broadcasts_with_certificates_of_their_own(tmp_path: Path) -> None:
    """Each `tls` needs a trust store of its own, which takes a megabyte."""
    ca = trustme.CA()
    trusted = Path(certifi.where()).read_bytes() + ca.cert_pem.bytes()
    (tmp_path / "trusted.pem").write_bytes(trusted)
    worker_certificate = ca.issue_cert("worker").private_key_and_cert_chain_pem.bytes()
    lines = ["defaults: {settle: 0s}", "broadcasts:"]
    with Nameserver() as nameserver, Pods(1, tls=asking(ca)) as pods:
        nameserver.set(f"web.{DOMAIN}", *pods.addresses)
        for number in range(300):
            (tmp_path / f"{number}.pem").write_bytes(worker_certificate)
            url, tls = f"https://web:{pods.port}/", f"{{cert_file: {number}.pem}}"
            lines.append(f"- {{name: b{number}, url: '{url}', tls: {tls}}}")
        environment = {"SSL_CERT_FILE": str(tmp_path / "trusted.pem")}
        with Measured(tmp_path, "\n".join(lines), nameserver, environment) as worker:
            finished = worker.finish(300)
        assert finished.exit_code == 0
        assert pods.requests == {pods.addresses[0]: 300}
        assert worker.peak_mib(finished) < MANIFEST_MIB


def test_200_broadcasts_with_bodies_of_a_megabyte(tmp_path: Path) -> None:
    """100 of them in a file each, and the same body 100 times."""
    received: Counter[bytes] = Counter()

    async def count(exchange: Exchange) -> None:
        head = await exchange.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        digest = hashlib.sha256()
        while length:
            data = await exchange.reader.read(min(length, 64 * KIB))
            digest.update(data)
            length -= len(data)
        received[digest.digest()] += 1
        await exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    same = "x" * 1000 * KIB
    lines = [f"defaults: {{settle: 0s, body: '{same}'}}", "broadcasts:"]
    expected = Counter({hashlib.sha256(same.encode()).digest(): 100})
    with Nameserver() as nameserver, Pods(1) as pods:
        nameserver.set(f"web.{DOMAIN}", *pods.addresses)
        pods[0].script(count)
        for number in range(200):
            file = ""
            if number % 2:
                body = os.urandom(KIB * KIB)
                (tmp_path / f"body{number}").write_bytes(body)
                expected[hashlib.sha256(body).digest()] += 1
                file = f", body_file: body{number}"
            lines.append(f"- {{name: b{number}, url: 'http://web:{pods.port}/'{file}}}")
        with Measured(tmp_path, "\n".join(lines), nameserver) as worker:
            finished = worker.finish(300)
    assert finished.exit_code == 0
    assert received == expected
    assert worker.peak_mib(finished) < MANIFEST_MIB


def test_1200_hostile_pods_of_which_1000_are_called_at_once(tmp_path: Path) -> None:
    """Each says as much as it may, nothing twice, and waits with half of it for the others."""
    config = """\
    - name: clear
      url: http://web:{port}/
      concurrency: 1000
      attempts: 1
      timeout: 60s
      settle: 0s
      log_response: true
      expect: {{status: [301], body_contains: not there}}
    """
    with Nameserver() as nameserver, Pods(1200) as pods:
        nameserver.set(f"web.{DOMAIN}", *pods.addresses)
        head_is_there, body_is_there = pods.gate(), pods.gate()
        for number, address in enumerate(pods.addresses):
            text = f"{number:04}".encode() * KIB  # another for each pod
            pods[address].script(
                raw(
                    b"HTTP/1.1 301 " + text + b"\r\nX: " + b"x" * 40 * KIB,
                    head_is_there,
                    b"\r\n".join([b"", *(name + text for name in (b"Location: ", b"Server: "))]),
                    b"\r\nContent-Length: 70000\r\n\r\n" + b"y" * 64 * KIB,
                    body_is_there,
                    b"y" * (70000 - 64 * KIB),
                )
            )
        with Measured(tmp_path, config.format(port=pods.port), nameserver) as worker:
            pods.wait_for("1,000 calls", lambda: pods.max_in_flight == 1000)
            head_is_there.open()
            body_is_there.open()
            finished = worker.finish(300)
    assert finished.exit_code == 4
    assert len(finished.events("call.failed")) == 1200
    assert {entry["error_type"] for entry in finished.events("call.failed")} == {"body_mismatch"}
    assert worker.peak_mib(finished) < MANIFEST_MIB
