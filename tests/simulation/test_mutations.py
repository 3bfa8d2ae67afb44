"""The simulation finds a broken ledger. Each way of breaking it is one change of its source:

1.  an address that left DNS is called again
2.  an endpoint that acknowledged is called again
3.  attempts are not counted
4.  who accepted a connection and left DNS is gone
5.  who was refused is gone though it is still listed
6.  the cached copy passes for a newer answer
7.  a failure that is not retried is forgotten
8.  the deadline is not looked at
9.  a stop signal is not looked at
10. min_pods is not looked at when the outcome is judged
11. the outcome is complete without any DNS answer
12. the calls of the last round do not move the answer to be newer than
13. a cache that stays at TTL 0 passes for no cache
14. who is owed a call when the deadline comes is not counted as failed
"""

from __future__ import annotations

import types
from pathlib import Path

import pytest
from hypothesis import HealthCheck, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from tests.simulation.cluster import History
from tests.simulation.test_promise import BROADCASTS, check, histories, run
from worker.model import Broadcast
from worker.rounds import ledger
from worker.rounds import run as broadcast

SOURCE = Path(ledger.__file__).read_text()
MUTATIONS: list[dict[str, str]] = [
    {
        "self._listed() if self._owes(": "self._entries if self._owes(",
        "            entry.listed_in is self._answer\n            and not": "            not",
    },
    {"            and not entry.acknowledged\n": ""},
    {"            and entry.attempts < self._broadcast.attempts\n": ""},
    {"return not entry.reached and self": "return self"},
    {"elif not listed and self._is_gone(entry)": "elif not entry.reached"},
    {"answer.expires_earliest_at > other.expires_latest_at + TTL": "answer.ttl_seconds >= 0 * TTL"},
    {'        if counts["failed"]:\n': '        if counts["failed"] and deadline_hit:\n'},
    {"if now >= self._deadline_at:": "if False:"},
    {"if self._stopped:": "if False:"},
    {'counts["acknowledged"] < self._broadcast.min_pods or self': "self"},
    {" or self._answer is None": ""},
    {
        "            self._baseline = self._answer\n        self._uncalled": (
            "            pass\n        self._uncalled"
        )
    },
    {"stale = answer.ttl_seconds == 0 and self._longest_ttl > 0": "stale = False"},
    {'            error_type = "deadline"\n': '            verdict = "gone"\n'},
]


def broken_source(number: int) -> str:
    source = SOURCE
    for old, new in MUTATIONS[number - 1].items():
        assert source.count(old) == 1, "the ledger has changed: change the mutation too"
        source = source.replace(old, new)
    return source


def breaks(case: tuple[Broadcast, History]) -> bool:
    try:
        check(*run(*case))
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("number", range(1, len(MUTATIONS) + 1))
def test_a_broken_ledger_is_found(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = types.ModuleType("broken_ledger")
    broken.__dict__["__name__"] = ledger.__name__
    exec(compile(broken_source(number), f"mutation {number}", "exec"), broken.__dict__)
    for name in ("Ledger", "Ask", "Call", "Wait", "Finish"):
        monkeypatch.setattr(broadcast, name, getattr(broken, name))
    try:
        find(
            st.tuples(BROADCASTS, histories()),
            breaks,
            settings=settings(
                max_examples=20_000,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except NoSuchExample:
        pytest.fail("the simulation did not notice")
