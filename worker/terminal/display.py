"""Chooses the display of a run: a live view, or plain lines where none can be drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping

from worker.log.setup import Display
from worker.log.sink import Sink
from worker.terminal.console import Lines


def choose(sink: Sink, descriptor: int, environment: Mapping[str, str]) -> Display:
    """The display for the terminal, or else the file, that `sink` writes to."""
    if not os.isatty(descriptor) or environment.get("TERM", "") in {"", "dumb", "unknown"}:
        return Lines(sink)
    try:
        from worker.terminal.screen import Screen  # the image does not have rich
    except ImportError:
        return Lines(sink)
    return Screen(sink, descriptor)
