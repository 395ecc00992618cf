"""What the charts of draw_charts.py share: a document that is readable on light and dark pages, and the scale of an axis."""

import math
from collections.abc import Callable
from html import escape

STYLE = """
text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:15px}.soft{fill:#59636e}
.grid{stroke:#d1d9e0}.axis{stroke:#59636e}.line{fill:none;stroke-width:2.2}
.c0{stroke:#0969da;fill:#0969da}.c1{stroke:#bc4c00;fill:#bc4c00}.c2{stroke:#1a7f37;fill:#1a7f37}.c3{stroke:#8250df;fill:#8250df}
path.line{fill:none}.hollow{fill:#fff}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#9198a1}.grid{stroke:#3d444d}.axis{stroke:#9198a1}
.c0{stroke:#58a6ff;fill:#58a6ff}.c1{stroke:#f0883e;fill:#f0883e}.c2{stroke:#3fb950;fill:#3fb950}.c3{stroke:#a371f7;fill:#a371f7}
path.line{fill:none}.hollow{fill:#0d1117}}
"""


def document(size: tuple[int, int], title: str, note: str, parts: list[str]) -> str:
    """The parts as the text of an SVG file. size: width and height in pixels; note: its description."""
    box = f'viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" height="{size[1]}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{escape(title)}">'
    return "\n".join([head, f"<style>{STYLE}</style>", f"<desc>{escape(note)}</desc>", *parts, "</svg>", ""])


def scale(low: float, high: float, start: float, end: float, log: bool = False) -> Callable[[float], float]:
    """The function from values to pixels."""
    place = math.log if log else float

    def pixels(value: float) -> float:
        return start + (place(value) - place(low)) / (place(high) - place(low)) * (end - start)

    return pixels
