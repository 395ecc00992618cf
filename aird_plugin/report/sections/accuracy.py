"""Accuracy against the side of the face; and the pairs files that the summary does not show."""

from aird_plugin.report.charts import Chart
from aird_plugin.report.html import Section, figure, figures, missing, numbers, paragraph, table
from aird_plugin.report.material import Material, file_name
from aird_plugin.report.scales import doubling, linear
from aird_plugin.report.sections.forest import forest, standings_table, told
from aird_plugin.report.sections.summary import heading, headline

TITLE = "Accuracy against px"
NEEDS = "One side of face alone is no curve: give several, such as --px 8 12 16 24 32 112."
READ = (
    "Bars are 95% intervals of the pairs. A student was trained at one px; how it fares at others says how far it can be "
    "trusted beyond."
)
DODGE = 0.028


def section(material: Material) -> Section:
    """A chart for each pairs file and protocol: lines where several px were asked, else standings."""
    shown, charts, tables = headline(material), [], []
    for pairs, protocol in material.asked():
        sides = sorted({answer.row["px"] for answer in material.find(pairs=pairs, protocol=protocol)})
        if len(sides) > 1:
            question = {"pairs": pairs, "protocol": protocol}
            charts.append(_lines(material, question, sides))
            tables.append(_table(material, question, sides))
        elif sides and (question := {"pairs": pairs, "px": sides[0], "protocol": protocol}) not in shown:
            charts.append(forest(material, material.standings(**question), heading(question)))
            tables.append(standings_table(material.standings(**question), heading(question)))
    if not charts:
        return Section("accuracy", TITLE, missing(NEEDS))
    return Section("accuracy", TITLE, paragraph(READ, "soft") + figures(charts, "wide") + numbers(*tables))


def _lines(material: Material, question: dict, sides: list[int]) -> str:
    points = {px: material.standings(px=px, **question) for px in sides}
    ends = [end for standings in points.values() for s in standings for end in (s.low, s.high)]
    chart = Chart(doubling(sides), linear(min(ends), max(ends)), "side of the low face, px", "accuracy, %")
    names = material.names
    for index, name in enumerate(names):
        style, aside = material.look(name), 1 + DODGE * (index - (len(names) - 1) / 2)
        mine = [(px * aside, s) for px in sides for s in points[px] if s.name == name]
        chart.line([(x, s.mean) for x, s in mine], style)
        for x, s in mine:
            chart.whisker((x, s.low), (x, s.high), style)
            chart.point(x, s.mean, style, f"{name} at {x / aside:.0f} px: {told(s)}%, 95% interval {s.low:.2f} to {s.high:.2f}")
    title = f"{question['protocol'].upper()}, {file_name(question['pairs'])}"
    return figure(chart.svg(f"{title}: accuracy against the side of the low face, a line a method"), title)


def _table(material: Material, question: dict, sides: list[int]) -> str:
    found = {(s.name, px): s for px in sides for s in material.standings(px=px, **question)}
    rows = [[name, *(told(found[name, px]) if (name, px) in found else None for px in sides)] for name in material.names]
    which = f"{question['protocol'].upper()}, {file_name(question['pairs'])}"
    caption = f"{which}: accuracy in per cent, ± standard deviation over seeds"
    return table(["Method", *(f"{px} px" for px in sides)], rows, caption)
