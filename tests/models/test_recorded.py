"""What models record about themselves, compared with what they are used with."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from aird_plugin.cli.evaluation_arguments import load_networks
from aird_plugin.evaluation.eval_spec import EvalSpec
from aird_plugin.models import build
from aird_plugin.models.coordinates import foreign_teacher, has_coordinates_of
from aird_plugin.models.load import load_model, load_teacher
from aird_plugin.models.recorded import adapted_to, recorded_metadata, weights_of
from aird_plugin.utils.files import is_same
from aird_plugin.utils.torch_files import state_sha256

NATIVE, WIDTH = "native16_0.05m", 8


@pytest.fixture
def teachers(tmp_path):
    """Two teachers of one width."""
    files = [tmp_path / name for name in ("own.pt", "other.pt")]
    for seed, file in enumerate(files):
        torch.manual_seed(seed)
        torch.save(build("mfn", WIDTH).state_dict(), file)
    return files


@pytest.fixture
def run(tmp_path, teachers):
    """A run folder of the first teacher."""
    (tmp_path / "run").mkdir()
    torch.save(build(NATIVE, WIDTH).state_dict(), tmp_path / "run" / "model.pt")
    return record(tmp_path / "run", {"teacher": load_teacher(teachers[0]).describe()})


def record(run: Path, entries: dict) -> Path:
    (run / "recipe.json").write_text(json.dumps({"network": NATIVE} | entries))
    return run


def warnings_of(run, teacher, capsys, protocol="lr-hr", **arguments) -> str:
    given = {"batch": 96, "input": None, "network": None, "teacher_input": None, "teacher_join": None}
    given["teacher"] = teacher if isinstance(teacher, tuple) else str(teacher)
    load_networks(SimpleNamespace(**given | arguments), [str(run)], [EvalSpec(16, protocol)], "cpu")
    return capsys.readouterr().err


def test_teacher_of_the_run_gives_no_warning(run, teachers, capsys):
    assert warnings_of(run, teachers[0], capsys) == ""


def test_other_teacher_on_the_hr_side_is_a_warning(run, teachers, capsys):
    text = warnings_of(run, teachers[1], capsys)
    assert text.startswith("WARNING other.pt (sha256 ") and text.count("\n") == 1
    assert f"is not the teacher of {run}, which is own.pt (sha256 " in text and "not trained together" in text


def test_other_teacher_without_an_hr_side_gives_no_warning(run, teachers, capsys):
    assert warnings_of(run, teachers[1], capsys, protocol="lr-lr") == ""


def test_same_teacher_in_another_way_is_a_warning(run, teachers, capsys):
    text = warnings_of(run, teachers[0], capsys, teacher_input="color=bgr")
    assert "own.pt" in text and "fed with {'color': 'bgr'}) is not the teacher" in text


def test_ensemble_is_compared_as_a_whole(run, teachers, capsys):
    both = tuple(map(str, teachers))
    text = warnings_of(run, both, capsys)
    assert "own.pt + " in text and "is not the teacher of" in text


def test_run_without_a_teacher_is_a_warning(run, teachers, capsys):
    record(run, {"teacher": None})
    text = warnings_of(run, teachers[0], capsys)
    assert "was trained without a teacher: LR-HR compares its embeddings with those of own.pt" in text


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"teacher": 3}'])
def test_model_that_records_nothing_gives_no_warning(teachers, run, content):
    (run / "recipe.json").write_text(content)
    network, teacher = build(NATIVE, WIDTH), load_teacher(teachers[1])
    assert foreign_teacher(run, network, teacher) == foreign_teacher("bare.pt", network, teacher) == ""


def test_metadata_of_an_exported_file_are_compared(teachers):
    """An older export records no input; that of a newer one is compared."""
    own, other = map(load_teacher, teachers)
    entry = {"sha256": own.describe()["sha256"], "file": "own.pt"}

    def exported(**entries):
        content = {"aird_plugin": json.dumps({"exported": {}, "teacher": entry | entries, "weights": "ab"})}
        meta = SimpleNamespace(custom_metadata_map=content)
        return SimpleNamespace(session=SimpleNamespace(get_modelmeta=lambda: meta))

    assert recorded_metadata("a.onnx", exported())["teacher"] == entry and weights_of("a.onnx", exported()) == "ab"
    assert foreign_teacher("a.onnx", exported(), own) == "" and "own.pt" in foreign_teacher("a.onnx", exported(), other)
    stated = {"color": "bgr"}
    fed = own.with_input(load_teacher(teachers[0], teacher_input=stated).stated)
    assert has_coordinates_of(recorded_metadata("a.onnx", exported()), fed)
    assert not has_coordinates_of(recorded_metadata("a.onnx", exported(input=None)), fed)
    assert has_coordinates_of(recorded_metadata("a.onnx", exported(input=stated)), fed)


def test_model_adapted_to_the_test_file_is_a_warning(run):
    record(run, {"adapted": {"source_sha256": "abc"}})
    network = load_model(run)
    assert adapted_to(run, network, "p.bin", "abc").startswith(f"{run} was adapted to the images of p.bin itself")
    assert adapted_to(run, network, "p.bin", "def") == ""
    record(run, {"adapted": {"source": "folder"}})
    assert adapted_to(run, network, "p.bin", "abc") == ""


@pytest.mark.parametrize(
    ("recorded", "present", "same"),
    [
        ("abcd", "abcdef", True),
        ("abcdef", "abcd", True),
        ("abcd", "abce", False),
        (None, "a", None),
        ("a", None, None),
        ("", "a", None),
    ],
)
def test_hashes_are_compared_at_their_common_length(recorded, present, same):
    assert is_same(recorded, present) is same


def test_hash_of_weights_does_not_depend_on_the_file(tmp_path):
    network = build(NATIVE, WIDTH)
    torch.save(network.state_dict(), tmp_path / "a.pt")
    again = load_model(tmp_path / "a.pt", NATIVE)
    assert weights_of(tmp_path / "a.pt", again) == state_sha256(network.state_dict())
    with torch.no_grad():
        next(again.parameters()).view(-1)[0] += 1e-3
    assert weights_of(tmp_path / "a.pt", again) != state_sha256(network.state_dict())
