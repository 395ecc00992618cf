"""Files that a recipe names: all that cannot be used are named together, before any work, with where they come from."""

from pathlib import Path

import pytest

from aird_plugin.__main__ import main
from aird_plugin.data.pairs import read_pairs, write_pairs
from aird_plugin.errors import MissingInputs
from aird_plugin.inputs import SOURCES, check_inputs, inputs_of, target_files
from aird_plugin.recipe import PATH_KEYS, from_flat, load

ROOT = Path(__file__).parents[1]


@pytest.fixture
def recipe(tiny_run):
    return lambda **keys: from_flat(tiny_run | keys)


def test_nothing_is_wrong_with_a_run_that_has_all_it_names(recipe, pairs_file):
    found = list(inputs_of(recipe(val_targets=(pairs_file,))))
    assert [one.key for one in found] == ["rec", "teacher", "val_targets"] and not any(one.problem for one in found)
    check_inputs(recipe(val_targets=(pairs_file,)))


def test_the_papers_recipe_names_all_that_it_misses_at_once(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRD_DATA", "data")
    monkeypatch.delenv("AIRD_DEBUG", raising=False)
    assert main(["train", str(ROOT / "recipes" / "aird_r18_lr16.py")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: 4 of this recipe's inputs cannot be used:\n")
    faces = "data/faces_webface_112x112"
    for line in (
        f"  rec={faces} (training images): not there", "  teacher=data/teacher/casia_r50.pt (teacher): not there",
        f"  val_targets={faces}/lfw.bin (verification pairs): not there",
        f"  val_targets={faces}/agedb_30.bin (verification pairs): not there",
    ):  # fmt: skip
        assert f"{line}\n" in error
    assert "CASIA-Webface" in error and "Model Zoo" in error and "aird align" in error and "make quickstart" in error
    assert not list(tmp_path.iterdir())


def test_every_path_that_is_read_has_a_source():
    assert set(SOURCES) == set(PATH_KEYS) - {"bank", "output"}


@pytest.mark.parametrize(("target", "expected"), [
    ("lfw", "{rec}/lfw.bin"), ("lfw.bin", "{rec}/lfw.bin"), ("other/lfw.bin", "other/lfw.bin"), ("{pairs}", "{pairs}"),
    ("{rec}/lfw.bin", "{rec}/lfw.bin"),
])  # fmt: skip
@pytest.mark.parametrize("record", ["", "/train.rec"])
def test_a_name_without_a_folder_lies_beside_the_training_set(recipe, pairs_file, tiny_run, target, expected, record):
    target, expected = (text.format(rec=tiny_run["rec"], pairs=pairs_file) for text in (target, expected))
    assert target_files(recipe(rec=tiny_run["rec"] + record, val_targets=(target,))) == [expected]


def test_pairs_that_cannot_be_verified_are_refused_at_the_start(recipe, pairs_file, tmp_path):
    images, same = read_pairs(pairs_file)
    write_pairs(tmp_path / "alike.bin", images, [True] * len(same))
    write_pairs(tmp_path / "few.bin", images[:6], same[:3])
    (tmp_path / "torn.bin").write_bytes(Path(pairs_file).read_bytes()[:500])
    with pytest.raises(MissingInputs) as caught:
        check_inputs(recipe(val_targets=tuple(str(tmp_path / name) for name in ("alike.bin", "few.bin", "torn.bin"))))
    told = str(caught.value)
    assert told.startswith("3 of this recipe's inputs")
    assert "alike.bin (verification pairs): all 40 pairs are 'same'" in told
    assert "few.bin (verification pairs): 3 pairs do not fill 10 folds" in told and "no InsightFace pairs file" in told


def test_models_of_the_wrong_kind_are_named(recipe, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.bin").write_bytes(b"")
    with pytest.raises(MissingInputs, match="no model in .*empty") as caught:
        check_inputs(recipe(teacher=str(tmp_path / "empty"), student_init=str(tmp_path / "t.bin"), prior=str(tmp_path / "gone")))
    assert "a .pt, .pth or .onnx file is expected, got '.bin'" in str(caught.value)
    assert "prior=" in str(caught.value) and "val_targets" not in str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.py")), ids=lambda path: path.stem)
def test_every_recipe_says_what_it_misses(path, monkeypatch):
    monkeypatch.setenv("AIRD_DATA", "/nowhere")
    with pytest.raises(MissingInputs, match=r"rec=.*: not there"):
        check_inputs(load(path))
