"""What a run of the tests makes with Docker: images, each built once for all workers of the run,
containers and networks. All of it has the run's label, by which the end of the run removes it, or
the beginning of the next, where a run was killed.
"""

from __future__ import annotations

import fcntl
import re
import subprocess
from pathlib import Path

from tests import owner
from tests.owner import RUN

ROOT = Path(__file__).parents[2]
IMAGES = Path(__file__).parent / "images"
LABELS = {owner.LABEL: RUN}
LABEL = ("--label", f"{owner.LABEL}={RUN}")
BUILD_SECONDS = 600
TRIES = 3  # of a build, which asks registries


def docker(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )


def build(name: str, dockerfile: Path, context: Path, *options: str) -> str:
    """Returns the image's tag. The network is the host's, for those whose package mirror needs it.

    Whoever comes while another worker builds the same file waits for that.
    """
    tag = f"pod-broadcast-{name}:{RUN}"
    with dockerfile.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if docker("image", "inspect", tag).returncode == 0:
            return tag
        command = ["build", "--force-rm", "--network", "host", "--tag", tag, *LABEL, *options]
        for _ in range(TRIES):
            done = docker(*command, "--file", str(dockerfile), str(context), timeout=BUILD_SECONDS)
            _remove_stages(done.stdout)
            if done.returncode == 0:
                break
    assert done.returncode == 0, done.stdout + done.stderr
    return tag


def _remove_stages(output: str) -> None:
    """The classic builder leaves an image without a name for each stage, or for a step that failed.

    Removes those of them that the build's output names. BuildKit keeps its cache elsewhere.
    """
    nameless = docker("images", "--quiet", "--filter", "dangling=true").stdout.split()
    ids = re.findall(r"^ ---> ([0-9a-f]{12})$", output, re.MULTILINE)
    for image in {*ids} & {*nameless}:
        docker("rmi", image)  # refused, where something else needs it


def remove_all(run: str = RUN) -> None:
    """Removes what the run has made, and what a test that failed has left over."""
    for listing, removal in (
        (("ps", "--all", "--quiet"), ("rm", "--force", "--volumes")),
        (("network", "ls", "--quiet"), ("network", "rm")),
        (("images", "--quiet"), ("rmi", "--force")),
    ):
        if found := docker(*listing, "--filter", f"label={owner.LABEL}={run}").stdout.split():
            docker(*removal, *found)


def remove_left_over() -> None:
    """Removes what runs that were killed have made."""
    label = f'{{{{.Label "{owner.LABEL}"}}}}'
    runs: set[str] = set()
    for listing, form in (
        (("ps", "--all"), label),
        (("network", "ls"), label),
        (("images",), "{{.Tag}}"),
    ):
        found = docker(*listing, "--filter", f"label={owner.LABEL}", "--format", form)
        runs.update(found.stdout.split())
    for run in filter(owner.is_left_over, runs):
        remove_all(run)
