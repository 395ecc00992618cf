"""Draw the charts of the documentation from the rows beside them: `make pictures`.

    python tools/draw_charts.py [FOLDER]

FOLDER (default: docs/pictures) holds files CHART.json: {"title", "x", "y", "note", "log", "lines": [{"name", "points": [[x, y],
...]}]}. Each becomes CHART.svg, readable on light and dark pages. Lines differ in dash and marker as well as in colour.
"""

import argparse
import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

from aird_plugin.utils.files import write_atomically

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 58, 200, 44, 56
STYLE = """
text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:15px}.soft{fill:#59636e}
.grid{stroke:#d1d9e0}.axis{stroke:#59636e}.line{fill:none;stroke-width:2.2}
.c0{stroke:#0969da;fill:#0969da}.c1{stroke:#bc4c00;fill:#bc4c00}.c2{stroke:#1a7f37;fill:#1a7f37}.c3{stroke:#8250df;fill:#8250df}
path.line{fill:none}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#9198a1}.grid{stroke:#3d444d}.axis{stroke:#9198a1}
.c0{stroke:#58a6ff;fill:#58a6ff}.c1{stroke:#f0883e;fill:#f0883e}.c2{stroke:#3fb950;fill:#3fb950}.c3{stroke:#a371f7;fill:#a371f7}
path.line{fill:none}}
"""
DASHES = ("", "7 4", "2 4", "10 4 2 4")


def main(argv: Sequence[str] | None = None) -> int:
    """Draw every chart of the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    for rows in sorted(parser.parse_args(argv).folder.glob("*.json")):
        target = rows.with_suffix(".svg")
        write_atomically(target, chart(json.loads(rows.read_text())).encode())
        print(target)
    return 0


def chart(data: dict) -> str:
    """The chart as SVG text."""
    points = [point for line in data["lines"] for point in line["points"]]
    xs, ys = zip(*points, strict=True)
    across = scale(min(xs), max(xs), LEFT, WIDTH - RIGHT, data.get("log", False))
    bottom, top = math.floor(min(ys) / 5) * 5, math.ceil(max(ys) / 5) * 5
    up = scale(bottom, top, HEIGHT - BOTTOM, TOP)
    parts = [f'<text class="title" x="{LEFT}" y="24">{escape(data["title"])}</text>']
    for y in range(bottom, top + 1, 5):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>')
        parts.append(f'<text class="soft" x="{LEFT - 8}" y="{up(y) + 4:.1f}" text-anchor="end">{y}</text>')
    for x in sorted(set(xs)):
        parts.append(f'<text class="soft" x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{x:g}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(bottom):.1f}" y2="{up(bottom):.1f}"/>')
    parts.append(f'<text class="soft" x="{LEFT}" y="{HEIGHT - 12}">{escape(data["x"])}; {escape(data["y"])}</text>')
    parts += [part for number, line in enumerate(data["lines"]) for part in drawn(number, line, across, up)]
    parts += labels(data["lines"], up)
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{escape(data["title"])}">'
    return "\n".join([head, f"<style>{STYLE}</style>", f"<desc>{escape(data['note'])}</desc>", *parts, "</svg>", ""])


def scale(low: float, high: float, start: float, end: float, log: bool = False):
    """The function from values to pixels."""
    place = math.log if log else float

    def pixels(value: float) -> float:
        return start + (place(value) - place(low)) / (place(high) - place(low)) * (end - start)

    return pixels


def drawn(number: int, line: dict, across, up) -> list[str]:
    """A line and its markers."""
    places = [(across(x), up(y)) for x, y in line["points"]]
    path = " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    markers = [marker(number, x, y) for x, y in places]
    return [f'<path class="line c{number}" stroke-dasharray="{DASHES[number]}" d="M{path}"/>', *markers]


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
