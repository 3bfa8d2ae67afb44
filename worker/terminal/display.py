"""Which display shows a run to a person: a live view, or plain lines where none can be drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping

from worker.config.errors import ConfigError
from worker.log.events import Event
from worker.log.setup import Display
from worker.log.sink import Sink
from worker.terminal import excerpt
from worker.terminal.console import Lines


def choose(sink: Sink, descriptor: int, environment: Mapping[str, str]) -> Display:
    """The display for the terminal, or else the file, that `sink` writes to."""
    if not os.isatty(descriptor):
        return Lines(sink)

    def excerpt_of(event: Event) -> str:
        """Of a config.invalid event."""
        file, line, column = (event.get(name) for name in ("config_file", "line", "column"))
        error = ConfigError(file, line, column, event.get("key", ""), event["error_message"])
        return excerpt.below(error, columns(descriptor))

    if environment.get("TERM", "") in {"", "dumb", "unknown"}:
        return Lines(sink, excerpt_of)
    try:
        from worker.terminal.screen import Screen  # takes a tenth of a second, and may lack rich
    except ImportError:
        return Lines(sink, excerpt_of)
    return Screen(sink, descriptor, excerpt_of)


def columns(descriptor: int) -> int:
    """How wide the terminal is, in characters. Some say that they are 0 wide."""
    return os.get_terminal_size(descriptor).columns or 80
