"""The benchmark's JSON -> tables, and what docs/performance.md shows of it.

`python -m tests.bench.page` writes the tables into docs/performance.md again, and the plot.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any

from tests.bench.measure import ratio
from tests.bench.plot import svg
from tests.bench.startup import FIRST_PACKET, IMPORTS
from tests.bench.ways import CURL_PARALLEL, DIG_ALONE, NOISE, PLAN, WITHOUT_CALLS, WORKER
from tests.loopback.program import ROOT

RESULTS = ROOT / "docs" / "performance.json"
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.svg"
MARK = "<!-- {}: written by tests/bench/page.py -->\n"
REQUESTS_POOL = "pool of requests.post"

Row = dict[str, Any]
Results = dict[str, Any]


def tables(results: Results) -> dict[str, str]:
    """Markdown, by title."""
    made = {"targets": _table(["target", "at most", "reached"], targets(results))}
    facts = results["machine"].items()
    made["machine"] = _table(["", ""], [[k.replace("_", " "), _plain(v)] for k, v in facts])
    if "whole" in results:
        for concurrency in sorted({row["concurrency"] for row in results["whole"]}):
            made[f"whole process, {concurrency} at once"] = _whole(results["whole"], concurrency)
        made["from the first packet to the last"] = _windows(results["whole"])
    if "latency" in results:
        made["pods that take 50 ms"] = _latency(results["latency"])
    if "growth" in results:
        made["growth"] = _growth(results["growth"])
    if "startup" in results:
        made["start-up"] = _startup(results["startup"])
    if "loglines" in results:
        rows = [[what, f"{cost:.1f} µs"] for what, cost in results["loglines"].items()]
        made["a log line"] = _table(["what", "CPU time"], rows)
    return made


# --- targets ------------------------------------------------------------------------------------


def targets(results: Results) -> Iterator[list[str]]:
    """What was to be reached, and what was. A ratio is the median of the turns' ratios."""
    if "whole" in results:
        yield from _throughput_targets(results["whole"])
    if "startup" in results:
        seconds = {row["way"]: row for row in results["startup"]["seconds"]}
        ours, theirs = seconds[FIRST_PACKET], seconds[IMPORTS]
        for what in ("wall", "cpu"):
            reached = ratio(ours[f"{what}_seconds"], theirs[f"{what}_seconds"])
            yield [f"start-up to the first packet / plain imports, {what}", "0.7", f"{reached:.2f}"]
    for row in results.get("latency", ()):
        if row["way"] == WORKER and not row["hanging"]:
            reached = median(row["window_seconds"]) / row["least_seconds"]
            what = f"50 ms pods, {row['concurrency']} at once / the least possible"
            yield [what, "1.05", f"{reached:.3f}"]
    if "growth" in results:
        costs = [cost for row, cost in _costs(results["growth"]) if row["pods"] >= 100]
        if all(costs):
            reached = max(costs) / min(costs)
            yield ["instructions per pod, 100 to 4,000 pods, most / least", "1.1", f"{reached:.2f}"]
        most = max(row["peak_megabytes"] for row in results["growth"])
        yield ["peak memory", "60 MB", f"{most:.0f} MB"]
    if "loglines" in results:
        yield ["a log line, CPU", "15 µs", f"{results['loglines']['a line, whole']:.1f} µs"]


def _throughput_targets(rows: list[Row]) -> Iterator[list[str]]:
    most = max(row["pods"] for row in rows)
    for concurrency in sorted({row["concurrency"] for row in rows}):
        found = _by_way(rows, most, concurrency)
        place = f"{most:,} pods, {concurrency} at once"
        ours, curl = found[WORKER], found[CURL_PARALLEL]
        reached = ratio(ours["window_seconds"], curl["window_seconds"])
        yield [f"first packet to last / curl --parallel, wall, {place}", "1.0", f"{reached:.2f}"]
        reached = _cpu_of_calls(rows, ours) / _cpu_of_calls(rows, curl)
        yield [f"the calls / curl --parallel, CPU, {place}", "1.0", f"{reached:.2f}"]
        slow = found[REQUESTS_POOL]
        reached = ratio(slow["window_seconds"], ours["window_seconds"])
        yield [
            f"pool of requests.post / first packet to last, {place}",
            "8 (least)",
            f"{reached:.1f}",
        ]
    for concurrency in sorted({row["concurrency"] for row in rows}):
        for pods, limit in ((1000, "3"), (4000, "1.5")):
            found = _by_way(rows, pods, concurrency)
            if not found:
                continue
            place = f"{pods:,} pods, {concurrency} at once"
            ours = found[WORKER]["wall_seconds"]
            reached = ratio(ours, found[CURL_PARALLEL]["wall_seconds"])
            yield [f"whole process / dig + curl --parallel, {place}", limit, f"{reached:.2f}"]
            others = {
                way: ratio(ours, row["wall_seconds"])
                for way, row in found.items()
                if way not in {WORKER, NOISE, CURL_PARALLEL}
            }
            best = max(others, key=lambda way: others[way])
            what = f"whole process / the best of the others ({best}), {place}"
            yield [what, "1", f"{others[best]:.2f}"]


def _cpu_of_calls(rows: list[Row], row: Row) -> float:
    """CPU time of a run beyond that of the same way without its calls."""
    bare = WITHOUT_CALLS.get(row["way"])
    before = [r for r in rows if (r["way"], r["pods"]) == (bare, row["pods"])]
    return float(median(row["cpu_seconds"]) - (median(before[0]["cpu_seconds"]) if bare else 0))


