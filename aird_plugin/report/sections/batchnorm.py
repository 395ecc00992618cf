"""BatchNorm statistics before and after FaceBN (the AIRD paper's figure 5), and the effect on accuracy."""

import numpy as np

from aird_plugin.report.charts import Chart, SeriesStyle
from aird_plugin.report.data import BatchNormShift, ReportData
from aird_plugin.report.html import Section, figure, figures, legend, missing, numbers, paragraph, table
from aird_plugin.report.scales import linear, within

TITLE = "BatchNorm"
NEEDS = "BatchNorm statistics need --pairs and a student with BatchNorm layers."
NOTE = (
    "Distance between the channel means of the tested images and the stored means of the layer, in the layer's standard "
    "deviations: all channels of the network above, root mean square per layer below. FaceBN moves the stored mean towards the "
    "tested images. A narrower histogram does not imply a better student; the table shows the effect on accuracy, compared "
    "with a control that only centers the embeddings."
)
BEFORE, AFTER = SeriesStyle("s7", "5 2.5", "square"), SeriesStyle("s0", "", "circle")
BINS = 41


def section(data: ReportData) -> Section:
    """Two charts per method: all channels, and per layer."""
    if data.focus is None or not data.focus.shifts:
        return Section("batchnorm", TITLE, missing(NEEDS))
    shifts = data.focus.shifts
    names = legend([("training statistics", BEFORE), (f"FaceBN, keep {shifts[0].keep:g}", AFTER)])
    limit = max(*(float(np.quantile(np.abs(gaps), 0.99)) for n in shifts for gaps in n.before.values()), 1e-3)
    top = max(rms(gap) for n in shifts for gaps in (n.before, n.after) for gap in gaps.values())
    charts = figures(_channels(n, limit) for n in shifts) + figures(_layers(n, top) for n in shifts)
    layers = [[n.name, layer, rms(n.before[layer]), rms(n.after[layer])] for n in shifts for layer in n.before]
    caption = "Root mean square over channels, in standard deviations of the layer"
    tables = table(["Method", "Layer", "Before", "After"], layers, caption)
    return Section("batchnorm", TITLE, paragraph(NOTE, "soft") + names + charts + _effect(data) + numbers(tables))


def rms(gap_C: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(gap_C))))


def _channels(shift: BatchNormShift, limit: float) -> str:
    """Histogram of the channels' distances, before and after adaptation."""
    before, after = (np.concatenate(list(gaps.values())) for gaps in (shift.before, shift.after))
    edges = np.linspace(-limit, limit, BINS + 1)
    shares = [100 * np.histogram(gaps, edges)[0] / len(gaps) for gaps in (before, after)]
    chart = Chart(within(-limit, limit, 6), linear(0, max(map(np.max, shares)), 4), "standard deviations", "% of channels")
    for share, style in zip(shares, (BEFORE, AFTER), strict=True):
        points = list(zip((edges[:-1] + edges[1:]) / 2, share, strict=True))
        chart.area(points, style)
        chart.line(points, style)
    moved = f"all channels: {rms(before):.3f} → {rms(after):.3f}"
    return figure(chart.svg(f"{shift.name}: histogram over channels"), shift.name, moved)


def _layers(shift: BatchNormShift, top: float) -> str:
    """RMS distance of each layer, before and after adaptation."""
    before, after = ([rms(gap) for gap in gaps.values()] for gaps in (shift.before, shift.after))
    chart = Chart(within(0.5, len(before) + 0.5, 7), linear(0, top, 4), "layer, from the input", "RMS distance")
    for values, style in ((before, BEFORE), (after, AFTER)):
        chart.line([(n + 1, value) for n, value in enumerate(values)], style, "thin")
        for n, (layer, value) in enumerate(zip(shift.before, values, strict=True)):
            chart.point(n + 1, value, style, f"{layer}: {value:.3f}")
    return figure(chart.svg(f"{shift.name}: per layer"), shift.name)


def _effect(data: ReportData) -> str:
    """Accuracy of a student as trained, with FaceBN, and with centered embeddings."""
    rows = []
    for shift in data.focus.shifts:
        own = [
            result
            for result in data.results
            if result.name == shift.name
            and result.row["pairs"] == data.focus.pairs
            and result.row["px"] == data.focus.px
            and result.row["protocol"] == "lr-lr"
        ]
        plain = next(result.row["accuracy"] for result in own if result.plain)
        adapted = next((result.row["accuracy"] for result in own if result.row["facebn"]), None)
        centered = next((result.row["accuracy"] for result in own if result.row["centre"]), None)
        rows.append([shift.name, plain, adapted, centered])
    degradation = data.degradation_of(pairs=data.focus.pairs, px=data.focus.px, protocol="lr-lr")
    head = ["Method (first seed)", "as trained", "FaceBN, full", "centered"]
    return table(head, rows, f"Accuracy in per cent, LR-LR at {data.focus.px} px{degradation}")
