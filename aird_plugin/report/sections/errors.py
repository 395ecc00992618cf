"""Detection error trade-off (DET): false rejects against false accepts."""

import numpy as np

from aird_plugin.evaluation.verification import MIN_FALSE_ACCEPTS, equal_error_rate, supports
from aird_plugin.report.charts import Chart
from aird_plugin.report.data import EvalResult, ReportData
from aird_plugin.report.html import Section, figure, figures, missing, numbers, paragraph, table
from aird_plugin.report.scales import normal_deviates
from aird_plugin.report.sections.summary import first_scores, headline_specs, spec_title

TITLE = "Errors"
MAX_RATE = 0.8
NEEDS = "Error curves need embeddings: give --pairs with a verification file."
NOTE = (
    "Lower left is better. Left of the dashed line fewer than ten impostor pairs are accepted, too few for a reliable estimate. "
    "AIRD and most papers report only the accuracy, which is one point near the middle."
)


def section(data: ReportData) -> Section:
    """One DET chart per protocol."""
    charts, rows = [], []
    for spec in headline_specs(data):
        found = first_scores(data, spec)
        if found:
            # The frame begins at the rate of one pair; where there is only one, that is all of them.
            if np.bincount(found[0][1].scores.same_N).min() > 1:
                charts.append(_chart(data, found, spec_title(data, spec)))
            rows += [_row(name, result, spec) for name, result in found]
    if not rows:
        return Section("errors", TITLE, missing(NEEDS))
    rates = [f"TAR at FAR {rate}" for rate in ("10%", "1%", "0.1%")]
    head = ["Method", "Protocol", "Equal error rate, %", "AUC", *rates, "Impostor pairs"]
    caption = "Error rates; TAR in per cent, – where there are fewer than 10 / FAR impostor pairs, too few for an estimate"
    return Section("errors", TITLE, paragraph(NOTE, "soft") + figures(charts, "wide") + numbers(table(head, rows, caption)))


def _chart(data: ReportData, found: list[tuple[str, EvalResult]], title: str) -> str:
    """DET curves, on axes of normal deviates."""
    same_N = found[0][1].scores.same_N
    impostors, genuines = int((~same_N).sum()), int(same_N.sum())
    x, y = (normal_deviates(1 / pairs, MAX_RATE) for pairs in (impostors, genuines))
    chart = Chart(x, y, "false accepts (impostor pairs)", "false rejects")
    for name, result in found:
        scores = result.scores
        chart.line(corners(scores.far_T, scores.frr_T, 1 / impostors, 1 / genuines), data.style_of(name))
        for far in (0.1, 0.01, 0.001):
            frr = float(scores.frr_T[scores.far_T <= far].min())
            if supports(impostors, far) and frr <= MAX_RATE:
                tip = f"{name}: at {100 * far:g}% false accepts of {impostors:,} impostor pairs, {100 * frr:.1f}% false rejects"
                chart.point(far, frr, data.style_of(name), tip)
    if impostors > MIN_FALSE_ACCEPTS:
        chart.rule(MIN_FALSE_ACCEPTS / impostors, "10 pairs", at_bottom=True)
    return figure(chart.svg(f"{title}: false rejects against false accepts, one line per method"), title)


def corners(far_T: np.ndarray, frr_T: np.ndarray, low_far: float, low_frr: float) -> list[tuple[float, float]]:
    """The part of the curve inside the frame, sampled at up to 200 false-accept rates."""
    rates = np.concatenate([np.geomspace(low_far, MAX_RATE, 120), np.linspace(low_far, MAX_RATE, 80)])
    indices = np.unique(np.searchsorted(far_T, rates, side="right") - 1)
    return [(float(far_T[n]), float(frr_T[n])) for n in indices if far_T[n] >= low_far and low_frr <= frr_T[n] <= MAX_RATE]


def _row(name: str, result: EvalResult, spec: dict) -> list:
    tar = [None if value is None else 100 * value for value in result.row["tar"].values()]
    eer = 100 * equal_error_rate(result.scores.far_T, result.scores.frr_T)
    return [name, spec["protocol"].upper(), eer, f"{result.row['auc']:.4f}", *tar, result.row["n_impostor"]]
