"""What a run needs: `python -m tests.container.measure` prints the memory and the CPU time of the
worker's image against 3 and against 4,000 pods on loopback.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from tests import owner
from tests.container import daemon, running
from tests.container.daemon import LABEL, ROOT

# In a container of the suite's image, of which the worker shares the network.
PODS = """
import sys
from tests.loopback.nameserver import Nameserver
from tests.loopback.pods import Pods
with Nameserver() as nameserver, Pods(int(sys.argv[1]), port=8080) as pods:
    nameserver.set("web.default.svc.cluster.local", *pods.addresses)
    print(nameserver, flush=True)
    sys.stdin.read()
"""
# In a container of the worker's image; the child's figures are the worker's alone.
MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "worker", *sys.argv[1:]], capture_output=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({
    "exit_code": done.returncode,
    "seconds": json.loads(done.stdout.splitlines()[-1])["duration_seconds"],
    "cpu_seconds": used.ru_utime + used.ru_stime,
    "peak_mib": used.ru_maxrss / 1024,
}))
"""


def measure(pods: int, concurrency: int, *limits: str) -> dict[str, float]:
    image, suite = running.build_worker(), running.build_suite()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "broadcasts.yaml").write_text(
            f"- {{name: clear, url: 'http://web:8080/', concurrency: {concurrency}}}\n"
        )
        (directory / "resolv.conf").write_text("search default.svc.cluster.local\n")
        mounts = ["--volume", f"{directory}:/etc/pod-broadcast:ro"]
        container = f"pod-broadcast-measure-{owner.RUN}"
        serve = ["docker", "run", "--rm", *LABEL, "--interactive", "--name", container]
        serve += ["--network", "none", "--volume", f"{ROOT}:/pod-broadcast:ro", suite]
        with subprocess.Popen(
            [*serve, "python", "-c", PODS, str(pods)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as serving:
            assert serving.stdin
            assert serving.stdout
            nameserver = serving.stdout.readline().strip()
            command = ["docker", "run", "--rm", *LABEL, "--read-only", *limits, *mounts]
            command += ["--network", f"container:{container}", "--entrypoint", "python"]
            command += [image, "-c", MEASURE, "--nameserver", nameserver]
            command += ["--resolv-conf", "/etc/pod-broadcast/resolv.conf"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            serving.stdin.close()
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def main() -> None:
    try:
        show()
    finally:
        daemon.remove_all()


def show() -> None:
    print(f"{'pods':>5} {'at once':>7} {'CPU s':>6} {'peak MiB':>8} {'wall s':>6}")
    for pods, concurrency in ((3, 16), (4000, 16), (4000, 200)):
        used = measure(pods, concurrency)
        assert used["exit_code"] == 0, used
        print(
            f"{pods:5} {concurrency:7} {used['cpu_seconds']:6.2f} {used['peak_mib']:8.1f} "
            f"{used['seconds']:6.1f}"
        )


if __name__ == "__main__":
    main()
