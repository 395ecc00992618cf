"""What a report's figures leave out is noted."""

import json

from tests.report.test_collect import collect


def test_recorded_results_on_different_images_are_noted(make_run, tmp_path):
    row = {
        "pairs": "lfw.bin",
        "px": 16,
        "protocol": "lr-lr",
        "n_pairs": 9,
        "accuracy": 9,
        "ci95": [8, 9],
        "pairs_sha256": "a" * 64,
    }
    others = {"a": {}, "b": {"degradation": "blur"}, "c": {"pairs_sha256": "b" * 64}, "d": {"px": 8, "degradation": "blur"}}
    folders = [make_run(name, lr=number + 1.0) for number, name in enumerate(others)]
    for name, other in others.items():
        (tmp_path / name / "evaluation.json").write_text(json.dumps([row | other]))
    assert collect(folders).notes == [
        "lfw at 16 px: accuracies on images of different degradations do not compare: bicubic for a, c; blur for b.",
        "lfw.bin was another file for some runs (aaaaaaaaaaaa, bbbbbbbbbbbb): their accuracies do not compare.",
    ]
    assert collect([folders[0], folders[3]]).notes == []


def test_recorded_results_of_other_weights_are_noted(make_run, tmp_path):
    folder = make_run("a")
    row = {"pairs": "lfw.bin", "px": 16, "protocol": "lr-lr", "n_pairs": 9, "accuracy": 9, "ci95": [8, 9]}
    (tmp_path / "a" / "evaluation.json").write_text(json.dumps([row | {"made": {"sha256": {"student": "0" * 64}}}]))
    data = collect([folder])
    assert data.results == []
    assert data.notes == ["a: 1 row(s) of its evaluation.json are of other weights than its model.pt, and are left out."]


def test_run_without_a_step_is_marked_and_not_ranked(make_run, pairs_file, tmp_path):
    """Such runs exist: gradient_acc above the batches of an epoch ended with the initial weights. An adapted run has no log."""
    folders = [make_run("a"), make_run("idle", lines=[], lr=1.0), make_run("adapted", lr=2.0)]
    (tmp_path / "adapted" / "metrics.jsonl").unlink()
    (tmp_path / "idle" / "evaluation.json").write_text(
        '[{"pairs": "lfw.bin", "px": 16, "protocol": "lr-lr", "n_pairs": 9, "accuracy": 99, "ci95": [8, 9]}]'
    )
    for data in (collect(folders, pairs=(pairs_file,)), collect(folders)):
        assert "idle took no step: its model.pt holds the initial weights, and its accuracies are left out." in data.notes
        assert {result.name for result in data.results} <= {"a", "adapted"}
    (tmp_path / "idle" / "checkpoints" / "step_00000003").mkdir(parents=True)
    assert [result.name for result in collect(folders).results] == ["idle"], "a run that was stopped before its first line"
