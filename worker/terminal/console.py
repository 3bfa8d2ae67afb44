"""What a person sees of a run: events -> the progress of each broadcast, and a table at the end.

Nothing here writes, except `Lines`, which shows both as plain text. `screen` draws them on a
terminal. The sentence of each event comes from the log.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from worker.log.events import NOT_CONFIRMED, WAITING, Event
from worker.log.formats import console_line, encode_line, printable
from worker.log.sink import Sink

NAMED_ENDPOINTS = 3  # of those with the same cause; the log has a line for each
CALLING = "calling"
CALLS_FAILED = frozenset({"all_calls_failed", "some_calls_failed"})

Cells = tuple[list[str], ...]  # one row of a table; each cell is a list of lines


@dataclass
class Progress:
    """How far one broadcast is. Times are seconds of the clock that `View.observe` is told."""

    name: str
    ends_at: float
    round: int = 0
    seen: int = 0
    acknowledged: int = 0
    failed: int = 0  # and will not be called again
    outcome: str = ""  # once it has ended
    failures: list[str] = field(default_factory=list)  # then: one line for each cause
    hint: str = ""
    _doing: str = "asking for endpoints"
    _until: float = 0.0  # when that ends, if it is known
    _stopping: bool = False
    _statuses: dict[str, int | None] = field(default_factory=dict)  # endpoint -> its last failure's
    _missed: dict[str, list[str]] = field(default_factory=dict)  # cause -> endpoints
    _resolution: Event = field(default_factory=dict)  # the last resolution.failed

    def spellings(self, now: float, alone: bool = True) -> list[str]:
        """Counts and the time until the deadline, from the longest text to the shortest.

        alone: no other broadcast is running, so that `activity` has a line of its own.
        """
        done, bad = self.acknowledged, self.failed
        waiting = self.seen - done - bad
        left, rest = f"deadline in {_clock(self.ends_at - now)}", f"round {self.round}"
        short = f"{done} of {self.seen}, {bad} failed"
        long = [
            f"{done} acknowledged, {bad} failed, {waiting} waiting of {self.seen}  {rest}  {left}",
            f"{short}, {waiting} waiting  {rest}  {left}",
        ]
        if not alone:
            long = [f"{short}  {left}  {self.activity(now)}"]
        return [*long, f"{short}  {left}", short, f"{done} of {self.seen}"]

    def activity(self, now: float) -> str:
        """What the broadcast is doing."""
        seconds = math.ceil(self._until - now)
        if seconds <= 0 or self._stopping:
            return self._doing
        if self._doing == CALLING:
            return f"{CALLING}; failed calls are repeated in {seconds} s"
        return f"{self._doing}, {seconds} s"

    def observe(self, event: Event, now: float) -> None:
        """Takes in an event of this broadcast, or of the whole run."""
        match event["event"]:
            case "endpoints.resolved":
                self.seen += event["newcomers"]
                self.round = event["round"]
                self._turn_to(CALLING)
            case "resolution.failed":
                self.round, self._resolution = event["round"], event
                self._turn_to("asking again")
            case "resolution.waiting":
                self._turn_to(f"waiting {WAITING[event['reason']]}", now + event["wait_seconds"])
            case "call.succeeded":
                self.acknowledged += 1
            case "call.failed":
                self._observe_failed_call(event, now)
            case "endpoint.gone" | "endpoint.failed" | "endpoint.cancelled":
                self._missed.setdefault(self._cause(event), []).append(event["endpoint"])
            case "shutdown.requested":
                self._turn_to(f"stopping after {event['signal']}: calls in flight may end")
                self._stopping = True
            case "broadcast.finished":
                self._finish(event)
            case "run.finished":
                self.outcome = "broken off"

    def _turn_to(self, doing: str, until: float = 0.0) -> None:
        if not self._stopping:
            self._doing, self._until = doing, until

    def _observe_failed_call(self, event: Event, now: float) -> None:
        self._statuses[event["endpoint"]] = event.get("status_code")
        if "retry_in_seconds" in event:
            self._turn_to(CALLING, max(self._until, now + event["retry_in_seconds"]))
        else:
            self.failed += 1

    def _cause(self, event: Event) -> str:
        """Why an endpoint was missed, in a few words."""
        verdict, cause = event["event"].removeprefix("endpoint."), event.get("error_type", "")
        if cause == "status":
            cause = f"status {self._statuses.get(event['endpoint'])}"
        return cause if verdict == "failed" else ", ".join(filter(None, (verdict, cause)))

    def _finish(self, event: Event) -> None:
        self.outcome, self.hint = event["outcome"], event.get("hint", "")
        self.seen, self.acknowledged = event["seen"], event["acknowledged"]
        self.failed = event["failed"] + event["cancelled"]
        self.failures = [_group(cause, endpoints) for cause, endpoints in self._missed.items()]
        reason = event.get("reason")
        if reason and reason == self._resolution.get("error_type"):
            self.failures.insert(0, f"{reason}: {self._resolution['error_message']}")
        elif reason and reason not in CALLS_FAILED and reason not in self._missed:
            self.failures.insert(0, reason)
        if not reason and not event["confirmed"]:
            self.failures.append(NOT_CONFIRMED)


class View:
    """The state of the run as its events tell it. Events of several broadcasts may interleave."""

    def __init__(self) -> None:
        self.broadcasts: dict[str, Progress] = {}  # by name, in the order in which they began

    @property
    def running(self) -> list[Progress]:
        """Broadcasts that have begun and not ended."""
        return [progress for progress in self.broadcasts.values() if not progress.outcome]

    def observe(self, event: Event, now: float) -> None:
        """Takes in the next event. now: seconds of a monotonic clock."""
        if event["event"] == "broadcast.started":
            name = event["broadcast"]
            self.broadcasts[name] = Progress(name, now + event["deadline_seconds"])
            return
        for progress in self.running:
            # An event that names no broadcast is about all of them.
            if event.get("broadcast", progress.name) == progress.name:
                progress.observe(event, now)


def _group(cause: str, endpoints: Sequence[str]) -> str:
    named = ", ".join(endpoints[:NAMED_ENDPOINTS])
    return f"{len(endpoints)} {cause}: {named}{', …' * (len(endpoints) > NAMED_ENDPOINTS)}"


def _clock(seconds: float) -> str:
    """As 4:05, or 1:04:05."""
    minutes, rest = divmod(math.ceil(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def table(view: View, stacked: bool = False) -> list[Cells]:
    """Headings and rows of the table at the end, without empty columns. None if there is no row.

    stacked: hints are below the failures, not in a column of their own. No text in it steers a
    terminal.
    """
    grid: list[Cells] = [(["broadcast"], ["outcome"], ["endpoints"], ["failures"], ["hint"])]
    for each in view.broadcasts.values():
        failures = [printable(failure) for failure in each.failures]
        hints = [printable(each.hint)] if each.hint else []
        if stacked:
            failures, hints = failures + [f"hint: {hint}" for hint in hints], []
        endpoints = f"{each.acknowledged} of {each.seen}"
        grid.append(([printable(each.name)], [each.outcome], [endpoints], failures, hints))
    columns = [column for column in zip(*grid, strict=True) if any(column[1:])]
    return list(zip(*columns, strict=True))


def plain_table(view: View) -> list[str]:
    """Lines of the table at the end. None if no broadcast has begun."""
    grid = table(view)
    columns = zip(*grid, strict=True)
    widths = [max(len(line) for cell in column for line in cell) for column in columns]
    lines = [
        "  ".join(map(str.ljust, parts, widths)).rstrip()
        for cells in grid
        for parts in zip_longest(*cells, fillvalue="")
    ]
    return ["", *lines, ""] if lines else []


def details(event: Event) -> list[str]:
    """Lines below an event's own line: where a bug happened."""
    return [printable(line) for line in event.get("stack", "").splitlines()]


class Lines:
    """A display of plain lines, where no live view can be drawn."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._view = View()

    def show(self, event: Event, passes: bool) -> None:
        """Writes the event if it passes the log level, and the table before `run.finished`."""
        self._view.observe(event, now=0.0)
        if event["event"] == "run.finished":
            self._write(plain_table(self._view))
        if passes:
            self._write([console_line(event), *details(event)])

    def _write(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._sink.write(encode_line(line))
