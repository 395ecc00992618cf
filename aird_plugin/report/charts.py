"""Small SVG charts that follow the theme of the page: colours are CSS classes, labels are text, tooltips show values.

A chart is 360 units wide and is not scaled much, so its text stays readable on a phone.
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
class SeriesStyle:
    """Colour, dash pattern and marker of a series, distinguishable without colour."""

    colour: str
    dash: str
    mark: str


TEACHER = SeriesStyle("ink", "4 3", "plus")


def series_style(index: int) -> SeriesStyle:
    """The style of series number `index`; 56 styles are distinct."""
    return SeriesStyle(f"s{index % COLOURS}", DASHES[index % len(DASHES)], MARKS[index % len(MARKS)])


def mark(position: tuple[float, float], style: SeriesStyle, tip: str = "", faint: bool = False) -> str:
    """A marker at a position in chart units; `tip` is its tooltip."""
    title = f"<title>{escape(tip)}</title>" if tip else ""
    css = f"mark {style.colour} {style.mark}" + (" faint" if faint else "")
    return (
        f'<path class="{css}" d="{SHAPES[style.mark]}" transform="translate({_n(position[0])} {_n(position[1])})">{title}</path>'
    )


def swatch(style: SeriesStyle) -> str:
    """The sample of a series in a legend."""
    line = f'<line class="line {style.colour}" x1="1" x2="35" y1="7" y2="7" stroke-dasharray="{style.dash}"/>'
    return f'<svg class="swatch" viewBox="0 0 36 14" aria-hidden="true">{line}{mark((18, 7), style)}</svg>'


class Chart:
    """A frame with two axes. Add elements, then call `svg`. Values are in data units."""

    def __init__(self, x: Scale, y: Scale, x_label: str, y_label: str, height: int = HEIGHT, left: int = LEFT):
        self.x, self.y, self.height, self.left = x, y, height, left
        self.labels = (x_label, y_label)
        self.parts: list[str] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Data values -> chart units."""
        across, down = WIDTH - self.left - RIGHT, self.height - TOP - BOTTOM
        return self.left + across * self.x.position(x), TOP + down * (1 - self.y.position(y))

    def line(self, points: list[tuple[float, float]], style: SeriesStyle, css: str = "") -> None:
        """A line through the points."""
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in (self.at(*point) for point in points))
        self.parts.append(f'<polyline class="line {style.colour} {css}" points="{path}" stroke-dasharray="{style.dash}"/>')

    def area(self, points: list[tuple[float, float]], style: SeriesStyle) -> None:
        """The filled area between a line and the bottom of the frame."""
        ring = [(points[0][0], self.y.low), *points, (points[-1][0], self.y.low)]
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in (self.at(*point) for point in ring))
        self.parts.append(f'<polygon class="area {style.colour}" points="{path}"/>')

    def point(self, x: float, y: float, style: SeriesStyle, tip: str = "", faint: bool = False) -> None:
        """A marker."""
        self.parts.append(mark(self.at(x, y), style, tip, faint))

    def whisker(self, start: tuple[float, float], end: tuple[float, float], style: SeriesStyle) -> None:
        """A thin line between two points, for an interval."""
        (x1, y1), (x2, y2) = self.at(*start), self.at(*end)
        position = f'x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"'
        self.parts.append(f'<line class="whisker {style.colour}" {position}/>')

    def rule(self, x: float, text: str, at_bottom: bool = False) -> None:
        """A dashed vertical line with a label at its top or bottom."""
        (left, top), (_, bottom) = self.at(x, self.y.high), self.at(x, self.y.low)
        self.parts.append(f'<line class="rule" x1="{_n(left)}" x2="{_n(left)}" y1="{_n(top)}" y2="{_n(bottom)}"/>')
        anchor, shift = ("end", -4) if left > WIDTH - 90 else ("start", 4)
        y = _n(bottom - 6 if at_bottom else top + 9)
        self.parts.append(f'<text x="{_n(left + shift)}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>')

    def write(self, x: float, y: float, label: str, anchor: str = "start", lift: float = 0.0, css: str = "name") -> None:
        """A label, `lift` units above a position."""
        across, down = self.at(x, y)
        position = f'x="{_n(across)}" y="{_n(down - lift)}" text-anchor="{anchor}"'
        self.parts.append(f'<text class="{css}" {position}>{escape(label)}</text>')

    def svg(self, name: str) -> str:
        """The chart as an SVG element; `name` is its label for screen readers."""
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
        middle, center = _n((self.left + right) / 2), _n((TOP + bottom) / 2)
        x_label, y_label = map(escape, self.labels)
        out.append(f'<text x="{middle}" y="{self.height - 5}" text-anchor="middle">{x_label}</text>' if x_label else "")
        rotated = f'transform="translate(11 {center}) rotate(-90)" text-anchor="middle"'
        out.append(f"<text {rotated}>{y_label}</text>" if y_label else "")
        y_axis = f"M{self.left} {TOP}V{bottom}" if self.y.ticks else ""
        x_axis = f"M{self.left} {bottom}H{right}" if self.x.ticks else ""
        return "".join(out) + f'<path class="axis" d="{y_axis}{x_axis}"/>'


def _n(number: float) -> str:
    """A coordinate with two decimals, finer than the resolution of a screen."""
    return f"{number:.2f}".rstrip("0").rstrip(".")
