import json
import shutil

import pytest

from aird_plugin.config.recipe import from_flat
from aird_plugin.training.loop import train
from tools import bench_facebn


def row(model, accuracy, facebn=None, centre=False, order="file", **other):
    setting = bench_facebn.FROZEN | {"facebn": facebn, "centre": centre, "order": order}
    where = {"model": model, "pairs": "a/lfw.bin", "px": 16, "degradation": "blur", "protocol": "lr-lr"}
    return setting | where | {"accuracy": accuracy} | other


def test_gain_is_over_the_better_control_of_each_model():
    """a: 83 over centered 82. b: 91 below frozen 95. On average -1.5, though the mean of 87 lies between both controls."""
    rows = [row("a", 80.0), row("a", 82.0, centre=True), row("b", 95.0), row("b", 90.0, centre=True)]
    rows += [row("a", 83.0, "stateless", order=0), row("b", 91.0, "stateless", order=0)]
    head, _, *lines = bench_facebn.table(rows).splitlines()
    assert head == "| | lfw 16 blur lr-lr |"
    assert lines == [
        "| centered | 86.00 ± 5.66 |",
        "| frozen | 87.50 ± 10.61 |",
        "| stateless, keep 0.9, batch 96 | 87.00 ± 5.66 (-1.50) |",
    ]


def test_files_of_one_name_are_different_columns():
    """They were averaged, and the gain was over the better file's control."""
    rows = [row("a", 80.0), row("a", 90.0, pairs="b/lfw.bin"), row("a", 84.0, "full", order=0)]
    head, _, *lines = bench_facebn.table(rows).splitlines()
    assert head == "| | a/lfw 16 blur lr-lr | b/lfw 16 blur lr-lr |"
    assert lines == ["| frozen | 80.00 | 90.00 |", "| full, keep 0.9 | 84.00 (+4.00) |  |"]


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    return train(from_flat(tiny_run | {"output": str(tmp_path_factory.mktemp("facebn") / "run"), "num_epoch": 1}))


def test_rows_are_measured_once(run, pairs_file, tmp_path, monkeypatch, capsys):
    out = tmp_path / "rows.json"
    command = ["bench_facebn.py", str(out), "--model", str(run), "--pairs", pairs_file, "--protocol", "lr-lr", "--keep", "0.9"]
    command += ["--batch", "8", "16", "--order", "0", "1", "--mode", "stateless", "full"]
    monkeypatch.setattr("sys.argv", command)
    assert bench_facebn.main() == 0
    rows = json.loads(out.read_text())
    assert len(rows) == 2 + 4 + 1, "two controls; every batch and order; one full pass"
    assert [row["batch"] for row in rows if row["facebn"] == "stateless"] == [8, 8, 16, 16]
    table = capsys.readouterr().out
    monkeypatch.setattr(bench_facebn, "evaluate_one", None)
    assert bench_facebn.main() == 0 and json.loads(out.read_text()) == rows
    assert capsys.readouterr().out == table


@pytest.mark.parametrize("changed", ["model", "pairs", "teacher"])
def test_rows_of_other_bytes_are_measured_again(run, pairs_file, tiny_run, tmp_path, monkeypatch, capsys, changed):
    model, pairs, teacher = tmp_path / "model", tmp_path / "pairs.bin", tmp_path / "teacher.pt"
    shutil.copytree(run, model)
    shutil.copy(pairs_file, pairs)
    shutil.copy(tiny_run["teacher"], teacher)
    out = tmp_path / "rows.json"
    command = ["bench_facebn.py", str(out), "--model", str(model), "--pairs", str(pairs), "--teacher", str(teacher), "--mode"]
    monkeypatch.setattr("sys.argv", [*command, "full", "--keep", "0.1", "--order", "0"])
    measured = []
    monkeypatch.setattr(
        bench_facebn, "evaluate_one", lambda *given: measured.append(given[-1]["protocol"]) or {"accuracy": float(len(measured))}
    )
    assert bench_facebn.main() == 0 and len(measured) == 6
    assert bench_facebn.main() == 0 and len(measured) == 6
    file = {"model": model / "model.pt", "pairs": pairs, "teacher": teacher}[changed]
    file.write_bytes(file.read_bytes() + b" ")
    assert bench_facebn.main() == 0
    assert measured[6:] == ["lr-hr"] * 3 if changed == "teacher" else len(measured) == 12
    assert len(json.loads(out.read_text())) == 6
