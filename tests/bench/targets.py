"""What the benchmark is to reach, and what it reached: the table of targets.

A ratio is the median over the turns of the turns' ratios.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.bench.lists import CACHED, UNCACHED
from tests.bench.measure import ratio
from tests.bench.slices import BROADCASTS, BROADCASTS_LIST, RUN
from tests.bench.startup import FIRST_PACKET, HTTPS_BROADCASTS, IMPORTS
from tests.bench.ways import CURL_PARALLEL, DIG_ALONE, NOISE, PLAN, WITHOUT_CALLS, WORKER

REQUESTS_POOL = "pool of requests.post"

LIST_SECONDS = {CACHED: 35.0, UNCACHED: 3.0}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and its limit, in the same unit. `least`: the figure is to be no lower than it."""

    what: str
    limit: float
    reached: float
    unit: str = ""
    digits: int = 2
    least: bool = False

    @property
    def met(self) -> bool:
        return self.reached >= self.limit if self.least else self.reached <= self.limit

    def cells(self) -> list[str]:
        """A row of the table."""
        limit = f"at {'least' if self.least else 'most'} {self.limit:g}{self.unit}"
        reached = f"{self.reached:.{self.digits}f}{self.unit}"
        return [self.what, limit, reached, "yes" if self.met else "**no**"]


def targets(results: dict[str, Any]) -> Iterator[Target]:
    """Those of the sections that were measured."""
    whole = results.get("whole", [])
    yield from _beside_curl(whole)
    yield from _https(results.get("https", []))
    yield from _whole_processes(whole)
    if "startup" in results:
        seconds = {row["way"]: row for row in results["startup"]["seconds"]}
        ours, imports = seconds[FIRST_PACKET], seconds[IMPORTS]
        for what in ("wall", "cpu"):
            reached = ratio(ours[f"{what}_seconds"], imports[f"{what}_seconds"])
            yield Target(f"start-up to the first packet / plain imports, {what}", 0.7, reached)
    if "contexts" in results:
        one, twenty = results["contexts"]
        reached = ratio(twenty["wall_seconds"], one["wall_seconds"])
        few, many = HTTPS_BROADCASTS
        yield Target(f"first packet of {many} https broadcasts / of {few}, wall", 1.1, reached)
    yield from _lists(results.get("list", []))
    for row in results.get("latency", ()):
        if row["way"] == WORKER and not row["hanging"]:
            reached = median(row["window_seconds"]) / row["least_seconds"]
            what = f"50 ms pods, {row['concurrency']} at once / the least possible"
            yield Target(what, 1.05, reached, digits=3)
    yield from _growth(results.get("growth", []))
    if "slices" in results:
        yield from _slices(results["slices"])
    for row in results.get("in_flight", ()):
        what = f"peak memory, {row['concurrency']:,} calls in flight"
        yield Target(what, 64, row["peak_megabytes"], " MiB", digits=1)
    if "loglines" in results:
        yield Target("a log line, CPU", 15, results["loglines"]["a line, whole"], " µs", digits=1)


def _slices(rows: list[Row]) -> Iterator[Target]:
    """A run of a whole cluster costs no more a pod than a small one; it is confirmed at once."""
    few, most = sorted((row for row in rows if row["kind"] == RUN), key=lambda row: row["pods"])
    each = [median(row["cpu_seconds"]) / row["pods"] for row in (few, most)]
    yield Target(f"CPU a pod, {most['pods']:,} pods / {few['pods']:,}", 1.15, each[1] / each[0])
    yield Target(f"peak memory, {most['pods']:,} pods", 250, most["peak_megabytes"], " MiB", 0)
    for row in (row for row in rows if row["kind"] == BROADCASTS_LIST):
        what = f"{BROADCASTS} broadcasts of {row['pods']} pods, by EndpointSlices"
        yield Target(what, 3, median(row["wall_seconds"]), " s", digits=1)


