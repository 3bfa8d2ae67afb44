"""The kinds of value that are JSON: a body, and what `expect.json` wants at which JSON Pointers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from worker.config.errors import Errors
from worker.config.secret import Secret
from worker.config.values import Schema, Scope, describe
from worker.config.yaml import Node, plain
from worker.model import JsonExpectation

# A mapping whose only key is one of these stands for a value.
REFERENCES = ("env", "file", "literal")
# Of all that references stand for: a name of a few bytes may stand for 64 KiB.
MAX_REFERRED_CHARACTERS = 4 * 1024 * 1024
REFERRED = Secret("text without control characters", r"[\s\S]+")
POINTER = r"(/([^~/]|~[01])*)*"  # RFC 6901, 3


class Json:
    """Any value that JSON has (RFC 8259), as a request's body. What it refers to is secret."""

    def read(self, node: Node, scope: Scope) -> dict[str, Any]:
        text = _resolve(node, scope, REFERRED.read).text(node)
        return {"body": text.encode(), "content_type": "application/json"}

    def schema(self) -> Schema:
        return {}


class Pointers:
    """A mapping of JSON Pointers (RFC 6901) to the values that a body has there."""

    def read(self, node: Node, scope: Scope) -> tuple[JsonExpectation, ...]:
        if not isinstance(node.value, dict) or not node.value:
            found = "an empty one" if node.value == {} else describe(node)
            raise node.error(f"expected a mapping such as {{/status: ok}}, got {found}")
        errors, expected = Errors(), []
        for pointer, (place, value) in node.value.items():
            with errors:
                if not re.fullmatch(POINTER, pointer):
                    hint = f": write /{pointer}" if re.fullmatch(POINTER, f"/{pointer}") else ""
                    raise place.error(f"expected a JSON Pointer such as /build/version{hint}")
                resolved = _resolve(value, scope, REFERRED.value)
                spelled = frozenset(resolved.referred)
                expected.append(JsonExpectation(pointer, resolved.text(value), spelled))
        errors.raise_any()
        return tuple(expected)

    def schema(self) -> Schema:
        return {"type": "object", "minProperties": 1, "propertyNames": {"pattern": f"^{POINTER}$"}}


class _Resolved(NamedTuple):
    """A value without places and references. `referred`: JSON Pointers to what they stood for."""

    value: Any
    referred: list[str]

    def text(self, node: Node) -> str:
        try:
            return json.dumps(self.value, ensure_ascii=False, allow_nan=False)
        except ValueError:
            raise node.error("JSON has no .inf and no .nan") from None


def _resolve(node: Node, scope: Scope, refer: Callable[[Node, Scope], str]) -> _Resolved:
    referred: list[str] = []

    def resolve(node: Node, path: str) -> Any:
        if isinstance(node.value, tuple):
            return [resolve(item, f"{path}/{n}") for n, item in enumerate(node.value)]
        if not isinstance(node.value, dict):
            return node.value
        if len(node.value) == 1 and (name := next(iter(node.value))) in REFERENCES:
            if name == "literal":
                return plain(node.value[name].node)
            referred.append(path)
            text = refer(node, scope)
            scope.referred["json"] += len(text)
            if scope.referred["json"] > MAX_REFERRED_CHARACTERS:
                most = f"at most {MAX_REFERRED_CHARACTERS} characters"
                raise node.error(f"all references in JSON may stand for {most}, got more")
            return text
        return {
            name: resolve(member.node, f"{path}/{name.replace('~', '~0').replace('/', '~1')}")
            for name, member in node.value.items()
        }

    return _Resolved(resolve(node, ""), referred)
