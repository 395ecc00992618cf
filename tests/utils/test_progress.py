import pytest

from aird_plugin.utils import progress as module
from aird_plugin.utils.progress import observe, plain_line, progress


def test_items_pass_through():
    assert list(progress(iter("abc"), 3, "letters")) == ["a", "b", "c"]


def test_without_a_terminal_plain_lines_are_printed_at_intervals(capsys, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    list(progress([range(0, 30), range(30, 40)], 40, "rows", "images"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].startswith("rows: 30/40 images, ") and lines[1].endswith(" 00:00 left")


def test_progress_line_shows_rate_and_time_left():
    assert plain_line("rows", 120, 20, 600, "images", 2.5) == "rows: 120/600 images, 40.0 images/s, 00:12 left"
    assert plain_line("rows", 120, 0, None, "images", 3.0) == "rows: 120 images, 40.0 images/s"


def test_rate_below_one_a_second_is_not_rounded_to_zero():
    assert plain_line("rows", 1, 0, 8, "batches", 40.0) == "rows: 1/8 batches, 0.025 batches/s, 04:40 left"


def test_observer_sees_the_bars_of_its_thread_and_may_end_them():
    seen = []

    def observer(*report):
        seen.append(report)
        if len(seen) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError), observe(observer):
        list(progress([range(2), range(2, 5), range(5, 6)], 6, "rows"))
    list(progress("ab", 2, "letters"))
    assert seen == [("rows", 0, 6), ("rows", 2, 6), ("rows", 5, 6)]
