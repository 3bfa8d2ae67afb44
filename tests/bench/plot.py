"""Lines on logarithmic axes, as SVG text: pods to the right, seconds up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 50
COLOURS = ("#d62728", "#7f7f7f", "#8c564b", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e")
LABEL_PIXELS = 15

Points = Sequence[tuple[float, float]]


def svg(title: str, lines: Mapping[str, Points]) -> str:
    pods = sorted({x for points in lines.values() for x, _ in points})
    seconds = [y for points in lines.values() for _, y in points]
    low = 10.0 ** math.floor(math.log10(min(seconds)))
    high = 10.0 ** math.ceil(math.log10(max(seconds)))

    def x(value: float) -> float:
        share = math.log(value / pods[0]) / math.log(pods[-1] / pods[0])
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
        f'<text x="{LEFT}" y="{HEIGHT - 10}">pods</text>',
    ]
    parts += [
        f'<text x="{x(value)}" y="{HEIGHT - 28}" text-anchor="middle">{value:,}</text>'
        for value in pods
    ]
    tick = low
    while tick <= high * 1.01:
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick)}" y2="{y(tick)}" stroke="#ddd"/>'
            f'<text x="{LEFT - 8}" y="{y(tick) + 4}" text-anchor="end">{tick:g} s</text>'
        )
        tick *= 10
    labels = _spread({way: y(points[-1][1]) for way, points in lines.items()})
    for (way, points), colour in zip(lines.items(), COLOURS, strict=False):
        path = " ".join(f"{x(across)},{y(up)}" for across, up in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{WIDTH - RIGHT + 8}" y="{labels[way] + 4}" fill="{colour}">'
            f"{escape(way)}</text>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _spread(heights: Mapping[str, float]) -> dict[str, float]:
    """Moves labels down until none lies on another."""
    ordered = sorted(heights, key=lambda way: heights[way])
    spread = dict(heights)
    for above, below in pairwise(ordered):
        spread[below] = max(spread[below], spread[above] + LABEL_PIXELS)
    return spread
