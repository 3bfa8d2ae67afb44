"""What a person sees of a run: log events -> the running broadcast's progress, and a table at the
end. Pure, but for `Lines`, which writes both as plain text.

How they are drawn on a terminal is `screen`'s business; what an event says is `logs`'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import NamedTuple

from worker.log.events import WAITING, Event
from worker.log.formats import console_line, encode_line, printable
from worker.log.sink import Sink

NAMED_ENDPOINTS = 3  # of those that failed alike; each has a line of its own in the log
CALLING = "calling"
CALLS_FAILED = frozenset({"all_calls_failed", "some_calls_failed"})

Column = tuple[str, list[list[str]]]  # its heading, and each row's lines


class Progress(NamedTuple):
    """How far the running broadcast is. Times are of the clock that `View` is told."""

    name: str
    ends_at: float
    round: int = 0
    seen: int = 0
    acknowledged: int = 0
    failed: int = 0  # for good: they are not called again
    doing: str = "asking DNS"
    until: float = 0.0  # for how long, where that is known
    stopping: bool = False

    @property
    def waiting(self) -> int:
        return self.seen - self.acknowledged - self.failed

    def spellings(self, now: float) -> list[str]:
        """The counts, the round and the time left, from the longest to the shortest."""
        done, bad, left = self.acknowledged, self.failed, f"{_clock(self.ends_at - now)} left"
        return [
            f"{done} acknowledged, {bad} failed, {self.waiting} waiting of {self.seen}"
            f"  round {self.round}  {left}",
            f"{done} of {self.seen}, {bad} failed, {self.waiting} waiting"
            f"  round {self.round}  {left}",
            f"{done} of {self.seen}, {bad} failed  {left}",
            f"{done} of {self.seen}",
        ]

    def activity(self, now: float) -> str:
        """What goes on right now."""
        seconds = math.ceil(self.until - now)
        if seconds <= 0 or self.stopping:
            return self.doing
        if self.doing == CALLING:
            return f"{CALLING}; failed calls are repeated in {seconds} s"
        return f"{self.doing}, {seconds} s"


class Row(NamedTuple):
    """One broadcast in the table at the end."""

    broadcast: str
    outcome: str
    endpoints: str
    failures: tuple[str, ...] = ()  # one for each reason
    hint: str = ""


class View:
    """The state of the run as its events tell it. `progress` is replaced, never changed."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.rows: list[Row] = []
        self._missed: dict[str, list[str]] = {}  # reason -> endpoints
        self._causes: dict[str, str] = {}  # endpoint -> why its last call failed, if it did
        self._resolution: Event = {}  # that failed last
        self._observers: dict[str, Callable[[Event, Progress, float], Progress | None]] = {
            "endpoints.resolved": self._resolved,
            "resolution.failed": self._resolution_failed,
            "resolution.waiting": self._waiting,
            "call.succeeded": self._succeeded,
            "call.failed": self._call_failed,
            "shutdown.requested": self._stopping,
            "endpoint.gone": self._endpoint_missed,
            "endpoint.failed": self._endpoint_missed,
            "endpoint.cancelled": self._endpoint_missed,
            "broadcast.finished": self._finished,
            "run.finished": self._broken_off,
        }

    def observe(self, event: Event, now: float) -> None:
        name = event["event"]
        if name == "broadcast.started":
            self.progress = Progress(event["broadcast"], now + event["deadline_seconds"])
            self._missed, self._causes, self._resolution = {}, {}, {}
        elif self.progress and name in self._observers:
            self.progress = self._observers[name](event, self.progress, now)

    def _resolved(self, event: Event, progress: Progress, _now: float) -> Progress:
        seen = progress.seen + event["newcomers"]
        return _turn(progress._replace(seen=seen), CALLING, round=event["round"])

    def _resolution_failed(self, event: Event, progress: Progress, _now: float) -> Progress:
        self._resolution = event
        return _turn(progress, "asking DNS again", round=event["round"])

    def _waiting(self, event: Event, progress: Progress, now: float) -> Progress:
        doing = f"waiting {WAITING[event['reason']]}"
        return _turn(progress, doing, until=now + event["wait_seconds"])

    def _succeeded(self, event: Event, progress: Progress, _now: float) -> Progress:
        self._causes.pop(event["endpoint"], None)
        return progress._replace(acknowledged=progress.acknowledged + 1)

    def _call_failed(self, event: Event, progress: Progress, now: float) -> Progress:
        status = event["error_type"] == "status"
        cause = f"status {event['status_code']}" if status else event["error_type"]
        self._causes[event["endpoint"]] = cause
        if "retry_in_seconds" not in event:
            return progress._replace(failed=progress.failed + 1)
        until = max(progress.until, now + event["retry_in_seconds"])
        return _turn(progress, CALLING, until=until)

    def _stopping(self, event: Event, progress: Progress, _now: float) -> Progress:
        doing = f"stopping after {event['signal']}: calls in flight may end"
        return progress._replace(doing=doing, stopping=True)

    def _endpoint_missed(self, event: Event, progress: Progress, _now: float) -> Progress:
        endpoint, cause = event["endpoint"], event.get("error_type")
        verdict = event["event"].removeprefix("endpoint.")
        if verdict != "failed":
            cause = f"{verdict}, {cause}" if cause else verdict
        elif cause == "status":
            cause = self._causes[endpoint]
        self._missed.setdefault(cause or verdict, []).append(endpoint)
        return progress

    def _finished(self, event: Event, progress: Progress, _now: float) -> None:
        self.rows.append(
            Row(
                progress.name,
                event["outcome"],
                f"{event['acknowledged']} of {event['seen']}",
                tuple(self._failures(event)),
                event.get("hint", ""),
            )
        )

    def _broken_off(self, _event: Event, progress: Progress, _now: float) -> None:
        endpoints = f"{progress.acknowledged} of {progress.seen}"
        self.rows.append(Row(progress.name, "broken off", endpoints))

    def _failures(self, event: Event) -> list[str]:
        """What keeps the broadcast from being complete, or from being sure of it."""
        lines = [_group(cause, endpoints) for cause, endpoints in self._missed.items()]
        reason = event.get("reason")
        if reason and reason == self._resolution.get("error_type"):
            lines.insert(0, f"{reason}: {self._resolution['error_message']}")
        elif reason and reason not in CALLS_FAILED and reason not in self._missed:
            lines.insert(0, reason)
        if not reason and not event["confirmed"]:
            lines.append("no newer DNS answer confirmed it")
        return lines


