"""Pieces of a page. Text from files goes through `text`; what these functions return is HTML."""

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from aird_plugin.report.charts import Look, swatch

NUMBER = re.compile(r"[-−+]?\d[\d.]*( ± [\d.]+)?")


@dataclass(frozen=True)
class Section:
    """A panel of the page. body: HTML."""

    key: str
    title: str
    body: str


def text(value) -> str:
    """Any value as harmless HTML text; numbers with two decimals, an en dash for what does not apply."""
    if value is None:
        return "–"
    return escape(f"{value:.2f}".replace("-", "−") if isinstance(value, float) else str(value))


def paragraph(words: str, css: str = "") -> str:
    """Plain words."""
    return f'<p class="{css}">{text(words)}</p>'


def missing(words: str) -> str:
    """What a section says instead of a figure that it has no data for."""
    return paragraph(words, "missing")


def table(head: Sequence[str], rows: Iterable[Sequence], caption: str, css: str = "") -> str:
    """A table in a box of its own that scrolls where it is too wide. Cells are values; the first names its row.

    css: "long" for a table that also scrolls down, "code" for one whose last column holds commands.
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
    """The numbers behind a figure, folded away."""
    return f"<details><summary>The numbers</summary>{''.join(tables)}</details>"


def figure(svg: str, title: str, note: str = "") -> str:
    """A chart under its title, with a line below it."""
    below = f'<p class="note">{text(note)}</p>' if note else ""
    return f"<figure><figcaption>{text(title)}</figcaption>{svg}{below}</figure>"


def figures(items: Iterable[str], css: str = "") -> str:
    """Charts side by side, as many as fit."""
    return f'<div class="figures {css}">{"".join(items)}</div>'


def legend(entries: Iterable[tuple[str, Look]]) -> str:
    """Names and how they are drawn."""
    items = "".join(f"<li>{swatch(look)}<span>{text(name)}</span></li>" for name, look in entries)
    return f'<ul class="legend">{items}</ul>'


def picture(png: bytes, words: str, css: str) -> str:
    """A PNG file inside the page."""
    source = base64.b64encode(png).decode()
    return f'<img class="{css}" alt="{text(words)}" src="data:image/png;base64,{source}">'


def thinned(items: Sequence, count: int) -> list:
    """At most about `count` of the items, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(n * (len(items) - 1) / (count - 1))] for n in range(count)]
