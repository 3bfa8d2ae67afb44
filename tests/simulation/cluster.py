"""A cluster in virtual time: pods with a history, a DNS that caches, lies late, and breaks, and an
API that tells the truth or nothing.

A history is data, so that Hypothesis can make and shrink it. Nothing here waits or opens a socket.
"""

from __future__ import annotations

import heapq
import itertools
import math
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from worker.calls.loop import Ended
from worker.model import (
    Answer,
    Broadcast,
    CallResult,
    Endpoint,
    Exchange,
    ResolutionFailure,
    Target,
)
from worker.rounds.world import Message
from worker.stop import Done, StopSignal
from worker.words import CallError, ResolutionError

MAX_STEPS = 5000

DnsError = Literal["dns_servfail", "dns_timeout", "dns_truncated", "dns_refused", "outside_cluster"]
ListsNobody = Literal["lists_nobody"]
Behaviour = Literal["ok", "503", "404", "hang", "reset"]
API_FAULTS: dict[str, tuple[ResolutionError, float]] = {  # and how long not to ask again
    "dns_servfail": ("api_unreachable", 3.0),
    "dns_timeout": ("api_unreachable", 0.0),
    "dns_refused": ("api_forbidden", 0.0),
    "dns_truncated": ("api_error", 0.0),
    "outside_cluster": ("outside_cluster", 0.0),
}
PORT = 8080  # of every broadcast
QNAME = "web.shop.svc.cluster.local"


@dataclass(frozen=True)
class PodState:
    """From `at` on: whether the pod accepts connections, is listed in DNS, and what it answers.

    The API lists it as ready or not, as long as it `exists`. Once it did not, whoever exists next
    on its address is another pod.
    """

    at: float
    listening: bool
    listed: bool
    behaviour: Behaviour = "ok"
    seconds: float = 0.01  # that a call takes
    retry_after_seconds: float | None = None  # of its 503
    exists: bool = True
    shows: bool = True  # the effect of the request, to who polls


NOBODY = PodState(-1, listening=False, listed=False, exists=False)


@dataclass(frozen=True)
class Fault:
    """Between two times, DNS does not answer, or lists nobody: a server that is not synced yet.

    With several servers, by their turns, only one of them may have it. Where the API is asked, it
    fails instead: API_FAULTS.
    """

    begins_at: float
    ends_at: float
    error_type: DnsError | ListsNobody
    server: int | None = None  # None: all of them


@dataclass(frozen=True)
class Cache:
    """A DNS server: 0 `holds_seconds` is no cache. A copy's TTL counts down, and its last is served
    with TTL 0 for `stale_seconds`. `lists_at_most`: as kube-dns lists 1,000 addresses.
    """

    ttl_seconds: int = 5
    holds_seconds: int = 0
    stale_seconds: int = 0
    lists_at_most: int = 1000


@dataclass(frozen=True)
class History:
    """All that happens to one Service. `pods` are states by address, each in order of time."""

    pods: tuple[tuple[PodState, ...], ...]
    caches: tuple[Cache, ...] = (Cache(),)
    turns: tuple[int, ...] = (0,)  # which cache answers, in turn
    faults: tuple[Fault, ...] = ()
    dns_seconds: float = 0.002


@dataclass(frozen=True)
class Scenario:
    """One run: its broadcasts, each with its Service, and what is done to the run as a whole."""

    entries: tuple[tuple[Broadcast, History], ...]
    sequential: bool = False
    deadline_at: float = math.inf
    stop_at: float = math.inf
    stop_again_at: float = math.inf
    grace_seconds: float = 5.0
    stands_still: tuple[tuple[float, float], ...] = ()  # when it does, and for how many seconds

    @property
    def broadcasts(self) -> tuple[Broadcast, ...]:
        return tuple(broadcast for broadcast, _ in self.entries)

    @property
    def cut_at(self) -> float:
        """When calls in flight are cut because of the stop signals."""
        return min(self.stop_at + self.grace_seconds, self.stop_again_at)


@dataclass(frozen=True)
class SimulatedCall:
    """What the cluster saw of one call. `number` is the broadcast's."""

    number: int
    endpoint: Endpoint
    began_at: float
    ended_at: float
    result: CallResult


@dataclass(frozen=True)
class SimulatedQuestion:
    """One question to DNS, and what came of it."""

    number: int
    asked_at: float
    arrived_at: float
    answer: Answer | ResolutionFailure


