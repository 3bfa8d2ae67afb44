"""Documentation that lags behind the program fails here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from jsonschema import Draft202012Validator

from tests.docs import rules
from tests.docs.blocks import Block, blocks
from tests.loopback.examples import ENVIRONMENT, EXAMPLES, copy
from tests.records import broadcast
from tools.generate import ROOT
from worker import __version__
from worker.commands import check, plan
from worker.config import load as config
from worker.config.errors import ConfigError, Errors
from worker.config.keys import KEYS
from worker.config.schema import json_schema
from worker.config.yaml import parse, plain
from worker.log.events import BY_NAME
from worker.model import Answer, Config, Endpoint, ResolutionFailure, Target, Verify
from worker.options import OPTIONS
from worker.terminal.document import invalid

YAML_BLOCKS = [block for block in blocks("yaml") if rules.yaml_kind(block.text) == "broadcasts"]
VALIDATOR = Draft202012Validator(json_schema())


def test_the_schema_of_the_configuration_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("shown", YAML_BLOCKS, ids=str)
def test_every_yaml_block_can_be_loaded_and_the_schema_accepts_it(
    shown: Block, tmp_path: Path
) -> None:
    block = shown.text
    file = tmp_path / "block.yaml"
    environment = {**ENVIRONMENT, "PURGE_TOKEN": "x"}
    for path in ("/var/run/secrets/tokens/purge", "/etc/ca/ca.crt", "/var/run/secrets/api/key"):
        block = block.replace(path, str(tmp_path / Path(path).name))
    (tmp_path / "purge").write_text("token\n")
    (tmp_path / "key").write_text("key")
    (tmp_path / "purge.xml").write_text("<purge/>")
    (tmp_path / "ca.crt").write_bytes(_certificate())
    file.write_text(block)
    assert config.load([str(file)], environment).broadcasts
    assert list(VALIDATOR.iter_errors(yaml.safe_load(block))) == []


def _certificate() -> bytes:
    return trustme.CA().cert_pem.bytes()


def test_the_examples_can_be_loaded_together(tmp_path: Path) -> None:
    for example in EXAMPLES:
        copy(example, tmp_path, trustme.CA())
    loaded = config.load([str(tmp_path)], ENVIRONMENT)
    assert [Path(file).name for file in loaded.files] == [example.name for example in EXAMPLES]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda p: p.name)
def test_the_schema_accepts_every_example(file: Path) -> None:
    node = parse(file.read_bytes(), file.name, Errors())
    assert list(VALIDATOR.iter_errors(plain(node))) == []


def test_the_page_of_check_and_plan_names_every_key_of_their_documents() -> None:
    page = (ROOT / "docs" / "check-and-plan.md").read_text()
    entry = broadcast("https://web:8443/")
    entry = entry._replace(verify=Verify(entry.exchange))
    loaded = Config((), (entry,))
    failure = ResolutionFailure("web", "dns_refused", "refused")
    endpoint = Endpoint("10.0.0.1", 8443)
    answer = Answer("web", (endpoint,), 5, 0.0, 0.0)
    pods = answer._replace(exact=True, targets={endpoint: Target("web-0", "node", "zone")})
    documents = [
        invalid([ConfigError("f", 1, 1, "k", "m")]),
        check.document(loaded),
        *(plan.document(entry, found) for found in (failure, answer)),
        plan.document(entry._replace(discovery="endpointslices"), pods),
    ]
    keys = {key for document in documents for key in keys_of(document)}
    assert keys == set(re.findall(r"`([a-z_]+)`", page)) & keys
    assert {"hint", "column", "max_seconds", "rcode", "not_ready", "zone"} <= keys


def keys_of(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from keys_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from keys_of(part)


def described(schema: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of the schema, nested ones included, by its path."""
    if isinstance(schema, dict):
        for name, part in schema.get("properties", {}).items():
            if "$ref" not in part:
                yield f"{path}.{name}", part
        for name, part in schema.items():
            if name not in {"not", "if", "then"}:  # conditions
                yield from described(part, f"{path}.{name}")


def test_editors_can_show_a_description_and_valid_examples_of_every_property() -> None:
    properties = dict(described(json_schema()))
    assert len(properties) > 30
    for path, schema in properties.items():
        assert schema.get("description"), path
        defaults = [schema["default"]] if "default" in schema else []
        for value in [*schema.get("examples", []), *defaults]:
            assert list(Draft202012Validator(schema).iter_errors(value)) == [], path


def test_every_key_has_an_example_and_says_what_it_is_for() -> None:
    for key in KEYS:
        assert key.example, key.name
        assert key.description.endswith("."), key.name


def test_the_readme_names_every_exit_code_and_the_changelog_this_version() -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"^\| ([0-9, ]+) \|", readme, re.MULTILINE) == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "130, 143",
    ]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{__version__}]" in changelog


def test_the_image_does_not_carry_what_draws_on_a_terminal_and_pins_are_the_same_everywhere() -> (
    None
):
    pins = [
        dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.txt", "requirements-console.txt", "requirements-dev.txt")
    ]
    image, console, development = pins
    assert "rich" in console.keys() - image.keys()
    assert image.items() <= console.items() <= development.items()


def test_every_option_has_a_variable_of_its_own() -> None:
    variables = [option.variable for option in OPTIONS]
    assert len(set(variables)) == len(variables)
    assert all(re.fullmatch(r"BROADCAST_[A-Z_]+", variable) for variable in variables)


def test_every_event_that_the_program_writes_has_a_message() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "worker").rglob("*.py"))
    written = set(re.findall(r'(?:\.(?:info|warning|error)|write)\(\s*"([a-z.]+)"', sources))
    written |= {"broadcast.finished", "run.finished"}
    assert written == BY_NAME.keys()
