"""Plots, as SVG that a browser and a repository's pages show: bars of rows, and lines of growth."""

from __future__ import annotations

import math
from typing import Mapping, Sequence
from xml.sax.saxutils import escape

from bench.figures import Growth, Summary

WIDTH, LINE, MARGIN, LABELS = 760, 26, 16, 130
INK, MUTED, GRID = "#24292f", "#6e7781", "#d0d7de"
OWN, OTHER, READY = "#0969da", "#afb8c1", "#cf222e"
COLOURS = ("#0969da", "#bf3989", "#1a7f37", "#9a6700", "#8250df")


def bars(title: str, rows: Mapping[str, Summary], *, own: Sequence[str]) -> str:
    """A bar for the wall of each row, and a mark where its report of Ready arrived; rows of our own stand out."""
    ordered = sorted(rows.values(), key=lambda row: row.wall)
    scale = (WIDTH - LABELS - 90) / max(row.wall for row in ordered)
    shapes = []
    for index, row in enumerate(ordered):
        top = 52 + index * LINE
        length = row.wall * scale
        shapes.append(_text(LABELS - 8, top + 13, row.name, anchor="end"))
        shapes.append(_box(LABELS, top, length, LINE - 8, OWN if row.name in own else OTHER))
        if row.ready is not None:
            shapes.append(_box(LABELS + row.ready * scale - 1, top - 2, 2, LINE - 4, READY))
        shapes.append(_text(LABELS + length + 6, top + 13, f"{row.wall * 1e3:.1f} ms", colour=MUTED))
    legend = "bar: until it ended; red: its Ready arrived; medians"
    return _page(title, legend, shapes, height=60 + len(ordered) * LINE + MARGIN)


def lines(title: str, growths: Sequence[Growth]) -> str:
    """A line for each growth; both axes run from nothing to the most of each line, which its label names."""
    height, left, right = 360, 60, WIDTH - 250
    most = max(max(growth.walls) for growth in growths) * 1.05
    shapes = []
    for step in range(5):
        value = most * step / 4
        y = height - 40 - (height - 100) * step / 4
        shapes.append(_line([(left, y), (right, y)], GRID, 1))
        shapes.append(_text(left - 6, y + 4, f"{value * 1e3:.0f} ms", anchor="end", colour=MUTED))
    ends = _apart([height - 40 - (height - 100) * growth.walls[-1] / most for growth in growths], least=16)
    for growth, colour, label in zip(growths, COLOURS, ends):
        points = [
            (left + (right - left) * size / growth.sizes[-1], height - 40 - (height - 100) * wall / most)
            for size, wall in zip(growth.sizes, growth.walls)
        ]
        shapes.append(_line(points, colour, 2))
        words = f"{growth.sizes[-1]:g} {growth.name}: {growth.per_item * 1e3:.3f} ms each"
        shapes.append(_text(right + 8, label + 4, words, colour=colour))
    return _page(
        title, "wall of the main job over the number of items, each line to its own most", shapes, height=height
    )


def _apart(heights: Sequence[float], *, least: float) -> list[float]:
    """The same heights, moved down where labels would lie on each other."""
    placed = dict.fromkeys(range(len(heights)), 0.0)
    below = -math.inf
    for index in sorted(placed, key=lambda index: heights[index]):
        below = max(heights[index], below + least)
        placed[index] = below
    return [placed[index] for index in range(len(heights))]


def _page(title: str, legend: str, shapes: Sequence[str], *, height: float) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}" '
        f'viewBox="0 0 {WIDTH} {height:g}" font-family="sans-serif" font-size="12" fill="{INK}">'
    )
    paper = _box(0, 0, WIDTH, height, "#ffffff")
    titles = [
        f'<text x="{MARGIN}" y="20" font-size="15">{escape(title)}</text>',
        _text(MARGIN, 38, legend, colour=MUTED),
    ]
    return "\n".join([head, paper, *titles, *shapes, "</svg>"]) + "\n"


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _line(points: Sequence[tuple[float, float]], colour: str, width: float) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"/>'


def _text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'
