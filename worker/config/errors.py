"""Configuration errors: each is raised with its place, and collected by what holds the value.

A reader raises ConfigInvalid about its value. A file, a list or a mapping reads each of its values
`with errors:`, so that one reading finds every error, and raises all of them at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAX_ERRORS = 100
MORE_ERRORS = f"there are more errors than these {MAX_ERRORS}: correct them first"


class ConfigError(NamedTuple):
    """One error. Lines and columns count from 1; an error that is not about one place has none."""

    file: str | None
    line: int | None
    column: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = [str(part) for part in (self.file, self.line, self.column) if part is not None]
        return ": ".join(filter(None, (":".join(place), self.key, self.message)))


class ConfigInvalid(Exception):
    """One or more errors, file by file in the order of their places."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__("\n".join(map(str, errors)))
        files = list(dict.fromkeys(error.file for error in errors))
        self.errors = sorted(
            errors, key=lambda e: (files.index(e.file), e.line or 0, e.column or 0)
        )


class Place(NamedTuple):
    """The place of a value, and its key, such as `broadcasts[2].expect.status`."""

    file: str | None = None
    line: int | None = None
    column: int | None = None
    key: str = ""

    def error(self, message: str) -> ConfigInvalid:
        """The exception to raise about the value."""
        return ConfigInvalid([ConfigError(*self, message)])


class Errors:
    """Collects errors: what is raised in a `with errors:` block ends that block only."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def add(self, invalid: ConfigInvalid) -> None:
        """Raises ConfigInvalid at once when there are more than anybody reads."""
        self._found += invalid.errors
        if len(self._found) > MAX_ERRORS:
            last = self._found[MAX_ERRORS]._replace(message=MORE_ERRORS)
            raise ConfigInvalid([*self._found[:MAX_ERRORS], last]) from None

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, raised: object, _traceback: object) -> bool:
        if isinstance(raised, ConfigInvalid):
            self.add(raised)
        return isinstance(raised, ConfigInvalid)

    def raise_any(self) -> None:
        """Raises ConfigInvalid with everything that was collected, unless that is nothing."""
        if self._found:
            raise ConfigInvalid(self._found)
