"""The live view on a terminal: draws what `console` makes of the events, laid out by rich.

A thread draws, at most ten times a second, so that no event waits for the terminal. Between two
frames the cursor is visible and stands where the live part begins: whatever ends or suspends the
program, or resizes the terminal, nothing has to be put right (docs/decisions/0012-live-view.md).
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.log.sentences import Event
from worker.log.sink import Sink
from worker.log.story import Progress, Story
from worker.stop import start_thread
from worker.terminal.console import activity, details, line, status, table

FRAME_SECONDS = 0.1
INDENT = "  "
BAR_CELLS = 20
WIDE_COLUMNS = 120  # from here on, hints have a column of their own
NARROW_COLUMNS = 60  # below this, there is no room for a table
ERASE = "\r\x1b[J"  # from the beginning of the line to the end of the screen
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

Lasting = list[Text | Table]


class Screen:
    """A display whose last lines change: one for each running broadcast."""

    def __init__(self, sink: Sink, descriptor: int) -> None:
        self._sink = sink
        self._descriptor = descriptor
        no_color = bool(os.environ.get("NO_COLOR"))  # rich before 14 obeys an empty one, too
        self._console = Console(file=sys.stdout, force_terminal=True, no_color=no_color)
        self._marks: tuple[str, ...] = tuple("#x-" if self._console.options.ascii_only else "━╍─")
        self._story = Story()
        self._above: Lasting = []  # to be drawn above the live part, to stay
        self._drawn: object = None  # the live part on the terminal, and the terminal's size
        self._changing = threading.Lock()  # held while the story or `_above` changes
        self._over = threading.Event()
        self._thread = start_thread(self._draw_until_over)

    def show(self, event: Event, passes: bool) -> None:
        """Takes in the event. Returns at once, except for `run.finished`, which is drawn first."""
        with self._changing:
            self._story.observe(event, time.monotonic())
            self._above += self._lasting(event, passes)
        if event["event"] == "run.finished":
            self._over.set()
            self._thread.join()
            self._draw()

    def _draw_until_over(self) -> None:
        while not self._over.wait(FRAME_SECONDS):
            self._draw()

    # --- what stays above the live part ---------------------------------------------------------

    def _lasting(self, event: Event, passes: bool) -> Lasting:
        """The lines of an event that stay above the live part; none if that shows the event."""
        name, level = event["event"], event["level"]
        if name == "broadcast.finished":
            return [self._final_line(event)]
        if not passes or (level == "info" and not name.startswith("run.")):
            return []
        text = Text(line(event))
        text.stylize("dim", 0, LEVEL_COLUMNS.start)
        text.stylize(STYLES[level], LEVEL_COLUMNS.start, LEVEL_COLUMNS.stop)
        if name == "run.finished":
            text.stylize(STYLES[event["outcome"]], LEVEL_COLUMNS.stop)
            return [*self._table(), text]
        return [text, *map(Text, details(event))]

    def _final_line(self, event: Event) -> Text:
        progress, outcome = self._story.broadcasts[event["broadcast"]], event["outcome"]
        counts = f"{outcome}, {progress.acknowledged} of {progress.seen}"
        text = f"{counts}  {event['duration_seconds']:.1f} s"
        line = self._line(progress, text, self._size().columns)
        line.highlight_words([outcome], STYLES[outcome])
        return line

    def _table(self) -> Lasting:
        width = self._size().columns
        grid = table(self._story, stacked=width < WIDE_COLUMNS)
        if not grid:
            return []
        heading, *lines = grid
        if width < NARROW_COLUMNS:  # each row below the one before
            found = [Text()]
            for (name,), (outcome,), (endpoints,), *others in lines:
                found.append(
                    Text.assemble(f"{name}: ", (outcome, STYLES[outcome]), f", {endpoints}")
                )
                found += [Text(INDENT + line) for cell in others for line in cell]
            return [*found, Text()]
        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for (name,) in heading:
            drawn.add_column(name, overflow="fold", no_wrap=name in {"outcome", "endpoints"})
        for cells in lines:
            texts = [Text("\n".join(cell)) for cell in cells]
            texts[1].stylize(STYLES[texts[1].plain])
            drawn.add_row(*texts)
        return [drawn]

    # --- the live part --------------------------------------------------------------------------

    def _live_lines(self, width: int, most: int) -> list[Text]:
        """A line for each running broadcast, two if there is only one. The others are counted."""
        running, now = self._story.running, time.monotonic()
        shown = running if len(running) <= most else running[: max(most - 1, 1)]
        lines = []
        for each in shown:
            counts, doing = status(each, now), activity(each, now)
            if len(running) > 1:
                lines.append(self._line(each, f"{counts}  {doing}", width))
            else:
                lines += [self._line(each, counts, width), Text(INDENT + doing, "dim")]
        if len(shown) < len(running):
            lines.append(Text(f"{INDENT}and {len(running) - len(shown)} more", "dim"))
        return lines[:most]

    def _line(self, progress: Progress, text: str, width: int) -> Text:
        """Name, bar and text. Names are padded, so that all bars begin in one column."""
        longest = max(len(INDENT + name) for name in self._story.broadcasts)
        name = Text(INDENT + progress.name, "bold")
        room = min(longest, max(width // 3, MIN_NAME_COLUMNS))
        name.truncate(room, overflow="ellipsis", pad=True)
        bar = self._bar(progress) if width >= NARROW_COLUMNS else None
        return Text(" ").join(filter(None, (name, bar, Text(text))))

    def _bar(self, progress: Progress) -> Text:
        """Its parts differ in their marks as well, since colour may be off."""
        seen = progress.seen or 1
        done = BAR_CELLS * progress.acknowledged // seen
        bad = min(math.ceil(BAR_CELLS * progress.failed / seen), BAR_CELLS - done)
        good, failed, waiting = self._marks
        rest = waiting * (BAR_CELLS - done - bad)
        return Text.assemble((good * done, "green"), (failed * bad, "red"), (rest, "dim"))

    # --- drawing --------------------------------------------------------------------------------

    def _size(self) -> os.terminal_size:
        """The terminal's size now, since it may change. Some terminals say that it is 0 by 0."""
        try:
            size = os.get_terminal_size(self._descriptor)
        except OSError:  # it was hung up
            size = os.terminal_size((0, 0))
        return os.terminal_size((size.columns or 80, size.lines or 24))

    def _draw(self) -> None:
        """Replaces the live part, below what is new above it, in one write."""
        size = self._size()
        width = max(size.columns - 1, 1)
        with self._changing:
            above, self._above = self._above, []
            live = self._live_lines(width, max(size.lines - 1, 1))
        if not above and (live, size) == self._drawn:
            return
        self._drawn = live, size
        self._console.width = size.columns
        with self._console.capture() as capture:
            for each in above:
                self._console.print(each, soft_wrap=isinstance(each, Text))
            text = Text("\n").join(live)
            self._console.print(text, no_wrap=True, overflow="ellipsis", width=width, end="")
        back = "\r" + UP.format(len(live) - 1) * (len(live) > 1)
        frame = ERASE + capture.get() + back
        self._sink.write(frame.encode(self._console.encoding, errors="replace"))
