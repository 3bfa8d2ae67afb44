"""`make simulate`: as many runs as wanted, at random, on all processors, and what they came to;
then a history for each broken rule of broken.py, which found.py stores.

`python -m tests.simulation.explore [HISTORIES]`; a run that breaks the promise is shrunk,
printed, and makes the exit code 1, and so does a broken rule that none shows.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from hypothesis import HealthCheck, given, settings

from tests.simulation import stored
from tests.simulation.broken import BROKEN, search
from tests.simulation.cluster import Scenario
from tests.simulation.test_promise import any_scenarios, check, run


def explore(count: int) -> dict[str, Counter[str]]:
    """Checks so many runs. Returns how often each thing happened, by kind of thing."""
    seen: dict[str, Counter[str]] = {
        kind: Counter() for kind in ("outcomes", "reasons", "verdicts", "errors", "events", "other")
    }

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(any_scenarios())
    def one(scenario: Scenario) -> None:
        world, whole, lines = run(scenario)
        check(world, whole, lines)
        seen["errors"].update(c.result.error_type or "none" for c in world.made)
        seen["events"].update(entry["event"] for entry in lines.entries)
        seen["other"]["runs"] += 1
        for report in whole.broadcasts:
            seen["outcomes"][report.outcome] += 1
            seen["reasons"][report.reason or "none"] += 1
            seen["verdicts"].update(endpoint.verdict for endpoint in report.endpoints)
            seen["other"]["broadcasts"] += 1
            seen["other"]["calls"] += report.calls
            seen["other"]["rounds"] += report.rounds
            seen["other"]["confirmed"] += report.confirmed

    one()
    return seen


def main() -> int:
    """0 unless the promise was broken, or a broken rule was not noticed."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    if count:
        explore_on_all_processors(count)
    return search_on_all_processors()


def search_on_all_processors() -> int:
    """0 if each broken rule was noticed."""
    began_at = time.monotonic()
    with ProcessPoolExecutor() as pool:
        histories = dict(zip(BROKEN, pool.map(search, BROKEN), strict=True))
    missed = [name for name, history in histories.items() if history is None]
    stored.write({name: history for name, history in histories.items() if history})
    seconds = time.monotonic() - began_at
    noticed = len(histories) - len(missed)
    print(f"{noticed} of {len(histories)} broken rules noticed, in {seconds:.0f} s")
    for name in missed:
        print(f"the simulation did not notice: {name}")
    return int(bool(missed))


def explore_on_all_processors(count: int) -> None:
    began_at = time.monotonic()
    processors = len(os.sched_getaffinity(0))
    shares = [count * (n + 1) // processors - count * n // processors for n in range(processors)]
    seen: dict[str, Counter[str]] = {}
    with ProcessPoolExecutor(processors) as pool:
        for part in pool.map(explore, filter(None, shares)):
            for kind, counts in part.items():
                seen.setdefault(kind, Counter()).update(counts)
    seconds = time.monotonic() - began_at
    total = seen["other"]["runs"]
    print(f"{total} runs kept the promise, in {seconds:.0f} s: {total / seconds:.0f} a second")
    for kind, counts in seen.items():
        print(f"\n{kind}:")
        for name, number in counts.most_common():
            print(f"  {number:9} {name}")


if __name__ == "__main__":
    sys.exit(main())
