import json
import shutil

import pytest
import torch

from aird_plugin.__main__ import main
from aird_plugin.config.recipe import Recipe, from_flat
from aird_plugin.training import checkpoint, loop
from aird_plugin.training.loop import train
from aird_plugin.training.optim import ScheduleConfig
from aird_plugin.training.run_folder import REQUIRED, check_same_start, longer_run, read_metadata, write_or_verify_run


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    return train(from_flat(tiny_run | {"num_epoch": 1, "output": str(tmp_path_factory.mktemp("runfolder") / "run")}))


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


OTHER = {"sha256": "0" * 64, "file": "other.pt"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"teacher": OTHER}, "began with another teacher other.pt"),
        ({"teacher": "input"}, "began with another teacher teacher.pt"),
        (
            {"records": {"sha256": "0" * 64, "path": "faces/train.rec", "faces": 48}},
            "began with other training images faces/train.rec",
        ),
        ({"student_init": OTHER}, "began from another other.pt"),
        ({"prior": {"prior": "0" * 64}}, "began with another prior"),
    ],
)
def test_run_does_not_resume_with_another_file_at_the_same_path(run, change, words):
    """A bank in another folder, or none at all, would not notice."""
    now = read_metadata(run) | {"student_init": {"sha256": "1" * 64, "file": "init.pt"}, "prior": {"prior": "1" * 64}}
    before = now | (change if change != {"teacher": "input"} else {"teacher": now["teacher"] | {"input": {"color": "bgr"}}})
    check_same_start(now, now, "out")
    with pytest.raises(ValueError, match=f"out {words} .*now .*Use another output=, or resume=False"):
        check_same_start(before, now, "out")


def test_older_metadata_without_hashes_are_accepted(run):
    check_same_start({"recipe": {}, "teacher": None}, read_metadata(run), "out")


def test_raised_num_epoch_goes_on_as_a_run_of_that_length(tiny_run, tmp_path, capsys):
    """With milestones, to the bit of a run that was never shorter."""
    keys = tiny_run | {"schedule": "step", "milestones": (1,)}
    whole = train(from_flat(keys | {"num_epoch": 3, "output": str(tmp_path / "whole")}))
    longer = keys | {"output": str(tmp_path / "run")}
    train(from_flat(longer | {"num_epoch": 2}))
    capsys.readouterr()
    done = train(from_flat(longer | {"num_epoch": 3}))
    said = capsys.readouterr().err
    assert "num_epoch was 2, now 3" in said and "milestones (1,) stay, and the learning rate is 0.005 from epoch 2 on" in said
    one, other = (torch.load(folder / "model.pt", weights_only=True) for folder in (done, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert read_metadata(done)["earlier"][0]["num_epoch"] == 2
    with pytest.raises(ValueError, match="num_epoch was 3, now 2. Use another output="):
        train(from_flat(longer | {"num_epoch": 2}))
    with pytest.raises(ValueError, match="lr was 0.05, now 0.1. Use another output="):
        train(from_flat(longer | {"num_epoch": 4, "lr": 0.1}))


def test_milestones_may_be_added_with_a_raised_num_epoch(run, tiny_run, tmp_path, capsys):
    """From the former end on; earlier ones are of the past, which the run has behind it."""
    shutil.copytree(run, tmp_path / "run")
    keys = tiny_run | {"num_epoch": 1, "schedule": "step", "output": str(tmp_path / "run")}
    metadata = read_metadata(run)
    metadata["recipe"] = from_flat(keys | {"milestones": (0.5, 9)}).flat() | {"embedding_size": 8}
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(metadata))

    def go_on(**change) -> None:
        recipe = from_flat(keys | change)
        write_or_verify_run(recipe, metadata | {"recipe": recipe.flat() | {"embedding_size": 8}})

    with pytest.raises(ValueError, match="milestones was .*, now .*milestones from the former end, epoch 1, on may be added"):
        go_on(num_epoch=4, milestones=(0.2, 2))
    with pytest.raises(ValueError, match="milestones was"):
        go_on(milestones=(0.5, 2))
    go_on(num_epoch=4, milestones=(0.5, 2))
    said = capsys.readouterr().err
    assert "the milestones (0.5, 2) were (0.5, 9), and the learning rate is 0.005 from epoch 1 on, until a milestone" in said


def test_line_on_a_stretched_schedule():
    said = longer_run(ScheduleConfig(schedule="cosine", lr=0.1, num_epoch=4), 2)
    assert (
        "stretched over 4 epochs" in said
        and "which fell to 0 at epoch 2, is 0.05 there now and falls to 0 at the new end" in said
    )
