"""The JSON Schema (2020-12) of a configuration file, for editors and CI."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from worker.config.errors import Errors
from worker.config.keys import BODIES, KEYS, REQUIRED, Key
from worker.config.parts import any_case
from worker.config.values import Schema
from worker.config.yaml import parse, plain

DIALECT = "https://json-schema.org/draft/2020-12/schema"
AUTHORIZATION = any_case(["authorization"])
HTTPS_ONLY = "^[Hh][Tt][Tt][Pp][Ss]:"


def json_schema() -> Schema:
    """The whole schema: of a list of broadcasts, or a mapping with `defaults`."""
    broadcast = {
        "type": "object",
        "description": "One request to every pod behind one headless Service.",
        "properties": {key.name: _of_key(key) for key in KEYS},
        "required": list(REQUIRED),
        "additionalProperties": False,
        "not": {"anyOf": _exclusive()},
        "if": {"required": ["tls"]},
        "then": {"properties": {"url": {"pattern": HTTPS_ONLY}}},
    }
    defaults = {
        "type": "object",
        "description": "Values for every broadcast of this file that does not set the key itself.",
        "properties": {
            key.name: {"$ref": f"#/$defs/broadcast/properties/{key.name}"}
            for key in KEYS
            if key.name not in REQUIRED
        },
        "additionalProperties": False,
        "not": broadcast["not"],
    }
    broadcasts = {
        "description": "Broadcasts, which begin in this order and overlap.",
        "type": "array",
        "items": {"$ref": "#/$defs/broadcast"},
        "minItems": 1,
    }
    mapping = {
        "type": "object",
        "properties": {"defaults": defaults, "broadcasts": broadcasts},
        "required": ["broadcasts"],
        "additionalProperties": False,
    }
    return {
        "$schema": DIALECT,
        "title": "pod-broadcast",
        "description": "One HTTP request to every pod behind a headless Service.",
        "if": {"type": "array"},
        "then": broadcasts,
        "else": mapping,
        "$defs": {"broadcast": broadcast},
    }


def _exclusive() -> list[Schema]:
    """Keys that exclude each other."""
    authorization = {"not": {"propertyNames": {"not": {"pattern": AUTHORIZATION}}}}
    both = {"required": ["auth", "headers"], "properties": {"headers": authorization}}
    return [{"required": list(pair)} for pair in combinations(BODIES, 2)] + [both]


def _of_key(key: Key) -> Schema:
    default = {} if key.default is None else {"default": key.default}
    example = _from_yaml(key.example)
    return {"description": key.description, **key.kind.schema(), **default, "examples": [example]}


def _from_yaml(text: str) -> Any:
    return plain(parse(text.encode(), "", Errors()))
