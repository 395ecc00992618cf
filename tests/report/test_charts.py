import math
import xml.etree.ElementTree as ElementTree

import pytest

from aird_plugin.report.charts import Chart, series_style, swatch
from aird_plugin.report.scales import Scale, doubling, linear, normal_deviates, within


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, 1),
        (84.1, 91.9),
        (-0.03, 0.07),
        (0, 1e-9),
        (1e6, 9e8),
        (5, 5),
        (0, 0),
        (-2, -2),
        (0, 5e-324),
        (1, 1 + 1e-16),
    ],
)
def test_linear_axis_encloses_its_values_with_round_ticks(low, high):
    scale = linear(low, high)
    values = [value for value, _ in scale.ticks]
    assert scale.low == values[0] <= low <= high <= values[-1] == scale.high and 2 <= len(values) <= 8
    steps = {round((b - a) / 10 ** math.floor(math.log10(b - a) + 1e-9), 6) for a, b in zip(values, values[1:], strict=False)}
    assert len(steps) == 1 and steps <= {1.0, 2.0, 5.0}
    assert len({label for _, label in scale.ticks}) == len(values)
    assert all(math.isclose(float(label.replace("−", "-")), value, abs_tol=1e-12) for value, label in scale.ticks)


def test_axes_map_values_to_positions():
    assert [linear(0, 10).position(v) for v in (0, 5, 10, -3, 99)] == [0, 0.5, 1, 0, 1]
    assert doubling([8, 32]).position(16) == pytest.approx(0.5)
    det = normal_deviates(0.001, 0.999)
    assert [det.position(v) for v in (0.001, 0.5, 0.999)] == pytest.approx([0, 0.5, 1])
    assert within(0.3, 9.7).ticks == [(2, "2"), (4, "4"), (6, "6"), (8, "8")] and within(0.3, 9.7).high == 9.7


def test_doubling_axis_labels_the_given_values():
    assert [label for _, label in doubling([32, 8, 16, 16]).ticks] == ["8", "16", "32"]
    assert len(doubling([2**n for n in range(12)]).ticks) <= 7


def test_chart_escapes_labels():
    chart = Chart(linear(0, 1), linear(0, 1), "x <&>", '"y"')
    chart.line([(0, 0), (1, 1)], series_style(0))
    chart.area([(0, 0), (1, 1)], series_style(1))
    chart.point(0.5, 0.5, series_style(2), "<b>&tip")
    chart.whisker((0, 0.2), (0, 0.4), series_style(3))
    chart.rule(0.9, "<rule>")
    chart.write(0, 1, "a & b")
    root = ElementTree.fromstring(chart.svg('<name> & "more"'))
    assert root.get("role") == "img" and root.get("aria-label") == '<name> & "more"'
    assert {text.text for text in root.iter("text")} >= {"x <&>", '"y"', "<rule>", "a & b"}
    assert root.find(".//title").text == "<b>&tip"


def test_chart_coordinates():
    chart = Chart(Scale(0, 1, []), Scale(0, 1, []), "", "")
    assert chart.at(0, 0)[1] > chart.at(0, 1)[1] and chart.at(0, 0)[0] < chart.at(1, 0)[0]


def test_series_styles_are_distinct_without_colour():
    styles = [series_style(index) for index in range(56)]
    assert len(set(styles)) == 56
    assert len({(each.dash, each.mark) for each in styles}) == 56
    assert len({swatch(each) for each in styles}) == 56
