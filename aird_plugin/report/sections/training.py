"""Training curves, one chart per logged term."""

from aird_plugin.report.charts import Chart
from aird_plugin.report.data import ReportData
from aird_plugin.report.html import Section, figure, figures, missing, numbers, paragraph, table, thinned
from aird_plugin.report.scales import linear, within

TITLE = "Training"
NEEDS = "No training curves: the runs have no metrics.jsonl."
NOTE = (
    "One line per run; seeds of a method share a style. Values are unweighted means since the previous log line. A term may have "
    "different settings in two methods (scale, number of negatives), so compare shapes rather than values; a lower loss does not "
    "imply a better student."
)
POINTS = 160
MARKS_PER_LINE = 5
ROWS = 9


def section(data: ReportData) -> Section:
    """All terms logged by any run, the total loss first."""
    runs = [(method.name, run) for method in data.methods for run in method.runs]
    terms = list(dict.fromkeys(term for _, run in runs for term in run.curves))
    if not terms:
        return Section("training", TITLE, missing(NEEDS))
    charts = [chart(data, term, [(name, run.curves[term]) for name, run in runs if term in run.curves]) for term in terms]
    tables = [_table(term, [(run.name, run.curves[term]) for _, run in runs if term in run.curves]) for term in terms]
    unread = [f"{run.name}: {run.unread} line(s) of metrics.jsonl could not be read." for _, run in runs if run.unread]
    body = paragraph(NOTE, "soft") + "".join(paragraph(line, "missing") for line in unread) + figures(charts) + numbers(*tables)
    return Section("training", TITLE, body)


def chart(data: ReportData, term: str, lines: list[tuple[str, list]]) -> str:
    """One term against the epoch, a smoothed line per run."""
    epochs, values = zip(*(point for _, points in lines for point in points), strict=True)
    drawn = Chart(within(0, max(epochs)), linear(min(values), max(values)), "epoch", "")
    names = list(dict.fromkeys(name for name, _ in lines))
    for name, points in lines:
        style, curve = data.style_of(name), smoothed(points, POINTS)
        drawn.line(curve, style, "thin")
        shift = (names.index(name) + 1) / (len(names) + 1) / MARKS_PER_LINE
        for part in range(MARKS_PER_LINE):
            epoch, value = curve[min(int((part / MARKS_PER_LINE + shift) * len(curve)), len(curve) - 1)]
            drawn.point(epoch, value, style, f"{name}, epoch {epoch:.1f}: {value:.4g}")
    return figure(drawn.svg(f"{term} against epochs, {len(lines)} runs"), term)


def smoothed(points: list[tuple[float, float]], count: int) -> list[tuple[float, float]]:
    """At most `count` points, each the mean of consecutive values."""
    size = -(-len(points) // count)
    blocks = [points[start : start + size] for start in range(0, len(points), size)]
    return [(block[-1][0], sum(value for _, value in block) / len(block)) for block in blocks]


def _table(term: str, lines: list[tuple[str, list]]) -> str:
    """One row per run, at a few of its epochs."""
    rows = [[name, "; ".join(f"{epoch:.1f}: {value:.4g}" for epoch, value in thinned(points, ROWS))] for name, points in lines]
    return table(["Run", "epoch: value"], rows, term)
