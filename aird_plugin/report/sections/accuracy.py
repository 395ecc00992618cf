"""Accuracy against px, and the pairs files that the summary does not show."""

import itertools
import math

from aird_plugin.report.charts import Chart
from aird_plugin.report.data import ReportData
from aird_plugin.report.html import Section, figure, figures, missing, numbers, paragraph, table
from aird_plugin.report.scales import doubling, linear
from aird_plugin.report.sections.forest import forest, format_score, summary_table
from aird_plugin.report.sections.summary import headline_specs, spec_title

TITLE = "Accuracy against px"
NEEDS = "A curve needs several px: give, for example, --px 8 12 16 24 32 112."
NOTE = (
    "Bars are 95% intervals for the pairs. The curve shows how well a student generalises to px other than the one it was "
    "trained at."
)
# Methods at one px are drawn side by side: apart by this ratio, and all within this part of the way to the next px.
X_OFFSET, X_PART = 0.028, 0.3


def section(data: ReportData) -> Section:
    """A chart for each pairs file and protocol: lines for several px, else summaries."""
    shown, charts, tables = headline_specs(data), [], []
    for pairs, protocol in data.evaluated():
        sides = sorted({result.row["px"] for result in data.find(pairs=pairs, protocol=protocol)})
        if len(sides) > 1:
            spec = {"pairs": pairs, "protocol": protocol}
            charts.append(_lines(data, spec, sides))
            tables.append(_table(data, spec, sides))
        elif sides and (spec := {"pairs": pairs, "px": sides[0], "protocol": protocol}) not in shown:
            charts.append(forest(data, data.summaries(**spec), spec_title(data, spec)))
            tables.append(summary_table(data.summaries(**spec), spec_title(data, spec)))
    if not charts:
        return Section("accuracy", TITLE, missing(NEEDS))
    return Section("accuracy", TITLE, paragraph(NOTE, "soft") + figures(charts, "wide") + numbers(*tables))


def _lines(data: ReportData, spec: dict, sides: list[int]) -> str:
    """The chart of accuracy against px, a line per method with intervals."""
    points = {px: data.summaries(px=px, **spec) for px in sides}
    ends = [end for summaries in points.values() for s in summaries for end in (s.low, s.high)]
    chart = Chart(doubling(sides), linear(min(ends), max(ends)), "side of the LR image, px", "accuracy, %")
    names = data.names
    closest = min(math.log(wide / narrow) for narrow, wide in itertools.pairwise(sides))
    step = min(math.log1p(X_OFFSET), X_PART * closest / max(len(names) - 1, 1))
    for index, name in enumerate(names):
        style, offset = data.style_of(name), math.exp(step * (index - (len(names) - 1) / 2))
        points_of_name = [(px * offset, s) for px in sides for s in points[px] if s.name == name]
        chart.line([(x, s.mean) for x, s in points_of_name], style)
        for x, s in points_of_name:
            chart.whisker((x, s.low), (x, s.high), style)
            chart.point(
                x, s.mean, style, f"{name} at {x / offset:.0f} px: {format_score(s)}%, 95% interval {s.low:.2f} to {s.high:.2f}"
            )
    title = _title(data, spec)
    return figure(chart.svg(f"{title}: accuracy against the side of the LR image, one line per method"), title)


def _title(data: ReportData, spec: dict) -> str:
    """Title of evaluations at several px."""
    return f"{spec['protocol'].upper()}{data.degradation_of(**spec)}, {data.file_names[spec['pairs']]}"


def _table(data: ReportData, spec: dict, sides: list[int]) -> str:
    found = {(s.name, px): s for px in sides for s in data.summaries(px=px, **spec)}
    rows = [[name, *(format_score(found[name, px]) if (name, px) in found else None for px in sides)] for name in data.names]
    title = _title(data, spec)
    caption = f"{title}: accuracy in per cent, ± standard deviation over seeds"
    return table(["Method", *(f"{px} px" for px in sides)], rows, caption)
