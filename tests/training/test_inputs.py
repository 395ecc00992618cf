"""Input files of a recipe: all unusable ones are reported together, before any work, with their source."""

import json
import shutil
from pathlib import Path

import pytest

from aird_plugin.__main__ import main
from aird_plugin.config.recipe import PATH_KEYS, from_flat, load
from aird_plugin.data.pairs import read_pairs, write_pairs
from aird_plugin.training.inputs import (
    SOURCES,
    absent_targets,
    check_inputs,
    inputs_of,
    target_files,
    with_student_init,
    with_target_files,
)
from aird_plugin.utils import devices
from aird_plugin.utils.errors import MissingInputs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recipe(tiny_run):
    return lambda **keys: from_flat(tiny_run | keys)


def test_complete_run_has_no_problems(recipe, pairs_file):
    found = list(inputs_of(recipe(val_targets=(pairs_file,))))
    assert [one.key for one in found] == ["rec", "teacher", "val_targets"] and not any(one.problem for one in found)
    check_inputs(recipe(val_targets=(pairs_file,)))


def test_each_teacher_of_an_ensemble_is_listed(recipe, tiny_run):
    both = recipe(teacher=(tiny_run["teacher"], "gone.onnx"), teacher_input=(None, {"color": "bgr"}))
    found = [one for one in inputs_of(both) if one.key == "teacher"]
    assert [(one.path, one.problem) for one in found] == [(tiny_run["teacher"], None), ("gone.onnx", "not there")]


def test_paper_recipe_reports_all_missing_inputs_at_once(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRD_DATA", "data")
    # Elsewhere a note on bf16 comes first.
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)
    monkeypatch.delenv("AIRD_DEBUG", raising=False)
    assert main(["train", str(ROOT / "recipes" / "aird_r18_lr16.py")]) == 1
    note, error = capsys.readouterr().err.split("\n", 1)
    rec = "data/faces_webface_112x112"
    assert note.startswith(f"note    no {rec}/lfw.bin, {rec}/agedb_30.bin (default val_targets), so ")
    assert error.startswith("error: 2 of this recipe's inputs cannot be used:\n")
    for line in (f"  rec={rec} (training images): not there", "  teacher=data/teacher/casia_r50.pt (teacher): not there"):
        assert f"{line}\n" in error
    assert "CASIA-Webface" in error and "Model Zoo" in error and "aird align" in error and "make quickstart" in error
    assert not list(tmp_path.iterdir())


DEFAULTS = """
from easydict import EasyDict
from aird_plugin.recipe import data_path
config = EasyDict({keys!r})
config.val_targets = (data_path("lfw", "lfw_split.bin"), data_path("lfw", "other.bin"))
"""


