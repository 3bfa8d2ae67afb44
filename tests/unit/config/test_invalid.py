"""One file for each mistake in a configuration, with the exact errors in its first lines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tools.generate import ROOT
from worker.config import load as config
from worker.config.errors import ConfigInvalid, Errors
from worker.config.schema import json_schema
from worker.config.yaml import parse, plain

SCHEMA = ROOT / "config" / "schema.json"
FILES = sorted((Path(__file__).parent / "invalid").glob("*.yaml"))
ENVIRONMENT = {
    "TOKEN": "t0ken",
    "EMPTY": "",
    "LINE_END": "hunter2\n",
    "NOT_ASCII": "hunter2é",
}
VALIDATOR = Draft202012Validator(json_schema())


def comments(file: Path, kind: str) -> list[str]:
    mark = f"# {kind}: "
    lines = file.read_text().splitlines()
    return [line.removeprefix(mark) for line in lines if line.startswith(mark)]


def errors_in(file: Path) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        config.load([str(file)], ENVIRONMENT)
    return [str(error) for error in caught.value.errors]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_mistake_is_named_exactly(file: Path) -> None:
    found = [error.replace(str(file), "FILE") for error in errors_in(file)]
    assert found == [f"FILE:{error}" for error in comments(file, "error")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_schema_refuses_what_it_is_said_to(file: Path) -> None:
    (expected,) = comments(file, "schema")
    try:
        node = parse(file.read_bytes(), file.name, Errors())
        verdict = "accepts" if VALIDATOR.is_valid(plain(node)) else "refuses"
    except ConfigInvalid:
        verdict = "unreadable"
    assert verdict == expected


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_error_shows_a_secret(file: Path) -> None:
    assert not any(secret in error for error in errors_in(file) for secret in ("hunter", "t0ken"))


def check_jsonschema(files: list[Path]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(SCHEMA)]
    return subprocess.run(
        [*command, "--output-format", "json", *map(str, files)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_check_jsonschema_accepts_every_example() -> None:
    done = check_jsonschema(sorted((ROOT / "config").glob("*.yaml")))
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "ok"), done.stdout


# Of these its YAML parser thinks otherwise: `<<` merges, 03 is a number; keys are unique, and tags
# are known.
NO_MISTAKE_TO_ITS_PARSER = {"merge-key.yaml", "min-pods-leading-zero.yaml"}
UNREADABLE_TO_ITS_PARSER = {"duplicate-key.yaml", "tag.yaml"}


def test_check_jsonschema_refuses_every_structurally_bad_file() -> None:
    verdicts = {file: comments(file, "schema") for file in FILES}
    done = check_jsonschema([file for file in FILES if verdicts[file] != ["unreadable"]])
    result = json.loads(done.stdout)
    refused = {Path(error["filename"]).name for error in result["errors"]}
    unreadable = {Path(error["filename"]).name for error in result["parse_errors"]}
    bad = {file.name for file in FILES if verdicts[file] == ["refuses"]}
    assert refused == bad - NO_MISTAKE_TO_ITS_PARSER
    assert unreadable == UNREADABLE_TO_ITS_PARSER
    assert done.returncode == 1
