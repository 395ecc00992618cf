"""The chart of method summaries: mean, single seeds and interval per method. Used by two sections."""

from aird_plugin.report.charts import BOTTOM, TOP, Chart
from aird_plugin.report.data import TEACHER_NAME, MethodSummary, ReportData
from aird_plugin.report.html import figure, table
from aird_plugin.report.scales import Scale, linear

ROW_HEIGHT = 31
MAX_NAME = 46
LEFT_MARGIN = 12


def forest(data: ReportData, summaries: list[MethodSummary], title: str) -> str:
    """A figure of the summaries, best first. The axis fits the students; a teacher outside is marked with text."""
    students = [s for s in summaries if s.name != TEACHER_NAME] or summaries
    low, high = min(min(s.low, *s.values) for s in students), max(max(s.high, *s.values) for s in students)
    rows = len(summaries)
    chart = Chart(linear(low, high), Scale(0, rows, []), "accuracy, %", "", TOP + BOTTOM + ROW_HEIGHT * rows, left=LEFT_MARGIN)
    for index, s in enumerate(summaries):
        y, style = rows - index - 0.68, data.style_of(s.name)
        name = s.name if len(s.name) <= MAX_NAME else s.name[: MAX_NAME - 1] + "…"
        chart.write(chart.x.low, y, name, lift=8.5)
        chart.write(chart.x.high, y, format_score(s), "end", lift=8.5)
        if s.mean < chart.x.low:
            chart.write(chart.x.low, y, "← off the axis", lift=-4, css="")
            continue
        if s.mean > chart.x.high:
            chart.write(chart.x.high, y, "off the axis →", "end", -4, "")
            continue
        chart.whisker((s.low, y), (s.high, y), style)
        for value in s.values if len(s.values) > 1 else []:
            chart.point(value, y, style, f"{s.name}, one seed: {value:.2f}%", faint=True)
        chart.point(s.mean, y, style, f"{s.name}: {format_score(s)}, 95% interval {s.low:.2f} to {s.high:.2f}")
    return figure(chart.svg(f"{title}: accuracy of {rows} methods"), title)


def format_score(s: MethodSummary) -> str:
    """Mean and standard deviation over seeds, such as "88.40" or "88.40 ± 0.31"."""
    return f"{s.mean:.2f}" + ("" if s.spread is None else f" ± {s.spread:.2f}")


def summary_table(summaries: list[MethodSummary], caption: str) -> str:
    """The summaries as a table."""
    head = ["Method", "Accuracy, %", "Std over seeds", "Seeds", "95% low", "95% high", "Pairs"]
    rows = [[s.name, s.mean, s.spread, len(s.values), s.low, s.high, s.pairs] for s in summaries]
    return table(head, rows, caption)
