"""Norm and direction of each term's gradient at the student's embedding, where a run logged them."""

import statistics

from aird_plugin.report.data import ReportData
from aird_plugin.report.html import Section, figures, missing, paragraph, table
from aird_plugin.report.sections.training import chart
from aird_plugin.training.gradient_diagnostics import INFIX

TITLE = "Gradients"
NEEDS = "No gradient diagnostics: train with gradient_diagnostics=1, which adds them to every line of metrics.jsonl."
NOTE = (
    "Of each term's gradient with respect to the student's embedding: its norm, weighted, per image; the cosine of its descent "
    "direction to the identity loss's and to the teacher's embedding of the same image. A term whose cosine to the teacher is "
    "near 0 does not pull the student's embedding into the teacher's space, whatever its norm."
)
KINDS = {"norm": "norm", "to_identity": "cosine to the identity loss", "to_teacher": "cosine to the teacher"}


def section(data: ReportData) -> Section:
    """A chart of each logged quantity, and its means over each run."""
    runs = [(method.name, run) for method in data.methods for run in method.runs if run.gradients]
    if not runs:
        return Section("gradients", TITLE, missing(NEEDS))
    keys = list(dict.fromkeys(key for _, run in runs for key in run.gradients))
    charts = [chart(data, key, [(name, run.gradients[key]) for name, run in runs if key in run.gradients]) for key in keys]
    rows = []
    for _, run in runs:
        for term in dict.fromkeys(key.partition(INFIX)[0] for key in run.gradients):
            values = [run.gradients.get(f"{term}{INFIX}{kind}", []) for kind in KINDS]
            means = [f"{statistics.fmean(value for _, value in points):.3g}" if points else None for points in values]
            rows.append([run.name, term, *means])
    means_table = table(["Run", "Term", *KINDS.values()], rows, "Means over the run")
    return Section("gradients", TITLE, paragraph(NOTE, "soft") + means_table + figures(charts))
