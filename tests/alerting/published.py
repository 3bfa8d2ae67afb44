"""Field definitions and types that others publish, from npm, pinned by node/package-lock.json."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

NODE = Path(__file__).parent / "node"
TRIES = 3  # to reach the registry


@functools.cache
def modules() -> Path:
    """A folder outside the checkout with node_modules, kept for the next time."""
    digest = hashlib.sha256((NODE / "package-lock.json").read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "pod-broadcast-tests" / f"node-{digest}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NODE / name, fresh)
        install = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        tries = (run(*install, folder=fresh).returncode for _ in range(TRIES))
        assert 0 in tries, f"{' '.join(install)} failed {TRIES} times"
        fresh.rename(folder)
    return folder


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        print(done.stdout, done.stderr)  # for pytest to show
    return done


@functools.cache
def ecs_fields() -> dict[str, dict[str, Any]]:
    """Every field of the Elastic Common Schema by its flat name, and "" for the version."""
    script = (
        "const ecs = require('@elastic/ecs');"
        "console.log(JSON.stringify({...ecs.EcsFlat, '': {version: ecs.EcsVersion}}))"
    )
    fields: dict[str, dict[str, Any]] = json.loads(
        run("node", "-e", script, folder=modules()).stdout
    )
    return fields


@functools.cache
def google(package: str) -> dict[str, Any]:
    """The API definitions of a package, as protobufjs has them."""
    path = modules() / "node_modules" / "@google-cloud" / package / "build/protos/protos.json"
    definitions: dict[str, Any] = json.loads(path.read_text())
    return definitions


def definition(package: str, name: str, scope: str = "") -> tuple[str, dict[str, Any]]:
    """A message or an enum, by its name as it is used within another: full name and content."""
    while True:
        full = f"{scope}.{name}" if scope else name
        found: dict[str, Any] | None = google(package)
        for part in full.split("."):
            found = (found or {}).get("nested", {}).get(part)
        if found is not None:
            return full, found
        assert scope, f"{name} is in no definition"
        scope = scope.rpartition(".")[0]


def problems(package: str, name: str, value: Any, place: str = "", scope: str = "") -> list[str]:
    """What of a value is not as the API's JSON has it. https://protobuf.dev/programming-guides/json"""
    if name in SCALARS:
        return [] if SCALARS[name](value) else [f"{place}: {value!r} is no {name}"]
    full, found = definition(package, name, scope)
    if "values" in found:
        return [] if value in found["values"] else [f"{place}: {value} is none of {full}"]
    if not isinstance(value, dict):
        return [f"{place}: {value!r} is no {full}"]
    wrong = []
    for key, each in value.items():
        field = found["fields"].get(key)
        if field is None:
            wrong.append(f"{place}.{key}: there is no such field in {full}")
            continue
        many = isinstance(each, dict if "keyType" in field else list)
        if ("keyType" in field or field.get("rule") == "repeated") != many and not (
            "keyType" not in field and isinstance(each, dict)
        ):
            wrong.append(f"{place}.{key}: {each!r} is one, or many, against the definition")
            continue
        values = each.values() if "keyType" in field else each if many else [each]
        for one in values:
            wrong += problems(package, field["type"], one, f"{place}.{key}", full)
    return wrong


SCALARS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "google.protobuf.Duration": lambda value: bool(re.fullmatch(r"[0-9]+s", str(value))),
}
