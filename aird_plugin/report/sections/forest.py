"""The chart of standings that two sections share: a line a method, its mean, its seeds, its interval."""

from aird_plugin.report.charts import BOTTOM, TOP, Chart
from aird_plugin.report.html import figure, table
from aird_plugin.report.material import TEACHER_NAME, Material, Standing
from aird_plugin.report.scales import Scale, linear

ROW = 31
LONGEST = 46
EDGE = 12


def forest(material: Material, standings: list[Standing], title: str, note: str = "") -> str:
    """A figure of the standings, best on top. The axis fits the students; a teacher far from them is told in words."""
    students = [s for s in standings if s.name != TEACHER_NAME] or standings
    low, high = min(min(s.low, *s.values) for s in students), max(max(s.high, *s.values) for s in students)
    rows = len(standings)
    chart = Chart(linear(low, high), Scale(0, rows, []), "accuracy, %", "", TOP + BOTTOM + ROW * rows, left=EDGE)
    for index, s in enumerate(standings):
        y, style = rows - index - 0.68, material.look(s.name)
        name = s.name if len(s.name) <= LONGEST else s.name[: LONGEST - 1] + "…"
        chart.write(chart.x.low, y, name, lift=8.5)
        chart.write(chart.x.high, y, told(s), "end", lift=8.5)
        if s.mean < chart.x.low:
            chart.write(chart.x.low, y, "← off the axis", lift=-4, css="")
            continue
        if s.mean > chart.x.high:
            chart.write(chart.x.high, y, "off the axis →", "end", -4, "")
            continue
        chart.whisker((s.low, y), (s.high, y), style)
        for value in s.values if len(s.values) > 1 else []:
            chart.point(value, y, style, f"{s.name}, one seed: {value:.2f}%", faint=True)
        chart.point(s.mean, y, style, f"{s.name}: {told(s)}, 95% interval {s.low:.2f} to {s.high:.2f}")
    return figure(chart.svg(f"{title}: accuracy of {rows} methods"), title, note)


def told(s: Standing) -> str:
    """88.40, or 88.40 ± 0.31 over seeds."""
    return f"{s.mean:.2f}" + ("" if s.spread is None else f" ± {s.spread:.2f}")


def standings_table(standings: list[Standing], caption: str) -> str:
    """The same as numbers."""
    head = ["Method", "Accuracy, %", "Spread of seeds", "Seeds", "95% from", "to", "Pairs"]
    rows = [[s.name, s.mean, s.spread, len(s.values), s.low, s.high, s.pairs] for s in standings]
    return table(head, rows, caption)
