import math
import xml.etree.ElementTree as ElementTree

import pytest

from aird_plugin.report.charts import Chart, look, swatch
from aird_plugin.report.scales import Scale, doubling, linear, normal_deviates, within


@pytest.mark.parametrize(("low", "high"), [
    (0, 1), (84.1, 91.9), (-0.03, 0.07), (0, 1e-9), (1e6, 9e8), (5, 5), (0, 0), (-2, -2), (0, 5e-324), (1, 1 + 1e-16),
])  # fmt: skip
def test_a_linear_axis_holds_its_values_between_round_ticks(low, high):
    scale = linear(low, high)
    values = [value for value, _ in scale.ticks]
    assert scale.low == values[0] <= low <= high <= values[-1] == scale.high and 2 <= len(values) <= 8
    steps = {round((b - a) / 10 ** math.floor(math.log10(b - a) + 1e-9), 6) for a, b in zip(values, values[1:], strict=False)}
    assert len(steps) == 1 and steps <= {1.0, 2.0, 5.0}
    assert len({label for _, label in scale.ticks}) == len(values)
    assert all(math.isclose(float(label.replace("−", "-")), value, abs_tol=1e-12) for value, label in scale.ticks)


def test_axes_place_values_between_their_ends():
    assert [linear(0, 10).place(v) for v in (0, 5, 10, -3, 99)] == [0, 0.5, 1, 0, 1]
    assert doubling([8, 32]).place(16) == pytest.approx(0.5)
    det = normal_deviates(0.001, 0.999)
    assert [det.place(v) for v in (0.001, 0.5, 0.999)] == pytest.approx([0, 0.5, 1])
    assert within(0.3, 9.7).ticks == [(2, "2"), (4, "4"), (6, "6"), (8, "8")] and within(0.3, 9.7).high == 9.7


def test_an_axis_writes_the_values_that_were_asked():
    assert [label for _, label in doubling([32, 8, 16, 16]).ticks] == ["8", "16", "32"]
    assert len(doubling([2**n for n in range(12)]).ticks) <= 7


def test_a_chart_is_valid_xml_whatever_it_is_called():
    chart = Chart(linear(0, 1), linear(0, 1), "x <&>", '"y"')
    chart.line([(0, 0), (1, 1)], look(0))
    chart.area([(0, 0), (1, 1)], look(1))
    chart.point(0.5, 0.5, look(2), "<b>&tip")
    chart.whisker((0, 0.2), (0, 0.4), look(3))
    chart.rule(0.9, "<rule>")
    chart.write(0, 1, "a & b")
    root = ElementTree.fromstring(chart.svg('<name> & "more"'))
    assert root.get("role") == "img" and root.get("aria-label") == '<name> & "more"'
    assert {text.text for text in root.iter("text")} >= {"x <&>", '"y"', "<rule>", "a & b"}
    assert root.find(".//title").text == "<b>&tip"


def test_places_on_the_paper():
    chart = Chart(Scale(0, 1, []), Scale(0, 1, []), "", "")
    assert chart.at(0, 0)[1] > chart.at(0, 1)[1] and chart.at(0, 0)[0] < chart.at(1, 0)[0]


def test_series_are_told_apart_without_colour():
    looks = [look(index) for index in range(56)]
    assert len(set(looks)) == 56
    assert len({(each.dash, each.mark) for each in looks}) == 56
    assert len({swatch(each) for each in looks}) == 56
