"""Distributions of the cosines of genuine and impostor pairs (the AIRD paper's figure 3)."""

import numpy as np

from aird_plugin.report.charts import Chart, SeriesStyle
from aird_plugin.report.data import EvalResult, ReportData
from aird_plugin.report.hard_pairs import best_threshold
from aird_plugin.report.html import Section, figure, figures, legend, missing, numbers, paragraph, table, text
from aird_plugin.report.scales import linear, within
from aird_plugin.report.sections.summary import first_scores, headline_specs, spec_title

TITLE = "Scores"
NEEDS = "Score distributions need embeddings: give --pairs with a verification file."
NOTE = (
    "Cosines of the same pairs, for the first seed of each method; the dashed line is the best threshold over all pairs. The "
    "position of the two histograms does not matter: less overlap is better (d′ is the distance of the means in pooled standard "
    "deviations)."
)
GENUINE, IMPOSTOR = SeriesStyle("s0", "", "circle"), SeriesStyle("s1", "5 2.5", "square")
BINS = 40


def section(data: ReportData) -> Section:
    """One chart per method and protocol, all on the same axes."""
    parts, rows = [], []
    for spec in headline_specs(data):
        found = first_scores(data, spec)
        if found:
            low = min(0.0, *(float(result.scores.cosine_N.min()) for _, result in found))
            edges = np.linspace(low, 1.0, BINS + 1)
            shares = [_shares(result, edges) for _, result in found]
            top = float(np.max(shares))
            charts = [_chart(name, result, edges, share, top) for (name, result), share in zip(found, shares, strict=True)]
            parts.append(f"<h3>{text(spec_title(data, spec))}</h3>" + figures(charts))
            rows += [_row(name, result, spec) for name, result in found]
    if not parts:
        return Section("scores", TITLE, missing(NEEDS))
    head = ["Method", "Protocol", "d′", "Genuine mean", "std", "Impostor mean", "std", "Best threshold", "Accuracy at it, %"]
    names = legend([("genuine pairs", GENUINE), ("impostor pairs", IMPOSTOR)])
    body = paragraph(NOTE, "soft") + names + "".join(parts) + numbers(table(head, rows, "Cosines of genuine and impostor pairs"))
    return Section("scores", TITLE, body)


def separation(cosine_N: np.ndarray, same_N: np.ndarray) -> float:
    """d': difference of the means over the root mean of the variances (Daugman 2000)."""
    genuine, impostor = cosine_N[same_N], cosine_N[~same_N]
    return float((genuine.mean() - impostor.mean()) / np.sqrt((genuine.var() + impostor.var()) / 2))


def _shares(result: EvalResult, edges: np.ndarray) -> list[np.ndarray]:
    """Per cent of the genuine and of the impostor pairs in each bin."""
    # The cosine of an image with its copy may be rounded to more than 1, and no bin would hold it.
    cosine_N, same_N = result.scores.cosine_N.clip(edges[0], edges[-1]), result.scores.same_N
    return [100 * np.histogram(part, edges)[0] / len(part) for part in (cosine_N[same_N], cosine_N[~same_N])]


def _chart(name: str, result: EvalResult, edges: np.ndarray, shares: list[np.ndarray], top: float) -> str:
    """Histograms of the genuine and impostor cosines of one network."""
    cosine_N, same_N = result.scores.cosine_N, result.scores.same_N
    chart = Chart(within(edges[0], 1.0, 8), linear(0, top, 4), "cosine", "% of pairs")
    for share, style in zip(shares, (GENUINE, IMPOSTOR), strict=True):
        steps = [
            (edge, value)
            for left, right, value in zip(edges, edges[1:], share, strict=False)
            for edge, value in ((left, value), (right, value))
        ]
        chart.area(steps, style)
        chart.line(steps, style, "thin")
    chart.rule(best_threshold(cosine_N, same_N), "threshold")
    below = f"d′ {separation(cosine_N, same_N):.2f}"
    return figure(chart.svg(f"{name}: histogram of cosines, genuine and impostor"), name, below)


def _row(name: str, result: EvalResult, spec: dict) -> list:
    cosine_N, same_N = result.scores.cosine_N, result.scores.same_N
    threshold = best_threshold(cosine_N, same_N)
    sides = [float(f(part)) for part in (cosine_N[same_N], cosine_N[~same_N]) for f in (np.mean, np.std)]
    right = 100 * float(np.mean((cosine_N > threshold) == same_N))
    return [name, spec["protocol"].upper(), separation(cosine_N, same_N), *sides, threshold, right]
