"""Turns, medians and targets of the benchmarks."""

import json

import torch

from tools.lib import ratios


def test_order_of_calls_alternates():
    order = []
    seconds = ratios.in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, turns=2, warm=1)
    assert "".join(order) == "ba" + "ab" + "ba"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_ratio_is_the_median_over_turns():
    row = ratios.compare("x", ratios.AT_LEAST, 2, over=[2, 4, 60], under=[1, 1, 20])
    assert row.ratio == 3 and row.low < 3 < row.high and row.met
    assert not row._replace(target=3.5).met
    assert row._replace(bound=ratios.AT_MOST, target=3).met


def test_table_marks_missed_targets(tmp_path, capsys):
    rows = [ratios.compare("slow", ratios.AT_MOST, 1.1, [2], [1], "B=96"), ratios.compare("fast", ratios.AT_MOST, 1.1, [1], [1])]
    ratios.print_rows(rows, str(tmp_path / "rows.json"))
    out = capsys.readouterr().out
    assert "| slow | at most 1.1 | 2 | 2 to 2 | missed | B=96 |" in out and "| met |" in out
    assert [row["ratio"] for row in json.loads((tmp_path / "rows.json").read_text())] == [2, 1]


def test_backward_runs_both_passes():
    x_2 = torch.ones(2, requires_grad=True)
    ratios.backward(lambda x_2, factor: factor * x_2, x_2, 3)()
    assert x_2.grad.tolist() == [3, 3]


def test_finished_synchronises_the_gpu(monkeypatch):
    events = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: events.append("waited"))
    ratios.finished(lambda: events.append("called"), "cpu")()
    ratios.finished(lambda: events.append("called"), "cuda")()
    assert events == ["called", "called", "waited"]


def test_milliseconds_is_the_median():
    assert ratios.milliseconds([1.0, 1.2345, 9.0]) == "1,234.5 ms"
