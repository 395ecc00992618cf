"""Small SVG charts that follow the page's theme: colours are CSS classes, text is text, a hover tells the number.

A chart is drawn for 360 units of width and never becomes much larger or smaller, so its text stays readable on a phone.
"""

from dataclasses import dataclass
from html import escape

from aird_plugin.report.scales import Scale

WIDTH, HEIGHT = 360, 236
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 36
COLOURS = 8
DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "4 2", "12 3", "5 2 1 2 1 2", "1.5 4")
MARKS = ("circle", "square", "triangle", "diamond", "down", "cross", "plus")
SHAPES = {
    "square": "M-3 -3H3V3H-3Z",
    "triangle": "M0 -4L3.8 3H-3.8Z",
    "down": "M0 4L3.8 -3H-3.8Z",
    "diamond": "M0 -4.4L4.4 0L0 4.4L-4.4 0Z",
    "cross": "M-3 -3L3 3M-3 3L3 -3",
    "plus": "M-4 0H4M0 -4V4",
    "circle": "M-3.4 0A3.4 3.4 0 1 0 3.4 0A3.4 3.4 0 1 0 -3.4 0Z",
}


@dataclass(frozen=True)
class Look:
    """How a series is told from the others without colour alone."""

    colour: str
    dash: str
    mark: str


TEACHER = Look("ink", "4 3", "plus")


def look(index: int) -> Look:
    """The look of the series number `index`; 56 of them differ."""
    return Look(f"s{index % COLOURS}", DASHES[index % len(DASHES)], MARKS[index % len(MARKS)])


def mark(place: tuple[float, float], style: Look, tip: str = "", faint: bool = False) -> str:
    """A marker at a place on the paper; `tip` is told on hover."""
    title = f"<title>{escape(tip)}</title>" if tip else ""
    css = f"mark {style.colour} {style.mark}" + (" faint" if faint else "")
    return f'<path class="{css}" d="{SHAPES[style.mark]}" transform="translate({_n(place[0])} {_n(place[1])})">{title}</path>'


def swatch(style: Look) -> str:
    """What stands before a name in a legend."""
    line = f'<line class="line {style.colour}" x1="1" x2="35" y1="7" y2="7" stroke-dasharray="{style.dash}"/>'
    return f'<svg class="swatch" viewBox="0 0 36 14" aria-hidden="true">{line}{mark((18, 7), style)}</svg>'


class Chart:
    """A frame with two axes; draw into it, then take its `svg`. Values are in data units."""

    def __init__(self, x: Scale, y: Scale, x_label: str, y_label: str, height: int = HEIGHT, left: int = LEFT):
        self.x, self.y, self.height, self.left = x, y, height, left
        self.labels = (x_label, y_label)
        self.parts: list[str] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A pair of data values -> units on the paper."""
        across, down = WIDTH - self.left - RIGHT, self.height - TOP - BOTTOM
        return self.left + across * self.x.place(x), TOP + down * (1 - self.y.place(y))

    def line(self, points: list[tuple[float, float]], style: Look, css: str = "") -> None:
        """A line through the points."""
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in (self.at(*point) for point in points))
        self.parts.append(f'<polyline class="line {style.colour} {css}" points="{path}" stroke-dasharray="{style.dash}"/>')

    def area(self, points: list[tuple[float, float]], style: Look, floor: float | None = None) -> None:
        """The surface between a line and `floor` (default: the bottom of the frame)."""
        floor = self.y.low if floor is None else floor
        ring = [(points[0][0], floor), *points, (points[-1][0], floor)]
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in (self.at(*point) for point in ring))
        self.parts.append(f'<polygon class="area {style.colour}" points="{path}"/>')

    def point(self, x: float, y: float, style: Look, tip: str = "", faint: bool = False) -> None:
        """A marker."""
        self.parts.append(mark(self.at(x, y), style, tip, faint))

    def whisker(self, start: tuple[float, float], end: tuple[float, float], style: Look) -> None:
        """A thin line from one point to another: an interval."""
        (x1, y1), (x2, y2) = self.at(*start), self.at(*end)
        place = f'x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"'
        self.parts.append(f'<line class="whisker {style.colour}" {place}/>')

    def rule(self, x: float, text: str, at_foot: bool = False) -> None:
        """A dashed upright line with a word at its head or foot."""
        (left, top), (_, bottom) = self.at(x, self.y.high), self.at(x, self.y.low)
        self.parts.append(f'<line class="rule" x1="{_n(left)}" x2="{_n(left)}" y1="{_n(top)}" y2="{_n(bottom)}"/>')
        anchor, shift = ("end", -4) if left > WIDTH - 90 else ("start", 4)
        y = _n(bottom - 6 if at_foot else top + 9)
        self.parts.append(f'<text x="{_n(left + shift)}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>')

    def write(self, x: float, y: float, words: str, anchor: str = "start", lift: float = 0.0, css: str = "name") -> None:
        """Words at a place, `lift` units above it."""
        across, down = self.at(x, y)
        place = f'x="{_n(across)}" y="{_n(down - lift)}" text-anchor="{anchor}"'
        self.parts.append(f'<text class="{css}" {place}>{escape(words)}</text>')

    def svg(self, name: str) -> str:
        """The chart as an SVG element; `name` is what a screen reader says before the table that follows."""
        view = f'viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(name)}"'
        return f'<svg class="chart" {view}>{self._frame()}{"".join(self.parts)}</svg>'

    def _frame(self) -> str:
        bottom, right, out = self.height - BOTTOM, WIDTH - RIGHT, []
        for value, label in self.y.ticks:
            y = _n(self.at(self.x.low, value)[1])
            out.append(f'<line class="grid" x1="{self.left}" x2="{right}" y1="{y}" y2="{y}"/>')
            out.append(f'<text x="{self.left - 5}" y="{y}" dy=".33em" text-anchor="end">{escape(label)}</text>')
        for value, label in self.x.ticks:
            x = _n(self.at(value, self.y.low)[0])
            out.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{bottom}"/>')
            out.append(f'<text x="{x}" y="{bottom + 13}" text-anchor="middle">{escape(label)}</text>')
        middle, centre = _n((self.left + right) / 2), _n((TOP + bottom) / 2)
        x_label, y_label = map(escape, self.labels)
        out.append(f'<text x="{middle}" y="{self.height - 5}" text-anchor="middle">{x_label}</text>' if x_label else "")
        turned = f'transform="translate(11 {centre}) rotate(-90)" text-anchor="middle"'
        out.append(f"<text {turned}>{y_label}</text>" if y_label else "")
        upright = f"M{self.left} {TOP}V{bottom}" if self.y.ticks else ""
        level = f"M{self.left} {bottom}H{right}" if self.x.ticks else ""
        return "".join(out) + f'<path class="axis" d="{upright}{level}"/>'


def _n(number: float) -> str:
    """A coordinate: two decimals are finer than any screen."""
    return f"{number:.2f}".rstrip("0").rstrip(".")
