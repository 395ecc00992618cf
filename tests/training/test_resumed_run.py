import json
import shutil

import pytest

from aird_plugin.config.recipe import from_flat
from aird_plugin.training.loop import train
from aird_plugin.training.optim import ScheduleConfig
from aird_plugin.training.resumed_run import check_same_recipe, check_same_start, former_recipe, longer_run
from aird_plugin.training.run_folder import read_metadata, write_or_verify_run
from tests.runs import assert_same_to_the_bit, weights

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


@pytest.mark.parametrize(
    ("keys", "newer"),
    [
        ({"terms": {"align": "aird_plugin.losses.cosine:CosineRegression"}}, {"align_huber": 0.5}),
        ({"margin": "aird_plugin.losses.adaface:AdaFace"}, {"margin_h": 0.5}),
    ],
)
def test_older_run_has_the_defaults_of_newer_keys_of_its_terms(keys, newer):
    """Resumed with another value, it would go on with another loss."""
    keys = {"rec": "faces", "output": "out"} | keys
    saved = {key: value for key, value in json.loads(json.dumps(from_flat(keys).flat())).items() if key not in newer}
    check_same_recipe(former_recipe(saved), json.loads(json.dumps(from_flat(keys).flat())), "out")
    with pytest.raises(ValueError, match=f"out holds another run: {next(iter(newer))} was"):
        check_same_recipe(former_recipe(saved), json.loads(json.dumps(from_flat(keys | newer).flat())), "out")
    gone = saved | {"terms": {"old": "no_such_module:Spec"}}
    with pytest.raises(ValueError, match="terms was"):
        check_same_recipe(former_recipe(gone), json.loads(json.dumps(from_flat(keys).flat())), "out")


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
    assert_same_to_the_bit(weights(done), weights(whole))
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


@pytest.mark.parametrize("fits", [{"batch_size": 16}, {"gradient_acc": 2}])
def test_another_number_of_ranks_takes_as_many_images_in_a_step(run, tmp_path, fits):
    """With half of the images in each step, half of the schedule would come again; with twice as many, the run would end."""
    shutil.copytree(run, tmp_path / "run")
    metadata = read_metadata(run)
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(metadata | {"world_size": 2}))

    def go_on(**change) -> dict:
        now = metadata | {"recipe": metadata["recipe"] | {"output": str(tmp_path / "run")} | change}
        write_or_verify_run(from_flat(now["recipe"]), now)
        return now

    assert metadata["recipe"]["batch_size"] == 8
    words = "took 16 images a step, on 2 rank.*; 1 rank.* with batch_size=8 and gradient_acc=1 take 8, .* resume_from="
    with pytest.raises(ValueError, match=words):
        go_on()
    with pytest.raises(ValueError, match="lr was 0.05, now 0.1"):
        go_on(**fits, lr=0.1)
    last_start = go_on(**fits)["earlier"][-1]
    assert [last_start[key] for key in ("world_size", "batch_size", "gradient_acc")] == [2, 8, 1]
    with pytest.raises(ValueError, match=f"{next(iter(fits))} was"):
        go_on()


def test_line_on_a_stretched_schedule():
    said = longer_run(ScheduleConfig(schedule="cosine", lr=0.1, num_epoch=4), 2)
    assert (
        "stretched over 4 epochs" in said
        and "which fell to 0 at epoch 2, is 0.05 there now and falls to 0 at the new end" in said
    )
