"""A cluster in virtual time: pods with a history, and a DNS that caches, lies late, and breaks.

A history is data, so that Hypothesis can make and shrink it. Nothing here waits or opens a socket.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from worker.model import Answer, Broadcast, CallError, CallResult, Endpoint, ResolutionFailure
from worker.stop import Stopped

MAX_STEPS = 5000

DnsError = Literal["dns_servfail", "dns_timeout", "dns_truncated", "dns_refused"]
Behaviour = Literal["ok", "503", "404", "hang", "reset"]
QNAME = "web.shop.svc.cluster.local"


@dataclass(frozen=True)
class PodState:
    """From `at` on: whether the pod accepts connections, is listed in DNS, and what it answers."""

    at: float
    listening: bool
    listed: bool
    behaviour: Behaviour = "ok"
    seconds: float = 0.01  # that a call takes


@dataclass(frozen=True)
class Fault:
    """DNS does not answer, between two times."""

    begins_at: float
    ends_at: float
    error_type: DnsError


@dataclass(frozen=True)
class Cache:
    """A DNS server: 0 `holds_seconds` is no cache. `counts_down` stops at 0 for `stale_seconds`."""

    ttl_seconds: int = 5
    holds_seconds: int = 0
    stale_seconds: int = 0


@dataclass(frozen=True)
class History:
    """All that happens. `pods` are states by address, each in order of time."""

    pods: tuple[tuple[PodState, ...], ...]
    caches: tuple[Cache, ...] = (Cache(),)
    turns: tuple[int, ...] = (0,)  # which cache answers, in turn
    faults: tuple[Fault, ...] = ()
    dns_seconds: float = 0.002
    stop_at: float = math.inf
    stop_again_at: float = math.inf


@dataclass(frozen=True)
class SimulatedCall:
    """What the cluster saw of one call."""

    endpoint: Endpoint
    began_at: float
    ended_at: float
    result: CallResult


@dataclass
class SimulatedWorld:
    """`worker.rounds.world.World` over a History; `broadcast.run` runs in it as in the real one."""

    broadcast: Broadcast
    history: History
    grace_seconds: float = 5.0
    made: list[SimulatedCall] = field(default_factory=list)
    answers: list[tuple[float, Answer | ResolutionFailure]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._now = 0.0
        self._steps = 0
        self._turn = itertools.cycle(self.history.turns)
        self._copies: dict[int, tuple[float, tuple[str, ...]]] = {}
        self._next_start_at = 0.0
        self._produced_at: dict[int, float] = {}  # by id of the answer

    # --- worker.rounds.world.World ------------------------------------------------------------

    def now(self) -> float:
        return self._now

    def stopped(self) -> bool:
        self._steps += 1
        assert self._steps < MAX_STEPS, "it never ends"
        return self._now >= self.history.stop_at

    def wait(self, seconds: float) -> None:
        assert seconds > 0, "a wait that does not wait"
        until = self._now + seconds
        self._now = max(self._now, min(until, self.history.stop_at))

    def ask(self, ends_at: float) -> Answer | ResolutionFailure:
        asked_at = self._now
        fault = next((f for f in self.history.faults if f.begins_at <= asked_at < f.ends_at), None)
        seconds = 2.0 if fault and fault.error_type == "dns_timeout" else self.history.dns_seconds
        arrives_at = max(min(asked_at + seconds, ends_at), asked_at)
        if asked_at < self.history.stop_at <= arrives_at:
            self._now = self.history.stop_at
            raise Stopped
        self._now = arrives_at
        answer: Answer | ResolutionFailure
        if fault:
            answer = ResolutionFailure(QNAME, fault.error_type, "simulated")
        elif asked_at + seconds > ends_at:
            answer = ResolutionFailure(QNAME, "dns_timeout", "simulated")
        else:
            answer = self._answer(next(self._turn), asked_at, arrives_at)
        self.answers.append((arrives_at, answer))
        return answer

    def calls(self, endpoints: Sequence[Endpoint], ends_at: float) -> Iterator[CallResult]:
        """A pool in virtual time: a heap of calls in flight, the earliest end first."""
        todo = deque(endpoints)
        flying: list[tuple[float, int, float, CallResult]] = []
        numbers = itertools.count()
        over_at = self._now
        while True:
            while todo and len(flying) < self.broadcast.concurrency:
                start_at = max(self._now, self._next_start_at)
                if flying and flying[0][0] < start_at:
                    break
                if start_at >= min(ends_at, self.history.stop_at):
                    todo.clear()
                    over_at = min(ends_at, self.history.stop_at)  # until then they may be called
                    break
                self._now = start_at
                self._next_start_at = start_at + self.broadcast.stagger_seconds
                result = self._call(todo.popleft(), start_at)
                ended_at = start_at + result.duration_seconds
                heapq.heappush(flying, (ended_at, next(numbers), start_at, result))
            if not flying:
                self._now = max(self._now, over_at)
                return
            ended_at, _, began_at, result = heapq.heappop(flying)
            self._now = max(self._now, ended_at)
            self.made.append(SimulatedCall(result.endpoint, began_at, ended_at, result))
            yield result

    # --- the cluster ----------------------------------------------------------------------------

    def state(self, address: str, at: float) -> PodState:
        """What the pod of this address is at that time."""
        states = self.history.pods[int(address.rpartition(".")[2]) - 1]
        return next(s for s in reversed((PodState(-1, False, False), *states)) if s.at <= at)

    def listed(self, at: float) -> tuple[str, ...]:
        """Whom an uncached DNS would list."""
        addresses = [f"10.0.0.{number}" for number in range(1, len(self.history.pods) + 1)]
        return tuple(a for a in addresses if self.state(a, at).listed)

    def _answer(self, turn: int, asked_at: float, arrives_at: float) -> Answer:
        cache = self.history.caches[turn % len(self.history.caches)]
        served_at = (asked_at + arrives_at) / 2
        ttl, addresses, copied_at = cache.ttl_seconds, self.listed(served_at), served_at
        if cache.holds_seconds:
            copied_at, copy = self._copies.get(turn, (-math.inf, ()))
            if served_at >= copied_at + cache.holds_seconds + cache.stale_seconds:
                copied_at, copy = self._copies[turn] = served_at, addresses
            ttl = max(math.floor(copied_at + cache.holds_seconds - served_at), 0)
            addresses = copy
        rcode: Literal["NOERROR", "NXDOMAIN"] = "NOERROR" if addresses else "NXDOMAIN"
        endpoints = tuple(Endpoint(address, self.broadcast.port) for address in addresses)
        answer = Answer(QNAME, endpoints, ttl, asked_at + ttl, arrives_at + ttl, rcode)
        self._produced_at[id(answer)] = copied_at
        return answer

    def produced_at(self, answer: Answer) -> float:
        """When this very answer, or the copy that it is, came from the cluster."""
        return self._produced_at[id(answer)]

    def _call(self, endpoint: Endpoint, began_at: float) -> CallResult:
        """What becomes of a call that begins now, cut off by the stop signal if need be."""
        duration, connected, status_code, error_type = self._outcome(endpoint, began_at)
        cut_at = min(self.history.stop_at + self.grace_seconds, self.history.stop_again_at)
        if began_at + duration > cut_at and cut_at >= self.history.stop_at:
            duration, status_code, error_type = max(cut_at - began_at, 0.0), None, "cancelled"
        return CallResult(
            endpoint=endpoint,
            span_id="0" * 16,
            duration_seconds=duration,
            connect_seconds=0.001 if connected else None,
            status_code=status_code,
            error_type=error_type,
            error_message=error_type,
        )

    def _outcome(
        self, endpoint: Endpoint, began_at: float
    ) -> tuple[float, bool, int | None, CallError | None]:
        state = self.state(endpoint.address, began_at)
        timeout = self.broadcast.timeout_seconds
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
