import json

import torch

from tools import bench_terms

SMALLEST = [
    "--student",
    "native16_0.05m",
    "--student-batch",
    "2",
    "--turns",
    "1",
    "--batch",
    "4",
    "--classes",
    "12",
    "--width",
    "8",
    "--negatives",
    "6",
    "--threads",
    str(torch.get_num_threads()),
]


def test_row_and_its_parts(tmp_path, capsys):
    out = tmp_path / "row.json"
    assert bench_terms.main([*SMALLEST, "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())
    assert row["what"] == "IID + RID / student" and row["bound"] == "at most" and row["target"] == 0.15
    assert row["ratio"] > 0
    assert "timed at batch 2 and scaled: student " in row["detail"]
    assert all(f", {part} " in row["detail"] for part in ("cosines of both", "IID", "RID"))
    assert "IID + RID / student" in capsys.readouterr().out


def test_student_is_scaled_to_the_batch_of_the_terms(monkeypatch):
    """IID 1 s and RID 2 s for 4 images, the student 5 s for 2: 3 / 10."""
    seconds = {"student": [5.0], "cosines of both": [9.0], "IID": [1.0], "RID": [2.0]}
    monkeypatch.setattr(bench_terms, "in_turns", lambda calls, turns: {name: seconds[name] for name in calls})
    row = bench_terms.share_of_student(bench_terms.argument_parser().parse_args(SMALLEST))
    assert row.ratio == 0.3 and "student 10,000.0 ms" in row.detail