def _by_way(rows: list[Row], pods: int, concurrency: int) -> dict[str, Row]:
    """The ways to do the whole job."""
    return {
        row["way"]: row
        for row in rows
        if (row["pods"], row["concurrency"]) == (pods, concurrency)
        and row["way"] not in {DIG_ALONE, PLAN}
    }


# --- tables -------------------------------------------------------------------------------------


def _whole(rows: list[Row], concurrency: int) -> str:
    counts = sorted({row["pods"] for row in rows})
    ways = dict.fromkeys(way for pods in counts for way in _by_way(rows, pods, concurrency))
    lines = []
    for way in ways:
        line = [way]
        for pods in counts:
            found = _by_way(rows, pods, concurrency)
            if way not in found:
                line.append("-")
                continue
            factor = ratio(found[way]["wall_seconds"], found[WORKER]["wall_seconds"])
            cpu = ratio(found[way]["cpu_seconds"], found[WORKER]["cpu_seconds"])
            line.append(f"{factor:.2f} ({cpu:.2f})")
        lines.append(line)
    return _table(["wall (CPU), the worker being 1", *(f"{pods:,} pods" for pods in counts)], lines)


def _windows(rows: list[Row]) -> str:
    most = max(row["pods"] for row in rows)
    lines = []
    for concurrency in sorted({row["concurrency"] for row in rows}):
        for row in _by_way(rows, most, concurrency).values():
            window = median(row["window_seconds"]) / most * 1e3
            cpu = _cpu_of_calls(rows, row) / most * 1e3
            whole = "" if row["way"] in WITHOUT_CALLS else ", start-up included"
            lines.append([row["way"], str(concurrency), f"{window:.3f} ms", f"{cpu:.3f} ms{whole}"])
    return _table([f"way, {most:,} pods", "at once", "wall time a call", "CPU time a call"], lines)


def _latency(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        if row["hanging"]:
            seconds, least = median(row["wall_seconds"]), "-"
        else:
            seconds = median(row["window_seconds"])
            least = f"{row['least_seconds']:.2f} s"
        hanging = str(row["hanging"] or "none")
        where = [f"{row['pods']:,}", str(row["concurrency"]), hanging]
        lines.append([row["way"], *where, f"{seconds:.2f} s", least])
    return _table(["way", "pods", "at once", "hanging", "took", "least possible"], lines)


def _growth(rows: list[Row]) -> str:
    lines = [
        [
            f"{row['pods']:,}",
            f"{median(row['wall_seconds']):.2f} s",
            f"{median(row['cpu_seconds']):.2f} s",
            f"{cost / 1e3:.0f} thousand" if cost else "-",
            f"{row['peak_megabytes']:.0f} MB",
        ]
        for row, cost in _costs(rows)
    ]
    return _table(["pods", "wall", "CPU", "instructions a pod", "peak memory"], lines)


def _costs(rows: list[Row]) -> Iterator[tuple[Row, float]]:
    """Instructions for each pod beyond the first; 0 where they were not counted."""
    first = rows[0]
    for row in rows[1:]:
        more = row.get("instructions", 0) - first.get("instructions", 0)
        yield row, more / (row["pods"] - first["pods"])


def _startup(found: dict[str, Any]) -> str:
    lines = []
    slow = {row["way"]: row for row in found.get("seconds_with_a_tenth_of_a_cpu", ())}
    counted = {way.partition(",")[0]: n for way, n in found.get("instructions", {}).items()}
    for row in found["seconds"]:
        way = row["way"]
        counts = next((n for name, n in counted.items() if way.startswith(name.split()[0])), 0)
        lines.append(
            [
                way,
                f"{median(row['wall_seconds']) * 1e3:.0f} ms",
                f"{median(row['cpu_seconds']) * 1e3:.0f} ms",
                f"{median(slow[way]['wall_seconds']):.2f} s" if way in slow else "-",
                f"{counts / 1e6:.0f} million" if counts else "-",
            ]
        )
    heads = ["what", "wall", "CPU", "wall, a tenth of a CPU", "instructions, whole process"]
    return _table(heads, lines)


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _table(heads: list[str], rows: Iterable[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- the page -----------------------------------------------------------------------------------


def filled(page: str, results: Results) -> str:
    """The page with every table between its marks written again."""
    end = MARK.format("end")
    for title, table in tables(results).items():
        start = MARK.format(title)
        assert page.count(start) == 1, f"docs/performance.md has no place for the table {title!r}"
        before, _, rest = page.partition(start)
        _, _, after = rest.partition(end)
        page = f"{before}{start}\n{table}\n\n{end}{after}"
    return page


def plot(results: Results) -> str:
    left_out = {NOISE, DIG_ALONE, PLAN}
    rows = [r for r in results["whole"] if r["concurrency"] == 16 and r["way"] not in left_out]
    lines = {
        way: [(row["pods"], median(row["wall_seconds"])) for row in rows if row["way"] == way]
        for way in dict.fromkeys(row["way"] for row in rows)
    }
    return svg("Whole process, 16 calls at once (for-loop: one)", lines)


if __name__ == "__main__":
    stored = json.loads(RESULTS.read_text())
    PAGE.write_text(filled(PAGE.read_text(), stored))
    PLOT.write_text(plot(stored))