@dataclass
class SimulatedWorld:
    """`worker.rounds.world.World` in virtual time: `Rounds` runs in it as in the real one."""

    scenario: Scenario
    made: list[SimulatedCall] = field(default_factory=list)
    polled: list[SimulatedCall] = field(default_factory=list)  # by `verify`
    questions: list[SimulatedQuestion] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._now = 0.0
        self._steps = 0
        self._order = itertools.count()
        self._coming: list[tuple[float, int, Message]] = []  # a heap
        self.services = [
            Service(history, exact=entry.discovery == "endpointslices")
            for entry, history in self.scenario.entries
        ]
        for at in (self.scenario.stop_at, self.scenario.stop_again_at):
            if at < math.inf:
                self._send(at, StopSignal(signal.SIGTERM))

    def now(self) -> float:
        return self._now

    def ask(self, number: int, ends_at: float) -> None:
        arrives_at, answer = self.services[number].ask(self._now, ends_at)
        self.questions.append(SimulatedQuestion(number, self._now, arrives_at, answer))
        self._send(arrives_at, Done(number, answer))

    def call(
        self, number: int, exchange: Exchange, endpoints: Sequence[Endpoint], ends_at: float
    ) -> None:
        timeout_seconds = min(exchange.timeout_seconds, ends_at - self._now)
        polls = exchange.method == "GET"  # as `tests.records.verified` has it
        for endpoint in endpoints:
            result = self.services[number].call(endpoint, self._now, timeout_seconds, polls)
            ended_at = self._now + result.duration_seconds
            made = self.polled if polls else self.made
            made.append(SimulatedCall(number, endpoint, self._now, ended_at, result))
            self._send(ended_at, Ended(number, result))

    def cut(self, number: int, error_type: CallError) -> None:
        """Calls that would end later end now."""
        kept: list[tuple[float, int, Message]] = []
        for at, order, message in self._coming:
            if isinstance(message, Ended) and message.number == number and at > self._now:
                assert isinstance(message.outcome, CallResult)
                kept.append(
                    (self._now, order, Ended(number, self._cut(message.outcome, error_type)))
                )
            else:
                kept.append((at, order, message))
        heapq.heapify(kept)
        self._coming = kept

    def _cut(self, result: CallResult, error_type: CallError) -> CallResult:
        """What became of the call instead."""
        made = next(m for m in (self.made, self.polled) if any(c.result is result for c in m))
        index = next(i for i, call in enumerate(made) if call.result is result)
        call = made[index]
        cut = result._replace(
            duration_seconds=self._now - call.began_at,
            status_code=None,
            error_type=error_type,
            error_message=error_type,
        )
        made[index] = replace(call, ended_at=self._now, result=cut)
        return cut

    def receive(self, until: float) -> Sequence[Message]:
        self._steps += 1
        assert self._steps < MAX_STEPS, "it never ends"
        first_at = self._coming[0][0] if self._coming else math.inf
        self._now = max(self._now, min(first_at, until))
        assert self._now < math.inf, "it waits for nothing"
        for at, seconds in self.scenario.stands_still:
            if at <= self._now < at + seconds:
                self._now = at + seconds
        return list(self._arrived())

    def _arrived(self) -> Iterator[Message]:
        while self._coming and self._coming[0][0] <= self._now:
            yield heapq.heappop(self._coming)[2]

    def _send(self, at: float, message: Message) -> None:
        heapq.heappush(self._coming, (at, next(self._order), message))


