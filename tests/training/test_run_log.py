import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from aird_plugin.training import run_log
from aird_plugin.training.run_log import drop_lines_after
from aird_plugin.training.tracker import TrackerConfig


def test_lines_after_the_checkpoint_and_a_truncated_line_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (5, 10, 15)) + '{"step": 2')
    drop_lines_after(path, 10)
    assert path.read_text() == '{"step": 5}\n{"step": 10}\n'
    drop_lines_after(path, 0)
    assert path.read_text() == ""


def test_a_kill_while_lines_are_dropped_loses_none(tmp_path, monkeypatch):
    """The new file replaces the old one at once, and only where it differs."""
    path = tmp_path / "metrics.jsonl"
    lines = "".join(json.dumps({"step": step}) + "\n" for step in (5, 10, 15))
    path.write_text(lines)
    monkeypatch.setattr(Path, "write_text", lambda *_: pytest.fail("the file is emptied before it is written"))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    drop_lines_after(path, 15)
    with pytest.raises(KeyboardInterrupt):
        drop_lines_after(path, 10)
    assert path.read_text() == lines


def test_new_run_has_nothing_to_drop(tmp_path):
    drop_lines_after(tmp_path / "metrics.jsonl", 0)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_time_left_counts_every_batch_of_a_step(tmp_path, capsys, monkeypatch):
    """Ten steps of three batches of eight images at 24 images a second: a step a second, ten seconds left."""
    schedule = SimpleNamespace(batch_size=8, gradient_acc=3)
    run = SimpleNamespace(output=str(tmp_path), frequent=1)
    recipe = SimpleNamespace(schedule=schedule, run=run, tracker=TrackerConfig())
    setup = SimpleNamespace(recipe=recipe, total_steps=11, steps_per_epoch=11)
    seconds = iter(range(1000))
    monkeypatch.setattr(run_log.time, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(run_log, "SECONDS_BETWEEN_LINES", 0)
    with run_log.RunLog(setup, 0) as log:
        log.metrics.started = next(seconds)
        log.step(1, 0.1, {"loss": torch.tensor(1.0)})
    assert "step 1/11 epoch 0.1 loss 1.000 24 images/s, 00:10 left" in capsys.readouterr().err


def test_a_line_has_the_mean_over_the_steps_that_had_a_value(tmp_path):
    """Gradient diagnostics are of one step of a line's two."""
    schedule = SimpleNamespace(batch_size=8, gradient_acc=1)
    recipe = SimpleNamespace(schedule=schedule, run=SimpleNamespace(output=str(tmp_path), frequent=2))
    metrics = run_log.Metrics(SimpleNamespace(recipe=recipe, total_steps=4, steps_per_epoch=4), 0)
    metrics.add({"loss": torch.tensor(1.0)})
    metrics.add({"loss": torch.tensor(3.0), "iid_gradient_norm": torch.tensor(5.0)})
    line = metrics.line(2, 0.1)
    metrics.close()
    assert (line["loss"], line["iid_gradient_norm"]) == (2.0, 5.0)
    assert run_log.terms_of(line) == {"loss": 2.0} and run_log.gradients_of(line) == {"iid_gradient_norm": 5.0}
