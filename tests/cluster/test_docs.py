"""The documentation's kubectl commands, page by page and in their order, with the example overlay
on the cluster that KUBECONFIG names; and its objects, as the API server would take them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import owner
from tests.docs import blocks, rules
from tests.docs.blocks import ROOT, Block, Command

EXAMPLE = "manifests/overlays/example"
NAMESPACE = "pod-broadcast-example"  # in the pages; here:
OWN_NAMESPACE = f"pod-broadcast-docs-{os.getpid()}"
COMMANDS = [command for command in blocks.commands() if rules.how(command.text) == "cluster"]
OBJECTS = [b for b in blocks.blocks("yaml") if rules.yaml_kind(b.text) == "object"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with the example overlay, in a namespace of its own and with the image that is
    tested, and a KUBECONFIG that commands may change.
    """
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(ROOT / "manifests", folder / "manifests")
    shutil.copytree(ROOT / "config", folder / "config")
    for file in (folder / EXAMPLE).iterdir():
        file.write_text(file.read_text().replace(NAMESPACE, OWN_NAMESPACE))
    kustomization = folder / EXAMPLE / "kustomization.yaml"
    overlay = yaml.safe_load(kustomization.read_text())
    name, _, tag = os.environ["IMAGE"].rpartition(":")
    # The web servers run with its Python: it is what the nodes are sure to have.
    images = [{"name": n, "newName": name, "newTag": tag} for n in ("pod-broadcast", "python")]
    labels = [*overlay.get("labels", []), {"pairs": {owner.LABEL: owner.RUN}}]
    kustomization.write_text(yaml.safe_dump(overlay | {"images": images, "labels": labels}))
    shutil.copy(os.environ["KUBECONFIG"], folder / "kubeconfig")
    environment = dict(os.environ) | {"KUBECONFIG": str(folder / "kubeconfig")}
    subprocess.run(
        ["kubectl", "config", "set-context", "--current", f"--namespace={OWN_NAMESPACE}"],
        env=environment,
        check=True,
    )
    yield folder, environment
    subprocess.run(
        ["kubectl", "delete", "namespace", OWN_NAMESPACE, "--ignore-not-found", "--wait=false"],
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_does_what_its_page_says(
    command: Command, desk: tuple[Path, dict[str, str]]
) -> None:
    folder, environment = desk
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.text.replace(NAMESPACE, OWN_NAMESPACE)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    command.check(done.stdout.replace(OWN_NAMESPACE, NAMESPACE))


@pytest.mark.parametrize("block", OBJECTS, ids=str)
def test_the_api_server_knows_every_field_of_an_object(block: Block) -> None:
    command = ["kubectl", "create", "--dry-run=server", "--validate=strict", "--filename=-"]
    done = subprocess.run(
        command, input=block.text, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{block}: {done.stderr}"
