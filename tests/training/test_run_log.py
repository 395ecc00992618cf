import json

from aird_plugin.training.run_log import drop_lines_after


def test_lines_after_the_checkpoint_and_a_truncated_line_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (5, 10, 15)) + '{"step": 2')
    drop_lines_after(path, 10)
    assert path.read_text() == '{"step": 5}\n{"step": 10}\n'
    drop_lines_after(path, 0)
    assert path.read_text() == ""


def test_new_run_has_nothing_to_drop(tmp_path):
    drop_lines_after(tmp_path / "metrics.jsonl", 0)
    assert not (tmp_path / "metrics.jsonl").exists()
