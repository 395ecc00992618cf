import json

from aird_plugin.runlog import drop_lines_after


def test_lines_beyond_the_checkpoint_and_a_cut_line_go(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (5, 10, 15)) + '{"step": 2')
    drop_lines_after(path, 10)
    assert path.read_text() == '{"step": 5}\n{"step": 10}\n'
    drop_lines_after(path, 0)
    assert path.read_text() == ""


def test_a_fresh_run_has_nothing_to_drop(tmp_path):
    drop_lines_after(tmp_path / "metrics.jsonl", 0)
    assert not (tmp_path / "metrics.jsonl").exists()
