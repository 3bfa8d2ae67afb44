"""A run's story -> what a person reads: the progress of each broadcast, and a table at the end.

Nothing here writes, except `Lines`, which shows both as plain text. `screen` draws them on a
terminal. The sentence of each event comes from the log.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest

from worker.log.formats import console_line, encode_line, printable
from worker.log.sentences import NOT_CONFIRMED, Event, run_result
from worker.log.sink import Sink
from worker.log.story import CALLING, Progress, Story

NAMED_ENDPOINTS = 3  # of those with the same cause; the log has a line for each
CALLS_FAILED = frozenset({"all_calls_failed", "some_calls_failed"})

Cells = tuple[list[str], ...]  # one row of a table; each cell is a list of lines


def status(progress: Progress, now: float) -> str:
    """Counts, and the time until the deadline."""
    asked = f" verified ({progress.asked} asked)" if progress.verifies else ""
    counts = f"{progress.acknowledged} of {progress.seen}{asked}, {progress.failed} failed"
    return f"{counts}  deadline in {_clock(progress.ends_at - now)}"


def activity(progress: Progress, now: float) -> str:
    """The thing that the broadcast is doing."""
    seconds = math.ceil(progress.until - now)
    if seconds <= 0 or progress.stopping:
        return progress.doing
    if progress.doing == CALLING:
        return f"{CALLING}; failed calls are repeated in {seconds} s"
    return f"{progress.doing}, {seconds} s"


def failures(progress: Progress) -> list[str]:
    """A line for each cause, once the broadcast has ended."""
    lines = [_group(cause, endpoints) for cause, endpoints in progress.missed.items()]
    reason, resolution = progress.reason, progress.resolution
    if reason and reason == resolution.get("error_type"):
        lines.insert(0, f"{reason}: {resolution['error_message']}")
    elif reason and reason not in CALLS_FAILED and reason not in progress.missed:
        lines.insert(0, reason)
    if progress.not_ready:
        lines.append(f"{progress.not_ready} not called, since they are not ready")
    if not reason and not progress.confirmed:
        lines.append(NOT_CONFIRMED)
    return lines


def _group(cause: str, endpoints: Sequence[str]) -> str:
    named = ", ".join(endpoints[:NAMED_ENDPOINTS])
    return f"{len(endpoints)} {cause}: {named}{', …' * (len(endpoints) > NAMED_ENDPOINTS)}"


def _clock(seconds: float) -> str:
    """As 4:05, or 1:04:05."""
    minutes, rest = divmod(math.ceil(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def table(story: Story, stacked: bool = False) -> list[Cells]:
    """Headings and rows of the table at the end, without empty columns. Empty if there is no row.

    `stacked`: hints are below the failures, not in a column of their own. No text in it steers a
    terminal.
    """
    grid: list[Cells] = [(["broadcast"], ["outcome"], ["endpoints"], ["failures"], ["hint"])]
    for each in story.broadcasts.values():
        causes = [printable(failure) for failure in failures(each)]
        hints = [printable(each.hint)] if each.hint else []
        if stacked:
            causes, hints = causes + [f"hint: {hint}" for hint in hints], []
        endpoints = f"{each.acknowledged} of {each.seen}"
        grid.append(([printable(each.name)], [each.outcome], [endpoints], causes, hints))
    columns = [column for column in zip(*grid, strict=True) if any(column[1:])]
    return list(zip(*columns, strict=True))


def plain_table(story: Story) -> list[str]:
    """Lines of the table at the end. Empty if no broadcast has begun."""
    grid = table(story)
    columns = zip(*grid, strict=True)
    widths = [max(len(line) for cell in column for line in cell) for column in columns]
    lines = [
        "  ".join(map(str.ljust, parts, widths)).rstrip()
        for cells in grid
        for parts in zip_longest(*cells, fillvalue="")
    ]
    return ["", *lines, ""] if lines else []


def line(event: Event) -> str:
    """The event as a line. The last one says no more than the table above it leaves out."""
    if event["event"] == "run.finished":
        return console_line({**event, "message": run_result(event)})
    return console_line(event)


def details(event: Event) -> list[str]:
    """Lines below an event's own line: where a bug happened."""
    return [printable(line) for line in event.get("stack", "").splitlines()]


class Lines:
    """A display of plain lines, where no live view can be drawn."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._story = Story()

    def show(self, event: Event, passes: bool) -> None:
        """Writes the event if it passes the log level, and the table before `run.finished`."""
        self._story.observe(event, now=0.0)
        if event["event"] == "run.finished":
            self._write(plain_table(self._story))
        if passes:
            self._write([line(event), *details(event)])

    def _write(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._sink.write(encode_line(line))
