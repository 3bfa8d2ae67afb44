"""The document that `check` or `plan` prints: as JSON, and as text for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from worker.config.errors import ConfigError
from worker.config.values import write_duration
from worker.log.formats import printable
from worker.log.formats import to_json as json_of
from worker.log.masking import Masker
from worker.model import DEFAULT_PORTS

Document = dict[str, Any]

TITLE = ("name", "method", "url", "qname")
PROBLEM = {"error_type", "error_message", "hint"}
SHOWN_BODY_CHARACTERS = 4000  # in text; JSON has the whole body


def invalid(errors: Sequence[ConfigError]) -> Document:
    """The document about a configuration that is not valid."""
    return {"errors": [error._asdict() for error in errors], "broadcasts": []}


def masked(value: Any, masker: Masker) -> Any:
    """A document, or a part of one, without secrets."""
    if isinstance(value, dict):
        return {key: masked(part, masker) for key, part in value.items()}
    if isinstance(value, list):
        return [masked(part, masker) for part in value]
    return masker.mask(value) if isinstance(value, str) else value


def to_json(document: Document) -> str:
    """As `--output json` prints it."""
    return json_of(document, json.JSONEncoder(indent=2, ensure_ascii=False).encode).decode()


def to_text(broadcast: Document) -> str:
    """One broadcast of a document: a title, and a line or more for each key.

    Parts of an object are named as in configuration errors, such as `tls.ca_file`. Control
    characters are escaped, so that no text steers a terminal.
    """
    name, *title = [broadcast[key] for key in TITLE if key in broadcast]
    lines = [f"{name}: {' '.join(title)}"]
    for key, value in _flat(broadcast):
        mark = "  ! " if key in PROBLEM else "  "
        first, *others = _said(key, value, broadcast)
        lines.append(f"{mark}{key.removesuffix('_seconds')}: {first}".rstrip())
        lines += [f"    {line}" for line in others]
    return "\n".join(map(printable, lines)) + "\n"


def _flat(document: Document, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict) and key != "json":  # whose keys are JSON Pointers
            yield from _flat(value, f"{prefix}{key}.")
        elif prefix or key not in TITLE:
            yield prefix + key, value


def _said(key: str, value: Any, broadcast: Document) -> list[str]:
    """A value, as a configuration has it. Lines after the first belong below it."""
    if key in {"endpoints", "not_ready"}:
        return [str(len(value)), *map(_pod, value)]
    if key.endswith("expect.json") and value:
        texts = {pointer: json.dumps(each, ensure_ascii=False) for pointer, each in value.items()}
        return ["", *(f"{pointer or 'the whole'}: {text}" for pointer, text in texts.items())]
    if key in {"request", "verify_request"} and value:
        return ["", *(f"> {line}" for line in value)]
    if key == "body" and value:
        return ["", *(f"> {line}" for line in _shortened(value, broadcast["body_bytes"]))]
    if key.endswith("_seconds"):
        return [write_duration(value)]
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, list):
        value = ", ".join(value)
    said = "none" if value in (None, "") else str(value)
    return [said + _note(key, said, broadcast)]


def _pod(endpoint: str | Document) -> str:
    """An endpoint: what DNS knows of it, or what the Kubernetes API does."""
    if isinstance(endpoint, str):
        return endpoint
    node = endpoint["node"] and f" on {endpoint['node']}"
    zone = endpoint["zone"] and f", {endpoint['zone']}"
    return f"{endpoint['endpoint']} {endpoint['pod']}{node}{zone}".rstrip()


def _shortened(body: str, size: int) -> list[str]:
    if len(body) <= SHOWN_BODY_CHARACTERS:
        return body.split("\n")
    lines = f"{body[:SHOWN_BODY_CHARACTERS]}…".split("\n")
    return [*lines, f"({size} bytes in all; --output json shows them)"]


def _note(key: str, said: str, broadcast: Document) -> str:
    """A remark on a value, or nothing if it needs none."""
    if key == "port" and said == str(DEFAULT_PORTS[broadcast["url"].partition(":")[0].lower()]):
        return " (the scheme's default)"
    if key == "tls.ca_file" and said == "none" and broadcast["tls"]["verified"]:
        return " (the system trust store)"
    if key == "differs_per_call" and said != "none":
        return " (the zeros stand for the ids of the run and of the call)"
    return ""