def _beside_curl(rows: list[Row]) -> Iterator[Target]:
    """The calls over http, with the most pods."""
    for concurrency in sorted({row["concurrency"] for row in rows}):
        most = max(row["pods"] for row in rows)
        found = by_way(rows, most, concurrency)
        place = f"http, {most:,} pods, {concurrency} at once"
        yield from _calls(rows, found, place, wall=0.9, cpu=1.1)
        if slow := found.get(REQUESTS_POOL):
            reached = ratio(slow["window_seconds"], found[WORKER]["window_seconds"])
            what = f"pool of requests.post / first packet to last, {place}"
            yield Target(what, 8, reached, digits=1, least=True)


def _https(rows: list[Row]) -> Iterator[Target]:
    for certificate in dict.fromkeys(row["certificate"] for row in rows):
        some = [row for row in rows if row["certificate"] == certificate]
        pods = some[0]["pods"]
        for concurrency in sorted({row["concurrency"] for row in some}):
            place = f"https, {certificate}, {pods:,} pods, {concurrency} at once"
            yield from _calls(some, by_way(some, pods, concurrency), place, wall=0.8, cpu=0.9)


def _calls(
    rows: list[Row], found: dict[str, Row], place: str, wall: float, cpu: float
) -> Iterator[Target]:
    ours, curl = found[WORKER], found[CURL_PARALLEL]
    reached = ratio(ours["window_seconds"], curl["window_seconds"])
    yield Target(f"first packet to last / curl --parallel, wall, {place}", wall, reached)
    reached = cpu_of_calls(rows, ours) / cpu_of_calls(rows, curl)
    yield Target(f"the calls / curl --parallel, CPU, {place}", cpu, reached)


def _whole_processes(rows: list[Row]) -> Iterator[Target]:
    for concurrency in sorted({row["concurrency"] for row in rows}):
        for pods, limit in ((1000, 3.0), (4000, 1.5)):
            found = by_way(rows, pods, concurrency)
            if not found:
                continue
            place = f"{pods:,} pods, {concurrency} at once"
            ours = found[WORKER]["wall_seconds"]
            reached = ratio(ours, found[CURL_PARALLEL]["wall_seconds"])
            yield Target(f"whole process / dig + curl --parallel, {place}", limit, reached)
            others = {
                way: ratio(ours, row["wall_seconds"])
                for way, row in found.items()
                if way not in {WORKER, NOISE, CURL_PARALLEL}
            }
            if others:
                best = max(others, key=lambda way: others[way])
                what = f"whole process / the best of the others ({best}), {place}"
                yield Target(what, 1, others[best])


def _lists(rows: list[Row]) -> Iterator[Target]:
    for row in rows:
        if limit := LIST_SECONDS.get(row["way"]):
            what = f"{row['broadcasts']} broadcasts, {row['way']}, whole run"
            yield Target(what, limit, median(row["wall_seconds"]), " s", digits=1)


def _growth(rows: list[Row]) -> Iterator[Target]:
    if not rows:
        return
    costs = [cost for row, cost in costs_of(rows) if row["pods"] >= 100]
    if costs and all(costs):
        what = "instructions per pod, 100 to 4,000 pods, most / least"
        yield Target(what, 1.1, max(costs) / min(costs))
    most = max(row["peak_megabytes"] for row in rows)
    yield Target("peak memory, up to 4,000 pods", 60, most, " MiB", digits=0)


# --- what the tables need, too ------------------------------------------------------------------


def by_way(rows: list[Row], pods: int, concurrency: int) -> dict[str, Row]:
    """The ways to do the whole job."""
    return {
        row["way"]: row
        for row in rows
        if (row["pods"], row["concurrency"]) == (pods, concurrency)
        and row["way"] not in {DIG_ALONE, PLAN}
    }


def cpu_of_calls(rows: list[Row], row: Row) -> float:
    """Seconds of CPU of a run beyond those of the same way without its calls."""
    bare = WITHOUT_CALLS.get(row["way"])
    before = [r for r in rows if (r["way"], r["pods"]) == (bare, row["pods"])]
    return float(median(row["cpu_seconds"]) - (median(before[0]["cpu_seconds"]) if bare else 0))


def costs_of(rows: list[Row]) -> Iterator[tuple[Row, float]]:
    """Instructions for each pod beyond the first; 0 where they were not counted."""
    first = rows[0]
    for row in rows[1:]:
        more = row.get("instructions", 0) - first.get("instructions", 0)
        yield row, more / (row["pods"] - first["pods"])
