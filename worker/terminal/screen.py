"""The live view on a terminal: draws with rich what `console` makes of the events.

A thread draws, ten times a second at most, so that no event waits for the terminal. Between two
frames the visible cursor stands where the live part begins: whatever ends or suspends the
program, or resizes the terminal, nothing is left to be put right.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.log.events import Event
from worker.log.formats import console_line
from worker.log.sink import Sink
from worker.terminal.console import Column, Progress, View, columns, details, no_excerpt

FRAME_SECONDS = 0.1
INDENT = "  "
BAR_CELLS = (10, 40)  # at least, at most
WIDE_COLUMNS = 120  # from here on hints have a column of their own
NARROW_COLUMNS = 60  # up to here there is no room for a table
ERASE = "\r\x1b[J"  # from the line's beginning to the screen's end
UP = "\x1b[{}A"
LEVEL_COLUMNS = slice(13, 20)  # in a console line
MIN_NAME_COLUMNS = 12
STYLES = {
    "info": "",
    "warning": "yellow",
    "error": "red",
    "complete": "green",
    "partial": "yellow",
    "failed": "red",
    "broken off": "red",
}


class Screen:
    """A display whose last lines are alive."""

    def __init__(
        self, sink: Sink, descriptor: int, excerpt: Callable[[Event], str] = no_excerpt
    ) -> None:
        self._sink = sink
        self._descriptor = descriptor
        self._excerpt = excerpt
        no_color = bool(os.environ.get("NO_COLOR"))  # rich before 14 heeds an empty one, too
        self._console = Console(file=sys.stdout, force_terminal=True, no_color=no_color)
        self._marks: tuple[str, ...] = tuple("#x-" if self._console.options.ascii_only else "━x─")
        self._view = View()
        self._above: list[Text | Table] = []  # what is to stay above the live part, not drawn yet
        self._drawn: list[Text] = []  # the live part as it stands there
        self._changing = threading.Lock()  # the view and what is above
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def show(self, event: Event, passes: bool) -> None:
        with self._changing:
            before = self._view.progress
            self._view.observe(event, time.monotonic())
            self._above += self._lasting(event, passes, before)
        if event["event"] == "broadcast.started" and not self._thread:
            self._start()
        if event["event"] == "run.finished":
            self._over.set()
            if self._thread:
                self._thread.join()
        if not self._thread or self._over.is_set():
            self._draw()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._draw_until_over, daemon=True)
        # Signals are the main thread's: a system call that one interrupts waits without a bound.
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)

    def _draw_until_over(self) -> None:
        while not self._over.wait(FRAME_SECONDS):
            self._draw()

    # --- what is drawn --------------------------------------------------------------------------

    def _lasting(
        self, event: Event, passes: bool, before: Progress | None
    ) -> Sequence[Text | Table]:
        """What stays of an event. Of the others the live part tells."""
        name, level = event["event"], event["level"]
        if name == "broadcast.finished" and before:
            return [self._final_line(before, event)]
        if not passes or (level == "info" and not name.startswith("run.")):
            return []
        line = Text(console_line(event))
        line.stylize("dim", 0, LEVEL_COLUMNS.start)
        line.stylize(STYLES[level], LEVEL_COLUMNS.start, LEVEL_COLUMNS.stop)
        below = [Text(line) for line in details(event, self._excerpt)]
        if name == "run.finished":
            line.stylize(STYLES[event["outcome"]], LEVEL_COLUMNS.stop)
            return [*self._table(), line]
        return [line, *below]

    def _table(self) -> list[Text | Table]:
        rows, width = self._view.rows, self._size().columns
        if not rows:
            return []
        found = columns(rows, stacked=width < WIDE_COLUMNS)
        if width < NARROW_COLUMNS:
            return _paragraphs(found)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for heading, _ in found:
            table.add_column(heading, overflow="fold", no_wrap=heading in {"outcome", "endpoints"})
        for number, row in enumerate(rows):
            cells = [Text("\n".join(lines[number])) for _, lines in found]
            cells[1].stylize(STYLES[row.outcome])
            table.add_row(*cells)
        return [table]

    def _live_lines(self, progress: Progress, width: int) -> list[Text]:
        now = time.monotonic()
        line = self._bar_line(progress, progress.spellings(now), width)
        return [line, _fit(Text(INDENT + progress.activity(now), "dim"), width)]

    def _final_line(self, progress: Progress, event: Event) -> Text:
        failed = event["failed"] + event["cancelled"]
        counts = progress._replace(
            seen=event["seen"], acknowledged=event["acknowledged"], failed=failed
        )
        outcome, seconds = event["outcome"], event["duration_seconds"]
        text = f"{outcome}, {counts.acknowledged} of {counts.seen}"
        line = self._bar_line(counts, [f"{text}  {seconds:.1f} s", text], self._size().columns - 1)
        line.highlight_words([outcome], STYLES[outcome])
        return line

    def _bar_line(self, progress: Progress, spellings: Sequence[str], width: int) -> Text:
        """The name, a bar, and the longest spelling that leaves room for it; else no bar."""
        least, most = BAR_CELLS
        name = _fit(Text(INDENT + progress.name, "bold"), max(width // 3, MIN_NAME_COLUMNS))
        for spelling in spellings:
            cells = width - name.cell_len - len(spelling) - 2
            if cells >= least:
                bar = self._bar(progress, min(cells, most))
                return Text.assemble(name, " ", bar, " ", spelling)
        return _fit(Text.assemble(name, " ", spellings[-1]), width)

    def _bar(self, progress: Progress, cells: int) -> Text:
        """Told apart by their marks, too: colour may be off."""
        seen = progress.seen or 1
        done = cells * progress.acknowledged // seen
        bad = min(math.ceil(cells * progress.failed / seen), cells - done)
        good, failed, waiting = self._marks
        return Text.assemble(
            (good * done, "green"), (failed * bad, "red"), (waiting * (cells - done - bad), "dim")
        )

    # --- how it is drawn ------------------------------------------------------------------------

    def _size(self) -> os.terminal_size:
        """As of now: it may be resized. Some terminals say that they are 0 by 0."""
        try:
            size = os.get_terminal_size(self._descriptor)
        except OSError:  # it was hung up
            size = os.terminal_size((0, 0))
        return os.terminal_size((size.columns or 80, size.lines or 24))

    def _draw(self) -> None:
        """Replaces the live part, below what is new above it, in one write."""
        size = self._size()
        with self._changing:
            above, self._above = self._above, []
            progress = self._view.progress
        live = self._live_lines(progress, size.columns - 1) if progress else []
        live = live[: max(size.lines - 1, 1)]
        if not above and live == self._drawn:
            return
        self._drawn = live
        self._console.width = size.columns
        with self._console.capture() as capture:
            for each in above:
                self._console.print(each, soft_wrap=isinstance(each, Text))
            self._console.print(Text("\n").join(live), soft_wrap=True, end="")
        back = "\r" + UP.format(len(live) - 1) * (len(live) > 1)
        frame = ERASE + capture.get() + back
        self._sink.write(frame.encode(self._console.encoding, errors="replace"))


def _paragraphs(table: Sequence[Column]) -> list[Text | Table]:
    """The table's content, a row below the other."""
    lines: list[Text | Table] = [Text()]
    for (name,), (outcome,), (endpoints,), *others in zip(*(c for _, c in table), strict=True):
        first = Text.assemble(f"{name}: ", (outcome, STYLES[outcome]), f", {endpoints}")
        lines += [first, *(Text(INDENT + line) for cell in others for line in cell)]
    return [*lines, Text()]


def _fit(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    return text
