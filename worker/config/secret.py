"""Values that come from the environment or a file: read once, and never shown.

What else a key may hold is the business of `kinds` and `parts`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from worker.config import meant
from worker.config.values import (
    MISTAKEN,
    NOT_SHOWN,
    PEM,
    Described,
    Fields,
    Mistaken,
    Schema,
    Scope,
    Text,
    describe_secret,
    write,
)
from worker.config.yaml import Node

MAX_SECRET_BYTES = 64 * 1024

ENV_NAME = Text(
    "the name of an environment variable",
    r"[A-Za-z_][A-Za-z0-9_.-]*",
    secret=True,
    meant=meant.variable,
)
FILE_PATH = Text("a path", rf"(?!.*{PEM})[^\x00-\x1f\x7f]+")
WHERE = Fields(
    "{env: NAME} or {file: PATH}",
    {
        "env": Described(ENV_NAME, "The environment variable that holds it.", "PURGE_TOKEN"),
        "file": Described(
            FILE_PATH,
            "The file that holds it, without one line end at its end. A relative path starts at "
            "the configuration file's folder.",
            "/var/run/secrets/tokens/purge",
        ),
    },
)


class Secret(NamedTuple):
    """A value from the environment or a file; `literal` says what may stand there instead."""

    what: str
    pattern: str
    literal: bool = False

    def read(self, node: Node, path: str, scope: Scope) -> str | Mistaken:
        if self.literal and not isinstance(node.value, dict):
            return Text(self.what, self.pattern, secret=True).read(node, path, scope)
        if not isinstance(node.value, dict):
            found = f"{describe_secret(node)}: a configuration is no place for a secret"
            if isinstance(node.value, str) and re.match(r"\$[{(]", node.value):
                variable = meant.variable(node.value)
                found = f"what nobody fills in{write(f'{{env: {variable}}}' if variable else '')}"
            return scope.fail(node.place, path, f"expected {WHERE.what}, got {found}")
        where = WHERE.read(node, path, scope)
        if isinstance(where, Mistaken):
            return MISTAKEN
        if len(where) != 1:
            return scope.fail(node.place, path, f"expected either {WHERE.what}, got both or none")
        value = self._from_env(where["env"], scope) if "env" in where else None
        if "file" in where:
            value = _from_file(scope.folder / where["file"])
        if isinstance(value, _Lack):
            return scope.fail(node.place, path, value.message)
        return self._check(value or "", node, path, scope)

    @staticmethod
    def _from_env(name: str, scope: Scope) -> str | _Lack:
        if name not in scope.environment:
            # A token may stand where the name of its variable belongs: that is not shown.
            shown_name = name if re.fullmatch("[A-Z_][A-Z0-9_]{0,99}", name) else "that env names"
            return _Lack(f"expected the environment variable {shown_name}, which is not set")
        return scope.environment[name]

    def _check(self, value: str, node: Node, path: str, scope: Scope) -> str | Mistaken:
        """A secret that cannot be used is not shown."""
        problem = ""
        if not value:
            problem = "an empty one"
        elif re.search(r"[\x00-\x1f\x7f-\x9f]", value):
            problem = "one with a control character"
        elif re.search("[\ud800-\udfff]", value):
            problem = "one that is not UTF-8"
        elif not re.fullmatch(self.pattern, value, re.ASCII):
            problem = NOT_SHOWN
        if problem:
            return scope.fail(node.place, path, f"expected {self.what}, got {problem}")
        scope.secrets.add(value)
        return value

    def schema(self) -> Schema:
        where = WHERE.schema() | {"minProperties": 1, "maxProperties": 1}
        if not self.literal:
            return where
        return {"anyOf": [Text(self.what, self.pattern).schema(), where]}


class _Lack(NamedTuple):
    message: str


def _from_file(path: Path) -> str | _Lack:
    """The file's text without one line end: kubectl and editors add one."""
    data = read_file(path, MAX_SECRET_BYTES)
    if isinstance(data, str):
        return _Lack(data)
    text = data.decode(errors="surrogateescape")
    return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")


def read_file(path: Path, most: int) -> bytes | str:
    """A file's content, or else what is wrong with the file."""
    try:
        with path.open("rb") as stream:
            data = stream.read(most + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return f"expected a readable file at {path}, got: {reason}"
    if len(data) > most:
        return f"expected at most {most} bytes in {path}, got more"
    return data