class Service:
    """One headless Service, its pods, and its DNS or, with `exact`, the API."""

    def __init__(self, history: History, exact: bool = False) -> None:
        self.history = history
        self.exact = exact
        self._turn = itertools.cycle(history.turns)
        self._copies: dict[int, tuple[float, tuple[str, ...]]] = {}
        self._produced_at: dict[int, float] = {}  # by id of the answer
        self.untrue: list[Answer] = []  # of servers that list nobody, whoever there is

    def ask(self, asked_at: float, ends_at: float) -> tuple[float, Answer | ResolutionFailure]:
        """When the answer arrives, and what it is."""
        server = next(self._turn)
        if self.exact:
            return self._list(asked_at, ends_at)
        fault = self._fault(server, asked_at)
        seconds = 2.0 if fault and fault.error_type == "dns_timeout" else self.history.dns_seconds
        arrives_at = max(min(asked_at + seconds, ends_at), asked_at)
        if not fault:
            pass
        elif fault.error_type == "lists_nobody":
            nobody = Answer(QNAME, (), 5, asked_at + 5, arrives_at + 5, "NXDOMAIN")
            self._produced_at[id(nobody)] = asked_at
            self.untrue.append(nobody)
            return arrives_at, nobody
        else:
            return arrives_at, ResolutionFailure(QNAME, fault.error_type, "simulated")
        if asked_at + seconds > ends_at:
            return arrives_at, ResolutionFailure(QNAME, "dns_timeout", "simulated")
        return arrives_at, self._answer(server, asked_at, arrives_at)

    def _list(self, asked_at: float, ends_at: float) -> tuple[float, Answer | ResolutionFailure]:
        """As `ask`, of the API."""
        fault = self._fault(0, asked_at)
        error_type, retry_after = API_FAULTS.get(fault.error_type if fault else "", (None, 0.0))
        seconds = 2.0 if error_type == "api_unreachable" else self.history.dns_seconds
        arrives_at = max(min(asked_at + seconds, ends_at), asked_at)
        if not error_type and asked_at + seconds > ends_at:
            error_type = "api_unreachable"
        if error_type:
            return arrives_at, ResolutionFailure(QNAME, error_type, "simulated", retry_after)
        served_at = (asked_at + arrives_at) / 2
        targets = {
            self.endpoint(address, served_at): Target(address, "", "")
            for address in self.addresses
            if self.state(address, served_at).exists
        }
        listed = [e for e in targets if self.state(e.address, served_at).listed]
        answer = Answer(
            qname=QNAME,
            endpoints=tuple(listed),
            ttl_seconds=0,
            expires_earliest_at=asked_at,
            expires_latest_at=arrives_at,
            exact=True,
            not_ready=frozenset(targets.keys() - set(listed)),
            targets=targets,
        )
        self._produced_at[id(answer)] = served_at
        return arrives_at, answer

    def endpoint(self, address: str, at: float) -> Endpoint:
        """Who that address is at that time, as the witness tells it."""
        if not self.exact:
            return Endpoint(address, PORT)
        states = [state for state in self._states(address) if state.at <= at]
        lives = sum(b.exists and not a.exists for a, b in itertools.pairwise([NOBODY, *states]))
        return Endpoint(address, PORT, f"life {lives}")

    def _states(self, address: str) -> tuple[PodState, ...]:
        return self.history.pods[int(address.rpartition(".")[2]) - 1]

    @property
    def addresses(self) -> list[str]:
        return [f"10.0.0.{number}" for number in range(1, len(self.history.pods) + 1)]

    def _fault(self, server: int, at: float) -> Fault | None:
        for fault in self.history.faults:
            concerned = fault.server is None or fault.server == server
            if concerned and fault.begins_at <= at < fault.ends_at:
                return fault
        return None

    def state(self, address: str, at: float) -> PodState:
        """What the pod of this address is at that time."""
        return next(s for s in reversed((NOBODY, *self._states(address))) if s.at <= at)

    def listed(self, at: float) -> tuple[str, ...]:
        """Whom an uncached DNS would list."""
        return tuple(a for a in self.addresses if self.state(a, at).listed)

    def there(self, at: float) -> set[Endpoint]:
        """Whom the witness should list as ready at that time."""
        states = {address: self.state(address, at) for address in self.addresses}
        ready = [a for a, s in states.items() if s.listed and (s.exists or not self.exact)]
        return {self.endpoint(address, at) for address in ready}

    def _answer(self, server: int, asked_at: float, arrives_at: float) -> Answer:
        cache = self.history.caches[server % len(self.history.caches)]
        served_at = (asked_at + arrives_at) / 2
        ttl, addresses, copied_at = cache.ttl_seconds, self.listed(served_at), served_at
        if cache.holds_seconds:
            copied_at, copy = self._copies.get(server, (-math.inf, ()))
            if served_at >= copied_at + cache.holds_seconds + cache.stale_seconds:
                copied_at, copy = self._copies[server] = served_at, addresses
            ttl = max(math.floor(copied_at + cache.holds_seconds - served_at), 0)
            addresses = copy
        endpoints = tuple(Endpoint(address, PORT) for address in addresses[: cache.lists_at_most])
        answer = Answer(
            qname=QNAME,
            endpoints=endpoints,
            ttl_seconds=ttl,
            expires_earliest_at=asked_at + ttl,
            expires_latest_at=arrives_at + ttl,
            absence="NXDOMAIN",
            stale=ttl == 0,
            capped=len(endpoints) == cache.lists_at_most,
        )
        self._produced_at[id(answer)] = copied_at
        return answer

    def produced_at(self, answer: Answer) -> float:
        """When this very answer, or the copy that it is, came from the cluster."""
        return self._produced_at[id(answer)]

    def call(
        self, endpoint: Endpoint, began_at: float, timeout_seconds: float, polls: bool = False
    ) -> CallResult:
        """What becomes of a call that begins now, if nothing cuts it. `polls`: it is `verify`'s."""
        outcome = self._outcome(endpoint, began_at, timeout_seconds)
        duration_seconds, connected, status_code, error_type = outcome
        if polls and error_type is None and not self.state(endpoint.address, began_at).shows:
            error_type = "body_mismatch"
        state = self.state(endpoint.address, began_at)
        return CallResult(
            endpoint=endpoint,
            span_id="0" * 16,
            duration_seconds=duration_seconds,
            connect_seconds=0.001 if connected else None,
            status_code=status_code,
            error_type=error_type,
            error_message=error_type,
            retry_after_seconds=state.retry_after_seconds if status_code == 503 else None,
        )

    def _outcome(
        self, endpoint: Endpoint, began_at: float, timeout: float
    ) -> tuple[float, bool, int | None, CallError | None]:
        state = self.state(endpoint.address, began_at)
        if not state.listening:
            return 0.001, False, None, "connect_refused"
        if state.behaviour == "hang" or state.seconds > timeout:
            return timeout, True, None, "timeout"
        if not self.state(endpoint.address, began_at + state.seconds).listening:
            return state.seconds, True, None, "connection_reset"
        match state.behaviour:
            case "503":
                return state.seconds, True, 503, "status"
            case "404":
                return state.seconds, True, 404, "status"
            case "reset":
                return state.seconds, True, None, "connection_reset"
        return state.seconds, True, 200, None
