"""The events of a run -> the state of the run, for a display or for a reader of a log.

`Story.observe` takes in one event after another. `terminal` shows the state.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.log.sentences import WAITING, Event, endpoint

CALLING = "calling"


@dataclass
class Progress:
    """The state of one broadcast. Times are seconds of the clock that `Story.observe` is told."""

    name: str
    ends_at: float
    seen: int = 0
    acknowledged: int = 0
    failed: int = 0  # not called again, as far as is known; at the end also cancelled
    doing: str = "asking for endpoints"
    until: float = 0.0  # the time at which that ends, if it is known
    stopping: bool = False
    verifies: bool = False  # then also:
    asked: int = 0  # endpoints that took the request
    missed: dict[str, list[str]] = field(default_factory=dict)  # cause -> endpoints
    resolution: Event = field(default_factory=dict)  # the last resolution.failed
    statuses: dict[str, int | None] = field(default_factory=dict)  # endpoint -> its last failure's
    outcome: str = ""  # once it has ended; then also:
    reason: str = ""
    confirmed: bool = True
    not_ready: int = 0
    hint: str = ""

    def observe(self, event: Event, now: float) -> None:
        """Takes in an event of this broadcast, or of the whole run."""
        match event["event"]:
            case "endpoints.resolved":
                self.seen += event["newcomers"]
                self._turn_to(CALLING)
            case "resolution.failed":
                self.resolution = event
                self._turn_to("asking again")
            case "resolution.waiting":
                self._turn_to(f"waiting {WAITING[event['reason']]}", now + event["wait_seconds"])
            case "call.succeeded" | "call.failed" | "verify.succeeded" | "verify.failed":
                self._observe_call(event, now)
            case "endpoint.gone" | "endpoint.failed" | "endpoint.cancelled":
                self.missed.setdefault(self._cause(event), []).append(endpoint(event))
            case "shutdown.requested":
                self._turn_to(f"stopping after {event['signal']}: calls in flight may end")
                self.stopping = True
            case "broadcast.finished":
                self.outcome, self.confirmed = event["outcome"], event["confirmed"]
                self.reason, self.hint = event.get("reason", ""), event.get("hint", "")
                self.not_ready = event.get("not_ready", 0)
                self.seen, self.acknowledged = event["seen"], event["acknowledged"]
                self.failed = event["failed"] + event["cancelled"]
            case "run.finished":
                self.outcome = "broken off"

    def _turn_to(self, doing: str, until: float = 0.0) -> None:
        if not self.stopping:
            self.doing, self.until = doing, until

    def _observe_call(self, event: Event, now: float) -> None:
        what = event["event"]
        if what == "call.failed":
            self._observe_failed_call(event, now)
        elif what == "verify.failed":
            self.failed += 1
        elif what == "verify.succeeded" or not self.verifies:
            self.acknowledged += 1
        else:
            self.asked += 1
            self._turn_to("verifying")

    def _observe_failed_call(self, event: Event, now: float) -> None:
        self.statuses[event["endpoint"]] = event.get("status_code")
        if "retry_in_seconds" in event:
            self._turn_to(CALLING, max(self.until, now + event["retry_in_seconds"]))
        else:
            self.failed += 1

    def _cause(self, event: Event) -> str:
        """The reason why an endpoint was missed, in a few words."""
        verdict, cause = event["event"].removeprefix("endpoint."), event.get("error_type", "")
        if cause == "status":
            cause = f"status {self.statuses.get(event['endpoint'])}"
        return cause if verdict == "failed" else ", ".join(filter(None, (verdict, cause)))


class Story:
    """The whole run. Events of several broadcasts may interleave."""

    def __init__(self) -> None:
        self.broadcasts: dict[str, Progress] = {}  # by name, in the order in which they began

    @property
    def running(self) -> list[Progress]:
        """Broadcasts that have begun and not ended."""
        return [progress for progress in self.broadcasts.values() if not progress.outcome]

    def observe(self, event: Event, now: float) -> None:
        """Takes in the next event. `now`: seconds of a monotonic clock."""
        if event["event"] == "broadcast.started":
            name = event["broadcast"]
            progress = Progress(name, now + event["deadline_seconds"])
            progress.verifies = bool(event.get("verify"))
            self.broadcasts[name] = progress
            return
        for progress in self.running:
            # An event that names no broadcast is about all of them.
            if event.get("broadcast", progress.name) == progress.name:
                progress.observe(event, now)
