"""False rejects against false accepts: the curve on which a door's operating point lies."""

import numpy as np

from aird_plugin.evaluation.verification import MIN_FALSE_ACCEPTS, equal_error_rate, supports
from aird_plugin.report.charts import Chart
from aird_plugin.report.html import Section, figure, figures, missing, numbers, paragraph, table
from aird_plugin.report.material import Answer, Material
from aird_plugin.report.scales import normal_deviates
from aird_plugin.report.sections.summary import heading, headline

TITLE = "Errors"
LOOSEST = 0.8
NEEDS = "Error curves need embeddings: give --pairs with a verification file."
READ = (
    "Lower left is better. Left of the dashed rule fewer than ten impostor pairs are accepted, and a point rests on less "
    "than that: read nothing into it. AIRD and most papers tell the accuracy alone, which is one point near the middle."
)


def section(material: Material) -> Section:
    """A detection error trade-off chart a protocol."""
    charts, rows = [], []
    for question in headline(material):
        found = [(name, a) for name in material.names for a in material.find(name=name, **question)[:1] if a.scores is not None]
        if found:
            charts.append(_chart(material, found, heading(question)))
            rows += [_row(name, answer, question) for name, answer in found]
    if not charts:
        return Section("errors", TITLE, missing(NEEDS))
    rates = [f"TAR at FAR {rate}" for rate in ("10%", "1%", "0.1%")]
    head = ["Method", "Protocol", "Equal error rate, %", "AUC", *rates, "Impostor pairs"]
    caption = "Error rates; TAR in per cent, – where there are fewer than 10 / FAR impostor pairs, too few to tell"
    return Section("errors", TITLE, paragraph(READ, "soft") + figures(charts, "wide") + numbers(table(head, rows, caption)))


def _chart(material: Material, found: list[tuple[str, Answer]], title: str) -> str:
    same_N = found[0][1].scores.same_N
    impostors, genuines = int((~same_N).sum()), int(same_N.sum())
    x, y = (normal_deviates(1 / pairs, LOOSEST) for pairs in (impostors, genuines))
    chart = Chart(x, y, "false accepts (impostor pairs)", "false rejects")
    for name, answer in found:
        scores = answer.scores
        chart.line(corners(scores.far_T, scores.frr_T, 1 / impostors, 1 / genuines), material.look(name))
        for far in (0.1, 0.01, 0.001):
            frr = float(scores.frr_T[scores.far_T <= far].min())
            if supports(impostors, far) and frr <= LOOSEST:
                tip = f"{name}: where {100 * far:g}% of {impostors:,} impostors pass, {100 * frr:.1f}% of genuine pairs do not"
                chart.point(far, frr, material.look(name), tip)
    if impostors > MIN_FALSE_ACCEPTS:
        chart.rule(MIN_FALSE_ACCEPTS / impostors, "10 pairs", at_foot=True)
    return figure(chart.svg(f"{title}: false rejects against false accepts, a line a method"), title)


def corners(far_T: np.ndarray, frr_T: np.ndarray, low_far: float, low_frr: float) -> list[tuple[float, float]]:
    """The part of the curve that lies in the frame, in at most some 200 points: the last one at each of so many rates."""
    wanted = np.concatenate([np.geomspace(low_far, LOOSEST, 120), np.linspace(low_far, LOOSEST, 80)])
    places = np.unique(np.searchsorted(far_T, wanted, side="right") - 1)
    return [(float(far_T[n]), float(frr_T[n])) for n in places if far_T[n] >= low_far and low_frr <= frr_T[n] <= LOOSEST]


def _row(name: str, answer: Answer, question: dict) -> list:
    tar = [None if value is None else 100 * value for value in answer.row["tar"].values()]
    eer = 100 * equal_error_rate(answer.scores.far_T, answer.scores.frr_T)
    return [name, question["protocol"].upper(), eer, f"{answer.row['auc']:.4f}", *tar, answer.row["n_impostor"]]
