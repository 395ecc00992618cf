"""A forest plot: a difference with its interval for each row and column, around zero.

Its JSON: {"kind": "forest", "title", "x", "note", "columns": [COLUMN, ...], "rows": [{"name", COLUMN: {"value", "low", "high",
"significant"} or null, ...}]}.
"""

import math
from html import escape

from tools.lib.svg import document, scale

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 860, 216, 24, 74, 52
ROW, GAP, STEP = 22, 44, 4


def chart(data: dict) -> str:
    """The chart as SVG text."""
    columns, rows = data["columns"], data["rows"]
    cells = [row[column] for row in rows for column in columns if row[column]]
    low = math.floor(min(cell["low"] for cell in cells) / STEP) * STEP
    high = math.ceil(max(cell["high"] for cell in cells) / STEP) * STEP
    height = TOP + ROW * len(rows) + BOTTOM
    parts = [f'<text class="title" x="16" y="24">{escape(data["title"])}</text>']
    width = (WIDTH - LEFT - RIGHT - GAP * (len(columns) - 1)) / len(columns)
    for number, column in enumerate(columns):
        start = LEFT + number * (width + GAP)
        across = scale(low, high, start, start + width)
        parts.append(f'<text x="{across(0):.1f}" y="{TOP - 24}" text-anchor="middle">{escape(column)}</text>')
        parts += axis(across, range(low, high + 1, STEP), height)
        for place, row in enumerate(rows):
            parts += interval(row[column], across, TOP + ROW * place + ROW / 2, number)
    for place, row in enumerate(rows):
        y = TOP + ROW * place + ROW / 2 + 4
        parts.append(f'<text x="{LEFT - 12}" y="{y:.1f}" text-anchor="end">{escape(row["name"])}</text>')
    parts.append(f'<text class="soft" x="16" y="{height - 12}">{escape(data["x"])}; filled: significant</text>')
    return document((WIDTH, height), data["title"], data["note"], parts)


def axis(across, ticks: range, height: int) -> list[str]:
    """Grid lines with their values, zero the strongest."""
    parts = []
    for tick in ticks:
        x, kind = across(tick), "axis" if tick == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{height - BOTTOM}"/>')
        label = f"{tick:+d}" if tick else "0"
        parts.append(f'<text class="soft" x="{x:.1f}" y="{height - BOTTOM + 18}" text-anchor="middle">{label}</text>')
    return parts


def interval(cell: dict | None, across, y: float, color: int) -> list[str]:
    """A line from low to high and a marker at the value, filled if significant; n/a for None."""
    if cell is None:
        return [f'<text class="soft" x="{across(0) + 8:.1f}" y="{y + 4:.1f}">n/a</text>']
    filled = f"c{color}" if cell["significant"] else f"c{color} hollow"
    x, low, high = (across(cell[key]) for key in ("value", "low", "high"))
    return [
        f'<path class="line c{color}" d="M{low:.1f} {y:.1f} L{high:.1f} {y:.1f}"/>',
        f'<circle class="{filled}" stroke-width="2" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>',
    ]