def _turn(progress: Progress, doing: str, until: float = 0.0, round: int = 0) -> Progress:  # noqa: A002
    """Something else goes on now, unless a stop signal has ended all that."""
    number = round or progress.round
    if progress.stopping:
        return progress._replace(round=number)
    return progress._replace(round=number, doing=doing, until=until)


def _group(cause: str, endpoints: Sequence[str]) -> str:
    named = ", ".join(endpoints[:NAMED_ENDPOINTS])
    return f"{len(endpoints)} {cause}: {named}{', …' * (len(endpoints) > NAMED_ENDPOINTS)}"


def _clock(seconds: float) -> str:
    """As 4:05, or 1:04:05."""
    minutes, rest = divmod(math.ceil(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def columns(rows: Sequence[Row], stacked: bool = False) -> list[Column]:
    """The table at the end, without columns that are empty; stacked: hints below failures."""
    found: list[Column] = [
        ("broadcast", [[row.broadcast] for row in rows]),
        ("outcome", [[row.outcome] for row in rows]),
        ("endpoints", [[row.endpoints] for row in rows]),
    ]
    failures = [[printable(line) for line in row.failures] for row in rows]
    hints = [[printable(row.hint)] if row.hint else [] for row in rows]
    if stacked:
        for lines, hint in zip(failures, hints, strict=True):
            lines += [f"hint: {text}" for text in hint]
        hints = []
    found += [("failures", failures)] if any(failures) else []
    found += [("hint", hints)] if any(hints) else []
    return found


def plain_table(rows: Sequence[Row]) -> list[str]:
    """Its lines; none if no broadcast has begun."""
    if not rows:
        return []
    laid_out = []
    for heading, cells in columns(rows):
        width = max(len(line) for line in [heading, *(line for cell in cells for line in cell)])
        padded = [[line.ljust(width) for line in cell] for cell in [[heading], *cells]]
        laid_out.append((" " * width, padded))
    lines = []
    blanks = [blank for blank, _ in laid_out]
    for number in range(len(rows) + 1):
        for parts in zip_longest(*(cells[number] for _, cells in laid_out)):
            texts = [part or blank for part, blank in zip(parts, blanks, strict=True)]
            lines.append("  ".join(texts).rstrip())
    return ["", *lines, ""]


def no_excerpt(_event: Event) -> str:
    """In place of what shows the line of a configuration file that an error speaks of."""
    return ""


def details(event: Event, excerpt: Callable[[Event], str]) -> list[str]:
    """What stands below an event's line: a bug's stack, and of config.invalid an excerpt."""
    text = excerpt(event) if event["event"] == "config.invalid" else event.get("stack", "")
    return [printable(line) for line in text.splitlines()]


class Lines:
    """A display of plain lines, for where no live view can be drawn."""

    def __init__(self, sink: Sink, excerpt: Callable[[Event], str] = no_excerpt) -> None:
        self._sink = sink
        self._excerpt = excerpt
        self._view = View()

    def show(self, event: Event, passes: bool) -> None:
        self._view.observe(event, now=0.0)
        if event["event"] == "run.finished":
            self._write(plain_table(self._view.rows))
        if passes:
            self._write([console_line(event), *details(event, self._excerpt)])

    def _write(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._sink.write(encode_line(line))
