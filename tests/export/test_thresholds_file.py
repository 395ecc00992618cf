"""Reading a thresholds.json."""

import json
from types import SimpleNamespace

import pytest
import torch

from aird_plugin.export.thresholds_file import check_owner, read_thresholds
from aird_plugin.models import build
from aird_plugin.models.load import load_model
from aird_plugin.utils.files import file_sha256
from aird_plugin.utils.torch_files import state_sha256

POINT = {"far": 0.01, "cosine": 0.4, "tar": 0.5, "n_impostor": 1000}
TABLE = {"pairs": "p.bin", "degradation": "bicubic", "rows": [{"px": 16, "to_px": None, "points": [POINT]}]}


def test_table_is_returned(tmp_path):
    unsupported_rate = TABLE | {"rows": [{"px": 16, "points": [POINT | {"cosine": None, "tar": None}]}]}
    for table in (TABLE, unsupported_rate):
        (tmp_path / "thresholds.json").write_text(json.dumps(table))
        assert read_thresholds(tmp_path / "thresholds.json") == table


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b'"rows"',
        b"[" * 100_000,
        *(
            json.dumps(TABLE | change).encode()
            for change in (
                {"rows": []},
                {"rows": [{"px": 16, "points": []}]},
                {"rows": [{"px": "16", "points": [POINT]}]},
                {"degradation": None},
                {"rows": [{"px": 16, "points": [POINT | {"cosine": "high"}]}]},
                {"rows": [{"px": 16, "points": [{"far": 0.1}]}]},
                {"rows": [{"px": 16, "points": [POINT]}, {"px": 24, "points": [POINT | {"far": 0.1}]}]},
                {"rows": 5},
                {"pairs": 1},
            )
        ),
    ],
)
def test_invalid_file_is_rejected_in_one_line(content, tmp_path):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="other.json .*give the thresholds.json of `aird export --thresholds PAIRS`"):
        read_thresholds(path)


def test_missing_file_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="no thresholds at"):
        read_thresholds(tmp_path / "none.json")


def test_threshold_with_too_few_impostor_pairs_is_rejected(tmp_path):
    path = tmp_path / "thresholds.json"
    for impostors in (1000, 999):
        path.write_text(json.dumps(TABLE | {"rows": [{"px": 16, "points": [POINT | {"n_impostor": impostors}]}]}))
        if impostors == 1000:
            read_thresholds(path)
    with pytest.raises(ValueError, match="a false-accept rate of 0.01 was measured on 999 impostor pairs and needs 10 / FAR"):
        read_thresholds(path)


NATIVE = "native16_0.05m"


@pytest.fixture
def exported(tmp_path):
    """A run folder, the thresholds of its export, and another run of the same network."""
    runs = []
    for seed, name in enumerate(("run", "other")):
        (tmp_path / name).mkdir()
        torch.manual_seed(seed)
        torch.save(build(NATIVE, 8).state_dict(), tmp_path / name / "model.pt")
        (tmp_path / name / "recipe.json").write_text(json.dumps({"network": NATIVE}))
        runs.append(str(tmp_path / name))
    weights = state_sha256(load_model(runs[0]).state_dict())
    return runs, TABLE | {"sha256": "of the 112 px file", "weights": weights}


def test_thresholds_of_the_models_weights_are_accepted(exported):
    (run, _), table = exported
    assert check_owner("thresholds.json", table, run, load_model(run)) == ""
    assert check_owner("thresholds.json", table, f"{run}/model.pt", load_model(run)) == ""


def test_thresholds_of_another_model_are_refused(exported):
    (_, other), table = exported
    with pytest.raises(ValueError, match=r"thresholds.json belongs to another model \(sha256 \w{16}, that of .*other is \w{16}"):
        check_owner("thresholds.json", table, other, load_model(other))


def test_thresholds_of_these_weights_with_the_training_mean_are_refused(exported):
    """Its cosines are others. Tables of older exports do not record it."""
    (run, _), table = exported
    assert check_owner("thresholds.json", table | {"training_centre": False}, run, load_model(run)) == ""
    with pytest.raises(ValueError, match=f"thresholds.json is of an export with --training-centre, and {run} is not"):
        check_owner("thresholds.json", table | {"training_centre": True}, run, load_model(run))


def test_older_thresholds_beside_a_run_are_a_remark(exported):
    """They record the 112 px file alone, which a run folder does not hold."""
    (run, _), table = exported
    older = {key: value for key, value in table.items() if key != "weights"}
    assert check_owner("thresholds.json", older, run, load_model(run)).startswith("thresholds.json does not record whether")


@pytest.mark.parametrize(
    ("place", "expected"), [("a/a.onnx", ""), ("a/native/a_16.onnx", ""), ("b/b.onnx", "belongs to another model")]
)
def test_older_thresholds_are_compared_with_exported_files(tmp_path, place, expected):
    """The 112 px file by its hash, its native version by its folder; a file of another export is refused."""
    for name in ("a/a.onnx", "a/native/a_16.onnx", "b/b.onnx"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    table, network = TABLE | {"sha256": file_sha256(tmp_path / "a/a.onnx")}, SimpleNamespace()
    arguments = str(tmp_path / "a" / "thresholds.json"), table, str(tmp_path / place), network
    if not expected:
        assert check_owner(*arguments) == ""
    else:
        with pytest.raises(ValueError, match=expected):
            check_owner(*arguments)
