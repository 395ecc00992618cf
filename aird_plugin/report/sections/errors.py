"""False rejects against false accepts: the curve on which a door's operating point lies."""

import numpy as np

from aird_plugin.evaluation.verification import MIN_FALSE_ACCEPTS, equal_error_rate
from aird_plugin.report.charts import Chart
from aird_plugin.report.html import Section, figure, figures, missing, numbers, paragraph, table
from aird_plugin.report.material import Answer, Material
from aird_plugin.report.scales import decades
from aird_plugin.report.sections.summary import heading, headline

TITLE = "Errors"
NEEDS = "Error curves need embeddings: give --pairs with a verification file."
READ = (
    "Lower left is better. Left of the dashed rule fewer than ten impostor pairs are accepted, and a point rests on less "
    "than that: read nothing into it. AIRD and most papers tell the accuracy alone, which is one point near the diagonal."
)


def section(material: Material) -> Section:
    """A detection error trade-off chart a protocol, both axes logarithmic."""
    charts, rows = [], []
    for question in headline(material):
        found = [(name, a) for name in material.names for a in material.find(name=name, **question)[:1] if a.scores is not None]
        if found:
            charts.append(_chart(material, found, heading(question)))
            rows += [_row(name, answer, question) for name, answer in found]
    if not charts:
        return Section("errors", TITLE, missing(NEEDS))
    head = ["Method", "Protocol", "Equal error rate, %", "AUC", "TAR at FAR 10%", "TAR at FAR 1%", "TAR at FAR 0.1%"]
    caption = "Error rates; TAR in per cent, – where there are too few impostor pairs to tell"
    return Section("errors", TITLE, paragraph(READ, "soft") + figures(charts, "wide") + numbers(table(head, rows, caption)))


def _chart(material: Material, found: list[tuple[str, Answer]], title: str) -> str:
    impostors = int((~found[0][1].scores.same_N).sum())
    genuines = int(found[0][1].scores.same_N.sum())
    x, y = decades(1 / impostors, 1.0), decades(1 / genuines, 1.0)
    chart = Chart(x, y, "false accepts (impostor pairs)", "false rejects")
    for name, answer in found:
        scores = answer.scores
        chart.line(corners(scores.far_T, scores.frr_T, x.low, y.low), material.look(name))
        for far in (0.1, 0.01, 0.001):
            if impostors * far >= MIN_FALSE_ACCEPTS:
                frr = float(scores.frr_T[scores.far_T <= far].min())
                tip = f"{name}: where {100 * far:g}% of the impostors are accepted, {100 * frr:.1f}% of genuine pairs are not"
                chart.point(far, frr, material.look(name), tip)
    if impostors > MIN_FALSE_ACCEPTS:
        chart.rule(MIN_FALSE_ACCEPTS / impostors, "10 pairs")
    return figure(chart.svg(f"{title}: false rejects against false accepts, a line a method"), title)


def corners(far_T: np.ndarray, frr_T: np.ndarray, low_far: float, low_frr: float) -> list[tuple[float, float]]:
    """The curve in at most some 150 points, evenly spaced on the logarithmic axis of false accepts."""
    wanted = np.geomspace(low_far, 1.0, 150)
    places = np.unique(np.searchsorted(far_T, wanted, side="right") - 1)
    return [(max(float(far_T[n]), low_far), max(float(frr_T[n]), low_frr)) for n in places]


def _row(name: str, answer: Answer, question: dict) -> list:
    tar = [None if value is None else 100 * value for value in answer.row["tar"].values()]
    eer = 100 * equal_error_rate(answer.scores.far_T, answer.scores.frr_T)
    return [name, question["protocol"].upper(), eer, answer.row["auc"], *tar]
