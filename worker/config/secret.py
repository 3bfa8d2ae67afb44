"""Values that come from the environment or a file: read once, and never shown."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from worker.config.values import NOT_SHOWN, PEM, Described, Fields, Schema, Scope, Text, describe
from worker.config.yaml import Node

MAX_SECRET_BYTES = 64 * 1024

ENV_NAME = Text(
    "the name of an environment variable such as PURGE_TOKEN",
    r"[A-Za-z_][A-Za-z0-9_.-]*",
    secret=True,
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
    exactly_one=True,
)
# The forms that a shell or Kubernetes would expand, as far as they are certainly no secret.
VARIABLE = re.compile(r"\$(\{)?(\()?([A-Z_][A-Z0-9_]{0,99})(?(1)\})(?(2)\))")


class Secret(NamedTuple):
    """A value from the environment or a file. With `literal` it may be written in place as well."""

    what: str
    pattern: str
    literal: bool = False

    def read(self, node: Node, scope: Scope) -> str:
        if not isinstance(node.value, dict):
            if self.literal:
                return Text(self.what, self.pattern, secret=True).read(node, scope)
            raise node.error(f"expected {WHERE.what}: {_instead(node)}")
        value = self.value(node, scope)
        scope.secrets.add(value)
        return value

    def value(self, node: Node, scope: Scope) -> str:
        """What `{env: NAME}` or `{file: PATH}` stands for."""
        where = WHERE.read(node, scope)
        if "env" in where:
            value = _from_environment(where["env"], node, scope)
        else:
            value = _from_file(where["file"], node, scope)
        if problem := self._problem(value):
            raise node.error(f"expected {self.what}, got {problem}")
        return value

    def _problem(self, value: str) -> str:
        """The reason why it cannot be used, without showing it; empty if it can."""
        if not value:
            return "an empty value"
        if re.search(r"[\x00-\x1f\x7f-\x9f]", value):
            return "a value with a control character"
        if re.search("[\ud800-\udfff]", value):
            return "a value that is not UTF-8"
        return "" if re.fullmatch(self.pattern, value, re.ASCII) else NOT_SHOWN

    def schema(self) -> Schema:
        if not self.literal:
            return WHERE.schema()
        return {"anyOf": [Text(self.what, self.pattern).schema(), WHERE.schema()]}


def _instead(node: Node) -> str:
    """The mistake in a value that is written in place."""
    variable = VARIABLE.fullmatch(node.value) if isinstance(node.value, str) else None
    if variable:
        return f"`{variable[0]}` is not expanded here, write {{env: {variable[3]}}}"
    if node.value is None or isinstance(node.value, tuple):
        return f"got {describe(node)}"
    return "no secret belongs in this file"


def _from_environment(name: str, node: Node, scope: Scope) -> str:
    if name in scope.environment:
        return scope.environment[name]
    # A token may be written where the name of its variable belongs: that is not shown.
    shown_name = name if re.fullmatch("[A-Z_][A-Z0-9_]{0,99}", name) else "that env names"
    raise node.error(f"the environment variable {shown_name} is not set")


def _from_file(name: str, node: Node, scope: Scope) -> str:
    """The file's text, which is read once, however many values it stands for."""
    path = scope.folder / name
    if path not in scope.texts:
        with regular_file(name, MAX_SECRET_BYTES, node, scope) as stream:
            scope.texts[path] = _without_line_end(stream.read(MAX_SECRET_BYTES))
    return scope.texts[path]


def _without_line_end(data: bytes) -> str:
    """The text without one line end: kubectl and editors add one."""
    text = data.decode(errors="surrogateescape")
    return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


@contextmanager
def regular_file(name: str, most: int, node: Node, scope: Scope) -> Iterator[BinaryIO]:
    """The regular file that the value names, of at most so many bytes, open for reading.

    Raises ConfigInvalid, also about what fails while it is open. Whoever may edit the configuration
    is not to read the process's environment or memory by it, nor to make it wait for a pipe.
    """
    path = scope.folder / name
    try:
        named = Path(os.path.normpath(path)), path.resolve()
        if any(each.is_relative_to(kernel) for each in named for kernel in ("/proc", "/sys")):
            raise node.error(f"expected a file that is not below /proc or /sys, got {path}")
        with open(path, "rb", opener=_open_without_waiting) as stream:
            state = os.fstat(stream.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise node.error(f"expected a regular file at {path}, got a pipe or a device")
            if state.st_size > most:
                raise node.error(f"expected at most {most} bytes in {path}, got more")
            yield stream
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise node.error(f"expected a readable file at {path}, got: {reason}") from None
