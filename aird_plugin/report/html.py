"""HTML building blocks. Text from files is escaped by `text`; all functions return HTML."""

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from aird_plugin.report.charts import SeriesStyle, swatch

NUMBER = re.compile(r"[-−+]?\d[\d.]*( ± [\d.]+)?")


@dataclass(frozen=True)
class Section:
    """A section of the page. body: HTML."""

    key: str
    title: str
    body: str


def text(value: object) -> str:
    """Any value as escaped HTML text; floats with two decimals, an en dash for None."""
    if value is None:
        return "–"
    return escape(f"{value:.2f}".replace("-", "−") if isinstance(value, float) else str(value))


def paragraph(content: str, css: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{css}">{text(content)}</p>'


def missing(content: str) -> str:
    """The text of a section without data."""
    return paragraph(content, "missing")


def table(head: Sequence[str], rows: Iterable[Sequence], caption: str, css: str = "") -> str:
    """A table in a box that scrolls if the table is too wide. Cells are values; the first cell is the row header.

    css: "long" for a table that also scrolls vertically, "code" if the last column holds commands.
    """
    rows = [list(row) for row in rows]
    numeric = [any(NUMBER.fullmatch(text(cell)) for cell in column) for column in zip(*rows, strict=True)] or [False] * len(head)
    css_of = [' class="number"' if each else "" for each in numeric]
    heads = "".join(f'<th scope="col"{css}>{text(cell)}</th>' for cell, css in zip(head, css_of, strict=True))
    lines = []
    for first, *rest in rows:
        cells = "".join(f"<td{css}>{text(cell)}</td>" for cell, css in zip(rest, css_of[1:], strict=True))
        lines.append(f'<tr><th scope="row">{text(first)}</th>{cells}</tr>')
    inner = f"<caption>{text(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody>"
    box = f'<div class="scroll {css}" tabindex="0" role="region" aria-label="{text(caption)}">'
    return f"{box}<table>{inner}</table></div>"


def numbers(*tables: str) -> str:
    """The numbers behind a figure, collapsed."""
    return f"<details><summary>The numbers</summary>{''.join(tables)}</details>"


def figure(svg: str, title: str, note: str = "") -> str:
    """A chart with a title above and a note below."""
    below = f'<p class="note">{text(note)}</p>' if note else ""
    return f"<figure><figcaption>{text(title)}</figcaption>{svg}{below}</figure>"


def figures(items: Iterable[str], css: str = "") -> str:
    """Charts side by side, as many as fit the width."""
    return f'<div class="figures {css}">{"".join(items)}</div>'


def legend(entries: Iterable[tuple[str, SeriesStyle]]) -> str:
    """Series names and their line styles."""
    items = "".join(f"<li>{swatch(style)}<span>{text(name)}</span></li>" for name, style in entries)
    return f'<ul class="legend">{items}</ul>'


def image(png: bytes, alt: str, css: str) -> str:
    """A PNG file embedded in the page."""
    source = base64.b64encode(png).decode()
    return f'<img class="{css}" alt="{text(alt)}" src="data:image/png;base64,{source}">'


def thinned(items: Sequence, count: int) -> list:
    """At most about `count` evenly spaced items, including the first and the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(n * (len(items) - 1) / (count - 1))] for n in range(count)]
