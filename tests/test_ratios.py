"""Turns, medians, targets of the benchmarks."""

import json

import torch

from aird_plugin import ratios


def test_every_call_runs_once_a_turn_in_an_order_that_turns_round():
    seen = []
    seconds = ratios.in_turns({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, turns=2, warm=1)
    assert "".join(seen) == "ba" + "ab" + "ba"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_a_row_is_the_median_of_the_turns_ratios():
    row = ratios.compare("x", ratios.AT_LEAST, 2, over=[2, 4, 60], under=[1, 1, 20])
    assert row.ratio == 3 and row.low < 3 < row.high and row.met
    assert not row._replace(target=3.5).met
    assert row._replace(bound=ratios.AT_MOST, target=3).met


def test_the_table_says_what_was_missed(tmp_path, capsys):
    rows = [ratios.compare("slow", ratios.AT_MOST, 1.1, [2], [1], "B=96"), ratios.compare("fast", ratios.AT_MOST, 1.1, [1], [1])]
    ratios.tell(rows, str(tmp_path / "rows.json"))
    out = capsys.readouterr().out
    assert "| slow | at most 1.1 | 2 | 2 to 2 | missed | B=96 |" in out and "| met |" in out
    assert [row["ratio"] for row in json.loads((tmp_path / "rows.json").read_text())] == [2, 1]


def test_a_call_goes_forward_and_backward():
    x_2 = torch.ones(2, requires_grad=True)
    ratios.backward(lambda x_2, factor: factor * x_2, x_2, 3)()
    assert x_2.grad.tolist() == [3, 3]


def test_a_call_waits_for_the_gpu(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: seen.append("waited"))
    ratios.finished(lambda: seen.append("called"), "cpu")()
    ratios.finished(lambda: seen.append("called"), "cuda")()
    assert seen == ["called", "called", "waited"]


def test_times_are_told_as_their_median():
    assert ratios.milliseconds([1.0, 1.2345, 9.0]) == "1,234.5 ms"
