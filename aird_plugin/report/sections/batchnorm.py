"""BatchNorm statistics before and after FaceBN (the AIRD paper's figure 5), and what that is worth."""

import numpy as np

from aird_plugin.report.charts import Chart, Look
from aird_plugin.report.html import Section, figure, figures, legend, missing, numbers, paragraph, table
from aird_plugin.report.material import Material, Norms
from aird_plugin.report.scales import linear, within

TITLE = "BatchNorm"
NEEDS = "BatchNorm statistics need --pairs, and a student that has BatchNorm."
READ = (
    "Distance between the mean of the tested faces and the mean that the layer stores, channel by channel, in the layer's "
    "own standard deviations: all channels of the network above, layer by layer (root mean square) below. FaceBN moves the "
    "stored mean towards the faces. A narrower hill is no better student; the table says what it did to the accuracy, "
    "beside the control that merely centres the embeddings."
)
BEFORE, AFTER = Look("s7", "5 2.5", "square"), Look("s0", "", "circle")
BINS = 41


def section(material: Material) -> Section:
    """Two charts a method: all channels, and layer by layer."""
    if material.focus is None or not material.focus.norms:
        return Section("batchnorm", TITLE, missing(NEEDS))
    norms = material.focus.norms
    names = legend([("training statistics", BEFORE), (f"FaceBN, keep {norms[0].keep:g}", AFTER)])
    reach = max(*(float(np.quantile(np.abs(gaps), 0.99)) for n in norms for gaps in n.before.values()), 1e-3)
    top = max(rms(gap) for n in norms for gaps in (n.before, n.after) for gap in gaps.values())
    charts = figures(_channels(n, reach) for n in norms) + figures(_layers(n, top) for n in norms)
    layers = [[n.name, layer, rms(n.before[layer]), rms(n.after[layer])] for n in norms for layer in n.before]
    caption = "Root mean square over channels, in standard deviations of the layer"
    tables = table(["Method", "Layer", "Before", "After"], layers, caption)
    return Section("batchnorm", TITLE, paragraph(READ, "soft") + names + charts + _worth(material) + numbers(tables))


def rms(gap_C: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(gap_C))))


def _channels(norms: Norms, reach: float) -> str:
    before, after = (np.concatenate(list(gaps.values())) for gaps in (norms.before, norms.after))
    edges = np.linspace(-reach, reach, BINS + 1)
    shares = [100 * np.histogram(gaps, edges)[0] / len(gaps) for gaps in (before, after)]
    chart = Chart(within(-reach, reach, 6), linear(0, max(map(np.max, shares)), 4), "standard deviations", "% of channels")
    for share, style in zip(shares, (BEFORE, AFTER), strict=True):
        points = list(zip((edges[:-1] + edges[1:]) / 2, share, strict=True))
        chart.area(points, style)
        chart.line(points, style)
    moved = f"all channels: {rms(before):.3f} → {rms(after):.3f}"
    return figure(chart.svg(f"{norms.name}: histogram over channels"), norms.name, moved)


def _layers(norms: Norms, top: float) -> str:
    before, after = ([rms(gap) for gap in gaps.values()] for gaps in (norms.before, norms.after))
    chart = Chart(within(0.5, len(before) + 0.5, 7), linear(0, top, 4), "layer, from the input", "RMS distance")
    for values, style in ((before, BEFORE), (after, AFTER)):
        chart.line([(n + 1, value) for n, value in enumerate(values)], style, "thin")
        for n, (layer, value) in enumerate(zip(norms.before, values, strict=True)):
            chart.point(n + 1, value, style, f"{layer}: {value:.3f}")
    return figure(chart.svg(f"{norms.name}: layer by layer"), norms.name)


def _worth(material: Material) -> str:
    """Accuracy as trained, with FaceBN, and merely centred, of the same student."""
    rows = []
    for norms in material.focus.norms:
        own = [a for a in material.answers if a.name == norms.name and a.row["pairs"] == material.focus.pairs
               and a.row["px"] == material.focus.px and a.row["protocol"] == "lr-lr"]  # fmt: skip
        plain = next(a.row["accuracy"] for a in own if a.plain)
        adapted = next((a.row["accuracy"] for a in own if a.row["facebn"]), None)
        centred = next((a.row["accuracy"] for a in own if a.row["centre"]), None)
        rows.append([norms.name, plain, adapted, centred])
    head = ["Method (its first seed)", "as trained", "FaceBN, full", "centred"]
    return table(head, rows, f"Accuracy in per cent, LR-LR at {material.focus.px} px")
