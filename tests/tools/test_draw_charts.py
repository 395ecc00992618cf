import json
import shutil
from xml.etree import ElementTree

from tools import draw_charts
from tools.lib import forest
from tools.lib.svg import scale


def test_committed_charts_are_those_of_their_rows(tmp_path):
    for rows in draw_charts.FOLDER.glob("*.json"):
        shutil.copy(rows, tmp_path)
    assert draw_charts.main([str(tmp_path)]) == 0
    drawn = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert drawn
    assert all((tmp_path / name).read_text() == (draw_charts.FOLDER / name).read_text() for name in drawn)


def test_points_lie_at_their_values():
    data = json.loads((draw_charts.FOLDER / "accuracy_px.json").read_text())
    root = ElementTree.fromstring(draw_charts.chart(data))
    circles = [node for node in root.iter("{http://www.w3.org/2000/svg}circle")]
    # The label's marker is the last one.
    heights = [float(node.get("cy")) for node in circles[:-1]]
    accuracies = [y for _, y in data["lines"][0]["points"]]
    # From 65 to 100 per cent over the chart's height, downwards.
    span = draw_charts.HEIGHT - draw_charts.BOTTOM - draw_charts.TOP
    expected = [draw_charts.TOP + (100 - accuracy) / 35 * span for accuracy in accuracies]
    assert all(abs(found - wanted) <= 0.051 for found, wanted in zip(heights, expected, strict=True))


def test_labels_of_close_lines_do_not_overlap():
    lines = [{"name": f"line {n}", "points": [[1, 90 + n / 10]]} for n in range(4)]
    texts = [part for part in draw_charts.labels(lines, scale(65, 100, 344, 44)) if part.startswith("<text")]
    heights = [float(part.split('y="')[1].split('"')[0]) for part in texts]
    assert all(below - above >= 33 for above, below in zip(heights, heights[1:], strict=False))


def test_ticks_and_labels_of_points():
    data = json.loads((draw_charts.FOLDER / "accuracy_speed.json").read_text())
    texts = [node.text for node in ElementTree.fromstring(draw_charts.chart(data)).iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("0.2 M") == len(data["lines"]) and "20,000" in texts and "17,043" not in texts


def test_forest_plot_has_a_marker_at_each_difference():
    cell = {"value": 2.0, "low": -4.0, "high": 4.0, "significant": True}
    rows = [{"name": "one", "A": cell, "B": None}, {"name": "two", "A": cell | {"significant": False}, "B": cell}]
    root = ElementTree.fromstring(forest.chart({"title": "t", "x": "x", "note": "n", "columns": ["A", "B"], "rows": rows}))
    circles = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    assert [node.get("class") for node in circles] == ["c0", "c0 hollow", "c1"]
    # From -4 to 4 over a column's width: 2 lies at three quarters of it.
    width = (forest.WIDTH - forest.LEFT - forest.RIGHT - forest.GAP) / 2
    assert abs(float(circles[0].get("cx")) - (forest.LEFT + 0.75 * width)) <= 0.051
    assert [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")].count("n/a") == 1
