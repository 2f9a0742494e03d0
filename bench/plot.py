"""The curves of growth as one SVG: a small panel for each row, size of the calendar across, processor time up, both
logarithmic. A server is a colour and a shape, so that it can be told in print too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

Points = Mapping[int, float]  # size → ms
COLOURS = ("#0b62a4", "#d1495b", "#2e8540", "#8a4fbf", "#c77700", "#4a4a4a", "#0093a7", "#9a6324")
SHAPES = ("circle", "square", "diamond", "triangle")
COLUMNS, WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, LEGEND = 4, 250, 190, 46, 14, 26, 30, 44


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps a logarithmic scale from low to high onto start … end."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        span = math.log10(self.high) - math.log10(self.low) or 1
        return self.start + (math.log10(value) - math.log10(self.low)) / span * (self.end - self.start)


def decades(values: Sequence[float]) -> tuple[float, float]:
    """Powers of ten around the values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return 10.0**low, 10.0 ** (high if high > low else low + 1)


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _mark(shape: str, x: float, y: float, colour: str) -> str:
    match shape:
        case "square":
            return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{colour}"/>'
        case "diamond":
            points = f"{x:.1f},{y - 4.2:.1f} {x + 4.2:.1f},{y:.1f} {x:.1f},{y + 4.2:.1f} {x - 4.2:.1f},{y:.1f}"
        case "triangle":
            points = f"{x:.1f},{y - 4:.1f} {x + 4:.1f},{y + 3.2:.1f} {x - 4:.1f},{y + 3.2:.1f}"
        case _:
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>'
    return f'<polygon points="{points}" fill="{colour}"/>'


def _panel(
    title: str, curves: Mapping[str, Points], styles: Mapping[str, tuple[str, str]], sizes: Sequence[int]
) -> str:
    values = [value for points in curves.values() for value in points.values()]
    across = Axis(sizes[0], sizes[-1], LEFT, WIDTH - RIGHT)
    up = Axis(*decades(values), HEIGHT - BOTTOM, TOP)
    parts = [f'<text x="{LEFT}" y="16" class="title">{escape(title)}</text>']
    step = up.low
    while step <= up.high * 1.001:
        y = up.at(step)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{number(step)}</text>')
        step *= 10
    for size in sizes:
        x = across.at(size)
        anchor = "start" if size == sizes[0] else "end" if size == sizes[-1] else "middle"
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" class="grid"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="{anchor}">{number(size)}</text>')
    for label, points in curves.items():
        colour, shape = styles[label]
        places = [(across.at(size), up.at(points[size])) for size in sorted(points)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts += [_mark(shape, x, y, colour) for x, y in places]
    return "\n".join(parts)


def draw(rows: Mapping[str, Mapping[str, Points]], caption: str) -> str:
    """rows: name → server → points. Servers keep their colour in all panels. Raises ValueError without any point."""
    shown = {name: {label: points for label, points in one.items() if points} for name, one in rows.items()}
    shown = {name: one for name, one in shown.items() if one}
    if not shown:
        raise ValueError("nothing to draw")
    labels = list(dict.fromkeys(label for one in shown.values() for label in one))
    styles = {
        label: (COLOURS[at % len(COLOURS)], SHAPES[(at + at // len(COLOURS)) % len(SHAPES)])
        for at, label in enumerate(labels)
    }
    sizes = sorted({size for one in shown.values() for points in one.values() for size in points})
    lines = -(-len(shown) // COLUMNS)
    width, height = COLUMNS * WIDTH, LEGEND + lines * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<title>{escape(caption)}</title>",
        "<style>text{font:10px sans-serif;fill:#333}.title{font-weight:bold;font-size:12px}.grid{stroke:#ddd}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="14">{escape(caption)}</text>',
    ]
    x = LEFT
    for label in labels:
        colour, shape = styles[label]
        parts.append(_mark(shape, x + 4, 30, colour))
        parts.append(f'<text x="{x + 12}" y="33.5">{escape(label)}</text>')
        x += 30 + 6 * len(label)
    for at, (name, curves) in enumerate(shown.items()):
        place = f"translate({at % COLUMNS * WIDTH} {LEGEND + at // COLUMNS * HEIGHT})"
        parts.append(f'<g transform="{place}">{_panel(name, curves, styles, sizes)}</g>')
    return "\n".join([*parts, "</svg>", ""])
