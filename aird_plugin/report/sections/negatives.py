"""Accuracy against the number of RID's negatives (the AIRD paper's figure 6)."""

import json

from aird_plugin.report.charts import Chart, look
from aird_plugin.report.html import Section, figure, figures, missing, numbers, paragraph
from aird_plugin.report.material import Material, Standing
from aird_plugin.report.runs import Method
from aird_plugin.report.scales import doubling, linear
from aird_plugin.report.sections.forest import standings_table, told
from aird_plugin.report.sections.summary import heading, headline
from aird_plugin.runfolder import FREE_TO_CHANGE

TITLE = "Negatives"
KEY = "rid_negatives"
NEEDS = f"Needs accuracies of runs that differ in {KEY} alone: train a recipe with {KEY}=16, 64, 256, and give all of them."


def section(material: Material) -> Section:
    """A line for each family of methods that differ in the number of negatives alone."""
    charts, tables = [], []
    for question in headline(material):
        standings = {s.name: s for s in material.standings(**question)}
        lines = [[m for m in family if m.name in standings] for family in families(material.methods)]
        lines = [[(m.runs[0].recipe[KEY], standings[m.name]) for m in family] for family in lines if len(family) > 1]
        if lines:
            charts.append(_chart(lines, heading(question)))
            tables += [standings_table([s for _, s in line], heading(question)) for line in lines]
    if not charts:
        return Section("negatives", TITLE, missing(NEEDS))
    words = "Bars are 95% intervals of the pairs. A step that is smaller than a bar, or than the spread of seeds, may be noise."
    return Section("negatives", TITLE, paragraph(words, "soft") + figures(charts, "wide") + numbers(*tables))


def families(methods: list[Method]) -> list[list[Method]]:
    """Methods that differ in the number of negatives alone, by that number; those without a sibling are left out."""
    together: dict[str, list[Method]] = {}
    for method in methods:
        recipe = method.runs[0].recipe
        if isinstance(recipe.get(KEY), int) and recipe[KEY] > 0:
            rest = {key: value for key, value in recipe.items() if key not in (KEY, "seed") and key not in FREE_TO_CHANGE}
            together.setdefault(json.dumps(rest, sort_keys=True), []).append(method)
    return [sorted(family, key=lambda m: m.runs[0].recipe[KEY]) for family in together.values() if len(family) > 1]


def _chart(lines: list[list[tuple[int, Standing]]], title: str) -> str:
    counts = [count for line in lines for count, _ in line]
    ends = [end for line in lines for _, s in line for end in (s.low, s.high)]
    chart = Chart(doubling(counts), linear(min(ends), max(ends)), "negatives", "accuracy, %")
    for index, line in enumerate(lines):
        chart.line([(count, s.mean) for count, s in line], look(index))
        for count, s in line:
            chart.whisker((count, s.low), (count, s.high), look(index))
            chart.point(count, s.mean, look(index), f"{s.name}, {count} negatives: {told(s)}%")
    return figure(chart.svg(f"{title}: accuracy against the number of negatives"), title)
