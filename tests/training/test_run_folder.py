import json
import shutil

import pytest

from aird_plugin.__main__ import main
from aird_plugin.config.recipe import Recipe, from_flat
from aird_plugin.training import checkpoint, loop
from aird_plugin.training.loop import train
from aird_plugin.training.run_folder import REQUIRED, read_metadata


def test_metadata_of_a_run_is_read(run):
    metadata = read_metadata(run)
    assert metadata == json.loads((run / "recipe.json").read_text()) and metadata["network"] == "native16_0.05m"


@pytest.mark.parametrize("key", REQUIRED)
@pytest.mark.parametrize("value", [None, []])
def test_missing_key_is_named(run, tmp_path, key, value):
    metadata = read_metadata(run) | {key: value}
    (tmp_path / "recipe.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=f"recipe.json has no {key}; give a folder that `aird train` made"):
        read_metadata(tmp_path)


def test_missing_hash_of_the_records_is_named(run, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps(read_metadata(run) | {"records": {"path": "faces"}}))
    with pytest.raises(ValueError, match="has no records.sha256, records.faces;"):
        read_metadata(tmp_path)


@pytest.mark.parametrize("verb", ["export", "adapt"])
def test_foreign_recipe_json_is_a_one_line_error(run, tiny_run, tmp_path, capsys, verb):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "recipe.json").write_text('{"network": "native16_0.05m"}')
    words = {"export": ["--faces", tiny_run["rec"]], "adapt": [tiny_run["rec"]]}[verb]
    assert main([verb, str(tmp_path / "run"), *words, "--out", str(tmp_path / "out")]) == 1
    assert "error: " in (error := capsys.readouterr().err) and "has no embedding_size" in error and "KeyError" not in error
    assert not (tmp_path / "out").exists()


def test_run_does_not_resume_beside_a_foreign_recipe_json(run, tiny_run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "recipe.json").write_text('{"recipe": 3}')
    with pytest.raises(ValueError, match="recipe.json has no recipe; use another output="):
        train(from_flat(tiny_run | {"num_epoch": 1, "output": str(tmp_path / "run")}))


def restarted(run, tiny_run, tmp_path) -> Recipe:
    """A copy of the run, to be started again with another seed."""
    shutil.copytree(run, tmp_path / "run")
    return from_flat(tiny_run | {"num_epoch": 1, "output": str(tmp_path / "run"), "resume": False, "seed": 5})


def test_a_start_again_whose_checkpoints_cannot_be_removed_leaves_the_run(run, tiny_run, tmp_path, monkeypatch):
    recipe, before = restarted(run, tiny_run, tmp_path), read_metadata(run)

    def refuse(path, ignore_errors=False, **options):
        if not ignore_errors:
            raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(checkpoint.shutil, "rmtree", refuse)
    with pytest.raises(PermissionError, match="checkpoints"):
        train(recipe)
    assert read_metadata(tmp_path / "run") == before


def test_a_kill_of_a_start_again_leaves_no_checkpoint_of_the_former_run(run, tiny_run, tmp_path, monkeypatch):
    recipe = restarted(run, tiny_run, tmp_path)
    monkeypatch.setattr(loop, "resume", lambda state: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(recipe)
    assert read_metadata(tmp_path / "run")["recipe"]["seed"] == 5
    assert not checkpoint.complete(tmp_path / "run" / "checkpoints")
