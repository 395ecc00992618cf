"""What the training told, a chart a term."""

from aird_plugin.report.charts import Chart
from aird_plugin.report.html import Section, figure, figures, missing, numbers, paragraph, table, thinned
from aird_plugin.report.material import Material
from aird_plugin.report.scales import linear, within

TITLE = "Training"
NEEDS = "No training curves: the runs given have no metrics.jsonl."
READ = (
    "A line a run, seeds of a method alike. Values are unweighted means since the line before. The same term in two methods "
    "may be set differently (another scale, other negatives), so compare shapes before heights; a lower loss is no better "
    "student."
)
POINTS = 160
MARKS_A_LINE = 5
ROWS = 9


def section(material: Material) -> Section:
    """All terms that some run logged, the whole loss first."""
    runs = [(method.name, run) for method in material.methods for run in method.runs]
    terms = list(dict.fromkeys(term for _, run in runs for term in run.curves))
    if not terms:
        return Section("training", TITLE, missing(NEEDS))
    charts = [_chart(material, term, [(name, run.curves[term]) for name, run in runs if term in run.curves]) for term in terms]
    tables = [_table(term, [(run.name, run.curves[term]) for _, run in runs if term in run.curves]) for term in terms]
    cut = [f"{run.name}: {run.unread} line(s) of metrics.jsonl could not be read." for _, run in runs if run.unread]
    body = paragraph(READ, "soft") + "".join(paragraph(words, "missing") for words in cut) + figures(charts) + numbers(*tables)
    return Section("training", TITLE, body)


def _chart(material: Material, term: str, lines: list[tuple[str, list]]) -> str:
    epochs, values = zip(*(point for _, points in lines for point in points), strict=True)
    chart = Chart(within(0, max(epochs)), linear(min(values), max(values)), "epoch", "")
    names = list(dict.fromkeys(name for name, _ in lines))
    for name, points in lines:
        style, drawn = material.look(name), smoothed(points, POINTS)
        chart.line(drawn, style, "thin")
        shift = (names.index(name) + 1) / (len(names) + 1) / MARKS_A_LINE
        for part in range(MARKS_A_LINE):
            epoch, value = drawn[min(int((part / MARKS_A_LINE + shift) * len(drawn)), len(drawn) - 1)]
            chart.point(epoch, value, style, f"{name}, epoch {epoch:.1f}: {value:.4g}")
    return figure(chart.svg(f"{term} against epochs, {len(lines)} runs"), term)


def smoothed(points: list[tuple[float, float]], count: int) -> list[tuple[float, float]]:
    """At most `count` points, each the mean of its neighbours."""
    size = -(-len(points) // count)
    blocks = [points[start : start + size] for start in range(0, len(points), size)]
    return [(block[-1][0], sum(value for _, value in block) / len(block)) for block in blocks]


def _table(term: str, lines: list[tuple[str, list]]) -> str:
    """A row a run, at a few of its own epochs."""
    rows = [[name, "; ".join(f"{epoch:.1f}: {value:.4g}" for epoch, value in thinned(points, ROWS))] for name, points in lines]
    return table(["Run", "epoch: value"], rows, term)
