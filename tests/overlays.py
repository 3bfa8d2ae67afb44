"""Overlays that tests make of the manifests, and what kustomize renders of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).parents[1] / "manifests"

Object = dict[str, Any]


def write(
    directory: Path,
    resources: Sequence[str | Path],
    components: Sequence[str] = (),
    broadcasts: str | None = None,
    **fields: Any,
) -> Path:
    """An overlay: these folders of manifests, with `broadcasts` as the worker's configuration."""
    kustomization: Object = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        # kustomize takes relative paths only.
        "resources": [os.path.relpath(MANIFESTS / resource, directory) for resource in resources],
        "components": [
            os.path.relpath(MANIFESTS / "components" / component, directory)
            for component in components
        ],
        **fields,
    }
    if broadcasts is not None:
        (directory / "broadcasts.yaml").write_text(broadcasts)
        kustomization["configMapGenerator"] = [
            {"name": "pod-broadcast", "behavior": "replace", "files": ["broadcasts.yaml"]}
        ]
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return directory


def render(directory: Path) -> list[Object]:
    """What `kubectl apply -k` would apply."""
    done = subprocess.run(
        ["kubectl", "kustomize", directory], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "kustomize warns"
    return list(yaml.safe_load_all(done.stdout))


def find(objects: Sequence[Object], kind: str) -> Object:
    """The one object of that kind."""
    (found,) = (each for each in objects if each["kind"] == kind)
    return found
