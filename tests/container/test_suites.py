"""The other suites once more, under the Python that the image has."""

from __future__ import annotations

from testcontainers.core.container import DockerContainer

from tests.container import daemon, running
from tests.container.daemon import ROOT

# Of the 200 moments to stop at, the first 20.
MOMENTS = "tests/process/test_stopping.py::test_a_stop_signal_at_any_moment_ends_in_a_whole_report"
LATER_MOMENTS = [f"--deselect '{MOMENTS}[{first}]'" for first in range(20, 200, 20)]
# From a copy: hypothesis and Python keep files beside what they run.
COMMAND = f"""
mkdir /tmp/copy && cd /tmp/copy
copied='.ci .dockerignore .yamllint.yaml'
(cd /pod-broadcast; tar --exclude __pycache__ --create * $copied || [ $? = 1 ]) | tar --extract
python -m pytest --quiet --numprocesses auto {" ".join(LATER_MOMENTS)} tests/unit tests/process
"""
LIMIT_SECONDS = 900


def test_the_unit_and_process_suites_pass_under_the_images_python() -> None:
    container = (
        DockerContainer(
            running.build_suite(),
            labels=daemon.LABELS,
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
