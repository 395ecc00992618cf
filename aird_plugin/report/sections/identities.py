"""Embeddings of a few identities in two dimensions (the AIRD paper's figure 4)."""

import numpy as np

from aird_plugin.report.charts import Chart, series_style
from aird_plugin.report.data import IdentityMap, ReportData
from aird_plugin.report.html import Section, figure, figures, missing, numbers, paragraph, table
from aird_plugin.report.scales import Scale

TITLE = "Identities"
NEEDS = "An identity map needs --pairs with a file whose genuine pairs link four or more images of at least two identities."
NOTE = (
    "LR images of the identities with most images; colour and marker show the identity. The map preserves neighbourhoods, not "
    "distances: gaps between clusters and cluster sizes have no meaning. The share below each map is measured in the full "
    "embedding width."
)


def section(data: ReportData) -> Section:
    """One map per method."""
    if data.focus is None or not data.focus.maps:
        return Section("identities", TITLE, missing(NEEDS))
    maps = sorted(data.focus.maps, key=lambda each: data.names.index(each.name))
    caption = f"{len(maps[0].label_M)} images of {data.focus.n_identities} identities at {data.focus.px} px; {maps[0].how}."
    rows = [[each.name, 100 * each.nearest] for each in maps]
    shares = table(["Method", "Nearest neighbour has the same identity, %"], rows, caption)
    body = paragraph(f"{NOTE} {caption}", "soft") + figures(map(_map, maps)) + numbers(shares)
    return Section("identities", TITLE, body)


def _map(identity_map: IdentityMap) -> str:
    low_2, high_2 = identity_map.point_M2.min(axis=0), identity_map.point_M2.max(axis=0)
    # A collapsed student has the same embedding for every image.
    margin_2 = np.where(high_2 > low_2, 0.06 * (high_2 - low_2), 1.0)
    x, y = (Scale(float(low_2[n] - margin_2[n]), float(high_2[n] + margin_2[n]), []) for n in (0, 1))
    chart = Chart(x, y, "", "", 300, left=10)
    for (x_value, y_value), label in zip(identity_map.point_M2.tolist(), identity_map.label_M.tolist(), strict=True):
        chart.point(x_value, y_value, series_style(label), f"identity {label + 1}")
    label = f"{identity_map.name}: map of {len(identity_map.label_M)} images"
    return figure(
        chart.svg(label), identity_map.name, f"nearest neighbour has the same identity: {100 * identity_map.nearest:.0f}%"
    )