@pytest.fixture
def with_defaults(tiny_run, tmp_path, monkeypatch):
    """A recipe whose default pairs are in the folder `data`, which is not there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AIRD_DATA", raising=False)
    Path("recipe.py").write_text(DEFAULTS.format(keys=tiny_run | {"output": "run", "val_protocols": ("lr-lr",)}))
    return "recipe.py"


ABSENT = (
    "no data/lfw/lfw_split.bin, data/lfw/other.bin (default val_targets), so accuracy at 16 px (lr-lr) is not measured on them"
)
REMEDY = "val_targets=FILE.bin names other pairs, and tools/make_bin.py writes your own"


def test_default_pairs_that_are_absent_are_skipped_with_a_note(with_defaults, capsys):
    found = load(with_defaults)
    assert [one.key for one in inputs_of(found)] == ["rec", "teacher"] and with_target_files(found).run.val_targets == ()
    check_inputs(found)
    assert capsys.readouterr().err == f"note    {ABSENT}: {REMEDY}\n"
    check_inputs(found, verification=False)
    assert capsys.readouterr().err == ""
    assert main(["doctor", with_defaults]) == 0
    assert f"note    {ABSENT}: {REMEDY}\n" in capsys.readouterr().out


def test_a_run_whose_default_pairs_are_absent_trains(with_defaults, capsys):
    assert main(["train", with_defaults, "num_epoch=1", "verbose=2"]) == 0
    assert Path("run/model.pt").exists() and not Path("run/evaluation.json").exists()
    assert json.loads(Path("run/recipe.json").read_text())["recipe"]["val_targets"] == []
    assert main(["train", with_defaults, "num_epoch=1"]) == 0, "the run resumes"


def test_pairs_on_the_command_line_are_missed(with_defaults, capsys):
    assert main(["train", with_defaults, "val_targets=data/lfw/lfw_split.bin"]) == 1
    assert "  val_targets=data/lfw/lfw_split.bin (verification pairs): not there\n" in capsys.readouterr().err


def test_default_pairs_are_taken_where_they_are(with_defaults, pairs_file, tiny_run, tmp_path, capsys):
    """In the data folder, else under their name beside the training images."""
    (tmp_path / "data" / "lfw").mkdir(parents=True)
    shutil.copy(pairs_file, "data/lfw/other.bin")
    assert with_target_files(load(with_defaults)).run.val_targets == ("data/lfw/other.bin",)
    shutil.copytree(tiny_run["rec"], "faces")
    shutil.copy(pairs_file, "faces/lfw_split.bin")
    beside = load(with_defaults, ["rec=faces"])
    assert with_target_files(beside).run.val_targets == ("faces/lfw_split.bin", "data/lfw/other.bin")
    check_inputs(beside)
    assert capsys.readouterr().err == ""
    Path("data/lfw/other.bin").write_bytes(b"torn")
    with pytest.raises(MissingInputs, match=r"val_targets=data/lfw/other.bin .*is no InsightFace pairs file"):
        check_inputs(beside)


def test_a_prior_without_its_default_pairs_shows_training_images(with_defaults):
    found = load(with_defaults, ["prior_side=64"])
    assert [one.what for one in absent_targets(found)] == [
        "no data/lfw/lfw_split.bin, data/lfw/other.bin (default val_targets), so samples.png shows training images"
    ]


def test_every_input_path_has_a_source():
    assert set(SOURCES) == set(PATH_KEYS) - {"bank", "output"}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("lfw", "{rec}/lfw.bin"),
        ("lfw.bin", "{rec}/lfw.bin"),
        ("other/lfw.bin", "other/lfw.bin"),
        ("{pairs}", "{pairs}"),
        ("{rec}/lfw.bin", "{rec}/lfw.bin"),
    ],
)
@pytest.mark.parametrize("record", ["", "/train.rec"])
def test_bare_target_name_is_looked_up_beside_the_training_set(recipe, pairs_file, tiny_run, target, expected, record):
    target, expected = (text.format(rec=tiny_run["rec"], pairs=pairs_file) for text in (target, expected))
    assert target_files(recipe(rec=tiny_run["rec"] + record, val_targets=(target,))) == [expected]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"student_init": None}, {"color": "bgr"}),
        ({"student_init": "{folder}/teacher.onnx"}, {"color": "bgr"}),
        ({"student_init": "{folder}/folder"}, {"color": "bgr"}),
        ({"student_init": "{folder}/link.onnx", "student_input": {"std": 128}}, {"std": 128}),
        ({"student_init": "{folder}/link.onnx"}, {"color": "bgr"}),
        ({"student_init": "{folder}/other/other.onnx"}, None),
        ({"student_init": "{folder}/other/other.onnx", "teacher": ("{folder}/teacher.onnx", "{folder}/other")}, {"color": "bgr"}),
        (
            {
                "student_init": "{folder}/other",
                "teacher": ("{folder}/teacher.onnx", "{folder}/other/other.onnx"),
                "teacher_input": (None, {"std": 64}),
            },
            {"std": 64},
        ),
    ],
)
def test_the_teachers_file_as_a_student_is_fed_as_the_teacher(recipe, tmp_path, keys, expected):
    """By whatever path it is named; another file is fed by its own rules."""
    for file in ("teacher.onnx", "other/other.onnx"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "link.onnx").symlink_to(tmp_path / "teacher.onnx")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "teacher.onnx").symlink_to(tmp_path / "teacher.onnx")

    def filled(value):
        if isinstance(value, tuple):
            return tuple(map(filled, value))
        return value.replace("{folder}", str(tmp_path)) if isinstance(value, str) else value

    own = {"network": "onnx", "teacher": "{folder}/teacher.onnx", "teacher_network": None, "teacher_input": {"color": "bgr"}}
    made = with_student_init(recipe(**{key: filled(value) for key, value in (own | keys).items()}))
    assert made.student.student_input == expected


def test_unusable_pairs_are_rejected_before_training(recipe, pairs_file, tmp_path):
    images, same = read_pairs(pairs_file)
    write_pairs(tmp_path / "alike.bin", images, [True] * len(same))
    write_pairs(tmp_path / "few.bin", images[:6], same[:3])
    (tmp_path / "torn.bin").write_bytes(Path(pairs_file).read_bytes()[:500])
    with pytest.raises(MissingInputs) as caught:
        check_inputs(recipe(val_targets=tuple(str(tmp_path / name) for name in ("alike.bin", "few.bin", "torn.bin"))))
    message = str(caught.value)
    assert message.startswith("3 of this recipe's inputs")
    assert "alike.bin (verification pairs): all 40 pairs are 'same'" in message
    assert "few.bin (verification pairs): 3 pairs do not fill 10 folds" in message and "no InsightFace pairs file" in message


def test_unusable_model_files_are_named(recipe, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.bin").write_bytes(b"")
    with pytest.raises(MissingInputs, match="no model in .*empty") as caught:
        check_inputs(recipe(teacher=str(tmp_path / "empty"), student_init=str(tmp_path / "t.bin"), prior=str(tmp_path / "gone")))
    assert "a .pt, .pth, .ckpt, .safetensors or .onnx file is expected, got '.bin'" in str(caught.value)
    assert "prior=" in str(caught.value) and "val_targets" not in str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.py")), ids=lambda path: path.stem)
def test_every_recipe_reports_missing_inputs(path, monkeypatch):
    monkeypatch.setenv("AIRD_DATA", "/nowhere")
    with pytest.raises(MissingInputs, match=r"rec=.*: not there"):
        check_inputs(load(path))
