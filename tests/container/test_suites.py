"""The other suites once more, under the Python that the image has."""

from __future__ import annotations

from testcontainers.core.container import DockerContainer

from tests.container import running
from tests.container.running import ROOT

# These keep both cores busy by themselves. Of the 200 moments to stop at, the first 20.
ALONE = ["tests/process/test_load.py", "tests/process/test_stopping.py"]
MOMENTS = f"{ALONE[1]}::test_a_stop_signal_at_any_moment_ends_in_a_whole_report"
LATER_MOMENTS = [f"--deselect '{MOMENTS}[{first}]'" for first in range(20, 200, 20)]
# From a copy: hypothesis and Python keep files beside what they run.
COMMAND = f"""
mkdir /tmp/copy && cd /tmp/copy
tar --directory /pod-broadcast --exclude './.[ghmrv]*' --create . | tar --extract
python -m pytest --quiet --numprocesses 3 {" ".join(f"--ignore {file}" for file in ALONE)} \\
    tests/unit tests/process
python -m pytest --quiet {" ".join(LATER_MOMENTS)} {" ".join(ALONE)}
"""
LIMIT_SECONDS = 900


def test_the_unit_and_process_suites_pass_under_the_images_python() -> None:
    image = running.build(running.SUITE, "pod-broadcast-suite:test", ROOT)
    container = (
        DockerContainer(
            image,
            entrypoint=["sh", "-ec", COMMAND],
            network_mode="none",  # loopback is enough
            sysctls={"net.ipv6.conf.all.disable_ipv6": "0"},
        )
        .with_env("HOME", "/tmp")
        .with_volume_mapping(str(ROOT), "/pod-broadcast")
    )
    with container:
        exit_code = container.get_wrapped_container().wait(timeout=LIMIT_SECONDS)["StatusCode"]
        stdout, stderr = container.get_logs()
    print(stdout.decode())
    assert exit_code == 0, stderr.decode()
