"""The other suites once more, under the Python that the image has: every unit test, and the half of
the process suite whose turn it is.
"""

from __future__ import annotations

from collections.abc import Callable

from testcontainers.core.container import DockerContainer

from tests import second_look, turns
from tests.container import daemon, running
from tests.container.daemon import ROOT

# From a copy: hypothesis and Python keep files beside what they run.
COMMAND = f"""
mkdir /tmp/copy && cd /tmp/copy
copied='.ci .dockerignore .yamllint.yaml'
(cd /pod-broadcast; tar --exclude __pycache__ --create * $copied || [ $? = 1 ]) | tar --extract
python -m pytest --quiet --numprocesses auto --half {turns.turn(2)} tests/unit tests/process
"""
LIMIT_SECONDS = 900


def test_the_unit_and_process_suites_pass_under_the_images_python(
    record_property: Callable[[str, object], None],
) -> None:
    container = (
        DockerContainer(
            running.build_suite(),
            labels=daemon.LABELS,
            entrypoint=["sh", "-ec", COMMAND],
            network_mode="none",  # loopback is enough
            sysctls={"net.ipv6.conf.all.disable_ipv6": "0"},
        )
        .with_env("HOME", "/tmp")
        .with_env(turns.VARIABLE, turns.COMMIT)
        .with_volume_mapping(str(ROOT), "/pod-broadcast")
    )
    with container:
        exit_code = container.get_wrapped_container().wait(timeout=LIMIT_SECONDS)["StatusCode"]
        stdout, stderr = container.get_logs()
    print(stdout.decode())
    if flaky := second_look.flaky_in(stdout.decode()):
        record_property(second_look.PROPERTY, flaky)
    assert exit_code == 0, stderr.decode()
