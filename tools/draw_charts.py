"""Draw the charts of the documentation from the rows beside them: `make pictures`.

    python tools/draw_charts.py [FOLDER]

FOLDER (default: docs/pictures) holds files CHART.json: {"title", "x", "y", "note", "log", "ticks", "lines": [{"name", "points":
[[x, y], ...]}]}, where a point may have a label and the ticks are the x of all points unless given, or, with "kind": "forest",
those of tools/lib/forest.py. Each becomes CHART.svg, readable on light and dark pages. Lines differ in dash and marker as well as
in colour.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

from aird_plugin.utils.files import write_atomically
from tools.lib import forest
from tools.lib.svg import document, scale

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 58, 200, 44, 56
DASHES = ("", "7 4", "2 4", "10 4 2 4")


def main(argv: Sequence[str] | None = None) -> int:
    """Draw every chart of the folder. Rows of the kind "faces" belong to draw_sizes_picture.py."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    for rows in sorted(parser.parse_args(argv).folder.glob("*.json")):
        target = rows.with_suffix(".svg")
        data = json.loads(rows.read_text())
        if data.get("kind") == "faces":
            continue
        write_atomically(target, (forest.chart if data.get("kind") == "forest" else chart)(data).encode())
        print(target)
    return 0


def chart(data: dict) -> str:
    """The chart as SVG text."""
    points = [point for line in data["lines"] for point in line["points"]]
    xs, ys = ([point[axis] for point in points] for axis in (0, 1))
    across = scale(min(xs), max(xs), LEFT, WIDTH - RIGHT, data.get("log", False))
    bottom, top = math.floor(min(ys) / 5) * 5, math.ceil(max(ys) / 5) * 5
    up = scale(bottom, top, HEIGHT - BOTTOM, TOP)
    parts = [f'<text class="title" x="{LEFT}" y="24">{escape(data["title"])}</text>']
    for y in range(bottom, top + 1, 5):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>')
        parts.append(f'<text class="soft" x="{LEFT - 8}" y="{up(y) + 4:.1f}" text-anchor="end">{y}</text>')
    for x in data.get("ticks", sorted(set(xs))):
        parts.append(f'<text class="soft" x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{x:,}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(bottom):.1f}" y2="{up(bottom):.1f}"/>')
    parts.append(f'<text class="soft" x="{LEFT}" y="{HEIGHT - 12}">{escape(data["x"])}; {escape(data["y"])}</text>')
    parts += [part for number, line in enumerate(data["lines"]) for part in drawn(number, line, across, up)]
    parts += labels(data["lines"], up)
    return document((WIDTH, HEIGHT), data["title"], data["note"], parts)


def drawn(number: int, line: dict, across, up) -> list[str]:
    """A line and its markers."""
    places = [(across(x), up(y)) for x, y, *_ in line["points"]]
    path = " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    markers = [marker(number, x, y) for x, y in places]
    texts = [
        f'<text class="soft" x="{x:.1f}" y="{y - 9:.1f}" text-anchor="middle">{escape(label)}</text>'
        for (x, y), (_, _, *labels) in zip(places, line["points"], strict=True)
        for label in labels
    ]
    return [f'<path class="line c{number}" stroke-dasharray="{DASHES[number]}" d="M{path}"/>', *markers, *texts]


def marker(number: int, x: float, y: float) -> str:
    """A circle, square, triangle or diamond."""
    if number == 0:
        return f'<circle class="c0" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    shapes = {1: "-4 -4 4 -4 4 4 -4 4", 2: "0 -5 5 4 -5 4", 3: "0 -6 5 0 0 6 -5 0"}
    return f'<polygon class="c{number}" points="{shapes[number]}" transform="translate({x:.1f} {y:.1f})"/>'


def labels(lines: list[dict], up) -> list[str]:
    """The name of each line at its end, moved apart where two would overlap."""
    found, below = [], -math.inf
    for number, line in sorted(enumerate(lines), key=lambda one: -one[1]["points"][-1][1]):
        y = max(up(line["points"][-1][1]) + 4, below + 34)
        below = y
        first, _, second = line["name"].partition(", ")
        found.append(marker(number, WIDTH - RIGHT + 16, y - 4))
        found.append(f'<text x="{WIDTH - RIGHT + 28}" y="{y:.1f}">{escape(first)}</text>')
        if second:
            found.append(f'<text class="soft" x="{WIDTH - RIGHT + 28}" y="{y + 15:.1f}">{escape(second)}</text>')
    return found


if __name__ == "__main__":
    raise SystemExit(main())
