"""Makes tables and a plot of the benchmark's JSON, for the terminal and docs/performance.md.

`python -m tests.bench.page` writes them into docs/ again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import Any

from tests.bench.measure import ratio
from tests.bench.plot import svg
from tests.bench.slices import BROADCASTS_LIST as MANY
from tests.bench.targets import Row, by_way, costs_of, cpu_of_calls, targets
from tests.bench.ways import DIG_ALONE, NOISE, PLAN, WITHOUT_CALLS, WORKER
from tests.loopback.program import ROOT

RESULTS = ROOT / "docs" / "performance.json"
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.svg"
MARK = "<!-- {}: written by tests/bench/page.py -->\n"

Results = dict[str, Any]


def tables(results: Results) -> dict[str, str]:
    """Markdown, by title: the targets, the machine, and every section that was measured."""
    reached = [target.cells() for target in targets(results)]
    made = {"targets": _table(["what", "target", "reached", "met"], reached)}
    facts = results["machine"].items()
    made["machine"] = _table(["", ""], [[k.replace("_", " "), _plain(v)] for k, v in facts])
    for concurrency in sorted({row["concurrency"] for row in results.get("whole", ())}):
        made[f"whole process, {concurrency} at once"] = _whole(results["whole"], concurrency)
    for section, (title, table) in SECTIONS.items():
        if section in results:
            made[title] = table(results[section])
    return made


# --- tables -------------------------------------------------------------------------------------


def _whole(rows: list[Row], concurrency: int) -> str:
    counts = sorted({row["pods"] for row in rows})
    ways = dict.fromkeys(way for pods in counts for way in by_way(rows, pods, concurrency))
    lines = []
    for way in ways:
        line = [way]
        for pods in counts:
            found = by_way(rows, pods, concurrency)
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
    heads = [f"way, {most:,} pods", "at once", "wall time a call", "CPU time a call"]
    return _table(heads, _calls(rows, most))


def _https(rows: list[Row]) -> str:
    lines = []
    for certificate in dict.fromkeys(row["certificate"] for row in rows):
        some = [row for row in rows if row["certificate"] == certificate]
        lines += [[certificate, *line] for line in _calls(some, some[0]["pods"])]
    heads = [f"way, {rows[0]['pods']:,} pods", "at once", "wall time a call", "CPU time a call"]
    return _table(["certificate", *heads], lines)


def _calls(rows: list[Row], pods: int) -> Iterator[list[str]]:
    """Each way's time for a call."""
    for concurrency in sorted({row["concurrency"] for row in rows}):
        for row in by_way(rows, pods, concurrency).values():
            window = median(row["window_seconds"]) / pods * 1e3
            cpu = cpu_of_calls(rows, row) / pods * 1e3
            whole = "" if row["way"] in WITHOUT_CALLS else ", start-up included"
            yield [row["way"], str(concurrency), f"{window:.3f} ms", f"{cpu:.3f} ms{whole}"]


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
            f"{row['peak_megabytes']:.0f} MiB",
        ]
        for row, cost in costs_of(rows)
    ]
    return _table(["pods", "wall", "CPU", "instructions a pod", "peak memory"], lines)


def _in_flight(rows: list[Row]) -> str:
    lines = [
        [
            f"{row['pods']:,}",
            f"{median(row['wall_seconds']):.2f} s",
            f"{median(row['cpu_seconds']):.2f} s",
            f"{row['peak_megabytes']:.1f} MiB",
        ]
        for row in rows
    ]
    return _table(["pods, all at once", "wall", "CPU", "peak memory"], lines)


def _lists(rows: list[Row]) -> str:
    lines = [
        [
            f"{row['broadcasts']} broadcasts, {row['pods']} pods each",
            row["way"],
            f"{median(row['wall_seconds']):.1f} s",
            f"{median(row['window_seconds']):.1f} s",
            f"{median(row['cpu_seconds']):.2f} s",
            f"{row['peak_megabytes']:.0f} MiB",
        ]
        for row in rows
    ]
    heads = ["what", "DNS", "whole run", "first packet to last", "CPU", "peak memory"]
    return _table(heads, lines)


def _slices(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        cpu = median(row["cpu_seconds"])
        lines.append(
            [
                f"{row['kind']}, {row['pods']:,} {'pods each' if row['kind'] == MANY else 'pods'}",
                f"{median(row['wall_seconds']) * 1e3:,.1f} ms",
                f"{cpu * 1e3:,.1f} ms",
                f"{cpu / row['pods'] * 1e6:,.0f} µs" if row["kind"] != MANY else "-",
                f"{row['bytes'] / 1e3:,.0f} kB" if "bytes" in row else "-",
                f"{row['peak_megabytes']:.0f} MiB",
            ]
        )
    return _table(["what", "wall", "CPU", "CPU a pod", "received", "peak memory"], lines)


def _contexts(rows: list[Row]) -> str:
    lines = [
        [
            str(row["broadcasts"]),
            f"{median(row['wall_seconds']) * 1e3:.0f} ms",
            f"{median(row['cpu_seconds']) * 1e3:.0f} ms",
        ]
        for row in rows
    ]
    return _table(["https broadcasts", "wall", "CPU"], lines)


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


def _log_lines(found: dict[str, float]) -> str:
    return _table(["what", "CPU time"], [[what, f"{cost:.1f} µs"] for what, cost in found.items()])


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _table(heads: list[str], rows: Iterable[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


SECTIONS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "whole": ("from the first packet to the last", _windows),
    "https": ("https, from the first packet to the last", _https),
    "latency": ("pods that take 50 ms", _latency),
    "growth": ("growth", _growth),
    "in_flight": ("calls in flight", _in_flight),
    "list": ("a list of broadcasts", _lists),
    "slices": ("EndpointSlices", _slices),
    "startup": ("start-up", _startup),
    "contexts": ("https broadcasts, to the first packet", _contexts),
    "loglines": ("a log line", _log_lines),
}


# --- the page -----------------------------------------------------------------------------------


def filled(page: str, results: Results) -> str:
    """The page, with each table written again between its marks."""
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
