"""Plain line and bar charts as SVG text: no library is worth its weight for two kinds of picture.

The same figures always give the same text, so that a test can hold a page to its results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Point = tuple[float, float]

WIDTH, HEIGHT = 760, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 64
COLOURS = ("#0b6e4f", "#c8553d", "#3d5a98", "#8a6d1d", "#6b3f87", "#4a4a4a")
"""Dark enough on white, and told apart by their order in the legend too."""
STEPS = (1, 2, 2.5, 5, 10)


def lines(title: str, across: str, up: str, series: Mapping[str, Sequence[Point]]) -> str:
    """Return a chart with a line for each of `series`; both axes begin at 0."""
    points = [point for line in series.values() for point in line]
    x_ticks = ticks(max((x for x, _ in points), default=1))
    y_ticks = ticks(max((y for _, y in points), default=1))
    body = _frame(title, across, up, y_ticks)
    for value in x_ticks:
        x = _x(value / x_ticks[-1])
        body.append(_text(x, HEIGHT - BOTTOM + 16, f"{value:g}", anchor="middle"))
    for number, (name, line) in enumerate(series.items()):
        path = " ".join(f"{_x(x / x_ticks[-1]):.1f},{_y(y / y_ticks[-1]):.1f}" for x, y in line)
        body.append(f'<polyline points="{path}" fill="none" stroke="{_colour(number)}" stroke-width="2"/>')
        body += _legend(number, name)
    return _whole(title, body)


def bars(title: str, up: str, values: Mapping[str, float]) -> str:
    """Return a chart with a bar for each of `values`."""
    y_ticks = ticks(max(values.values(), default=1))
    body = _frame(title, "", up, y_ticks)
    width = (WIDTH - LEFT - RIGHT) / max(len(values), 1)
    for number, (name, value) in enumerate(values.items()):
        left, top = LEFT + (number + 0.2) * width, _y(value / y_ticks[-1])
        body.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width * 0.6:.1f}" height="{HEIGHT - BOTTOM - top:.1f}" '
            f'fill="{_colour(number)}"/>'
        )
        middle = left + width * 0.3
        body.append(_text(middle, top - 5, f"{value:.3g}", anchor="middle"))
        body.append(_text(middle, HEIGHT - BOTTOM + 18, name, anchor="middle"))
    return _whole(title, body)


def ticks(most: float) -> list[float]:
    """Return round values from 0 to `most` or a little above, four to seven of them."""
    if most <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(most / 5))
    step = next(s * power for s in STEPS if most / (s * power) <= 6)
    return [n * step for n in range(math.ceil(most / step - 1e-9) + 1)]


def _frame(title: str, across: str, up: str, y_ticks: Sequence[float]) -> list[str]:
    body = [_text(LEFT, 22, title, size=15, weight="bold")]
    for value in y_ticks:
        y = _y(value / y_ticks[-1])
        body.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        body.append(_text(LEFT - 8, y + 4, f"{value:g}", anchor="end"))
    body.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 34, across, anchor="middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    body.append(f'<g transform="rotate(-90 16 {middle:g})">{_text(16, middle, up, anchor="middle")}</g>')
    return body


def _legend(number: int, name: str) -> list[str]:
    x, y = LEFT + number * 165, HEIGHT - 10
    return [f'<rect x="{x}" y="{y - 9}" width="14" height="9" fill="{_colour(number)}"/>', _text(x + 20, y, name)]


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal") -> str:
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _whole(title: str, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" fill="#222">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *body, "</svg>"]) + "\n"
