"""Accuracy against the number of RID's negatives (the AIRD paper's figure 6)."""

from aird_plugin.report.charts import Chart, series_style
from aird_plugin.report.data import MethodSummary, ReportData
from aird_plugin.report.html import Section, figure, figures, missing, numbers, paragraph
from aird_plugin.report.runs import Method
from aird_plugin.report.scales import doubling, linear
from aird_plugin.report.sections.forest import format_score, summary_table
from aird_plugin.report.sections.summary import headline_specs, spec_title

TITLE = "Negatives"
KEY = "rid_negatives"
NEEDS = f"Needs accuracies of runs that differ only in {KEY}: train a recipe with {KEY}=16, 64, 256, and give all of them."


def section(data: ReportData) -> Section:
    """One line per family of methods that differ only in the number of negatives."""
    charts, tables = [], []
    for spec in headline_specs(data):
        summaries = {s.name: s for s in data.summaries(**spec)}
        known = [[m for m in family if m.name in summaries] for family in families(data.methods)]
        lines = [[(m.runs[0].recipe[KEY], summaries[m.name]) for m in family] for family in known if len(family) > 1]
        if lines:
            charts.append(_chart(lines, spec_title(data, spec)))
            tables += [summary_table([s for _, s in line], spec_title(data, spec)) for line in lines]
    if not charts:
        return Section("negatives", TITLE, missing(NEEDS))
    note = "Bars are 95% intervals for the pairs. A difference below the bar length or the spread of seeds may be noise."
    return Section("negatives", TITLE, paragraph(note, "soft") + figures(charts, "wide") + numbers(*tables))


def families(methods: list[Method]) -> list[list[Method]]:
    """Groups of methods that differ only in the number of negatives, sorted by it; single methods are left out."""
    groups: dict[str, list[Method]] = {}
    for method in methods:
        recipe = method.runs[0].recipe
        if isinstance(recipe.get(KEY), int) and recipe[KEY] > 0:
            groups.setdefault(method.runs[0].key(KEY), []).append(method)
    return [sorted(family, key=lambda m: m.runs[0].recipe[KEY]) for family in groups.values() if len(family) > 1]


def _chart(lines: list[list[tuple[int, MethodSummary]]], title: str) -> str:
    """Accuracy against the number of negatives."""
    counts = [count for line in lines for count, _ in line]
    ends = [end for line in lines for _, s in line for end in (s.low, s.high)]
    chart = Chart(doubling(counts), linear(min(ends), max(ends)), "negatives", "accuracy, %")
    for index, line in enumerate(lines):
        chart.line([(count, s.mean) for count, s in line], series_style(index))
        for count, s in line:
            chart.whisker((count, s.low), (count, s.high), series_style(index))
            chart.point(count, s.mean, series_style(index), f"{s.name}, {count} negatives: {format_score(s)}%")
    return figure(chart.svg(f"{title}: accuracy against the number of negatives"), title)
