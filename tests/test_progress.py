from aird_plugin import progress as module
from aird_plugin.progress import plain_line, progress


def test_it_passes_items_through():
    assert list(progress(iter("abc"), 3, "letters")) == ["a", "b", "c"]


def test_where_there_is_no_terminal_a_plain_line_comes_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    list(progress([range(0, 30), range(30, 40)], 40, "rows", "faces"))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and told[0].startswith("rows: 30/40 faces, ") and told[1].endswith(" 00:00 left")


def test_a_line_says_rate_and_time_left():
    assert plain_line("rows", 120, 20, 600, "faces", 2.5) == "rows: 120/600 faces, 40.0 faces/s, 00:12 left"
    assert plain_line("rows", 120, 0, None, "faces", 3.0) == "rows: 120 faces, 40.0 faces/s"
