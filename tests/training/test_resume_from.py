"""A new run that starts from another run's newest checkpoint, and what is said where it cannot."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from aird_plugin.bridge.host import refuse_resume_from
from aird_plugin.config.recipe import from_flat
from aird_plugin.training import checkpoint
from aird_plugin.training.inputs import check_inputs
from aird_plugin.training.loop import train
from aird_plugin.training.optim import ScheduleConfig
from aird_plugin.training.resume_from import check_resume_from, load_centers, new_schedule
from aird_plugin.training.run_folder import read_metadata
from aird_plugin.utils.errors import MissingInputs


@pytest.fixture(scope="module")
def source(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("from") / "source"
    return train(from_flat(tiny_run | {"num_epoch": 1, "output": str(folder)}))


def content(run) -> tuple[dict, torch.Tensor]:
    shared, heads = checkpoint.load_latest(run / "checkpoints")
    return shared, torch.cat([head["weight"] for head in heads])


def test_run_starts_from_student_and_centers_of_another(source, tiny_run, tmp_path, capsys):
    """With hardly any learning rate its weights are those of the other run, and it goes on from its own checkpoint without it."""
    shutil.copytree(source, tmp_path / "source")
    keys = tiny_run | {"resume_from": str(tmp_path / "source"), "output": str(tmp_path / "run"), "schedule": "step", "lr": 1e-9}
    keys |= {"milestones": (1,), "weight_average": 0.5, "head_init": "random", "seed": 3}
    done = train(from_flat(keys | {"num_epoch": 1}))
    (before, centers_CD), (after, found_CD) = content(source), content(done)
    for name, parameter in before["student"].items():
        if name.endswith(("weight", "bias")):
            torch.testing.assert_close(after["student"][name], parameter, rtol=0, atol=1e-5)
            torch.testing.assert_close(after["average"]["averaged"][name], parameter, rtol=0, atol=1e-5)
    torch.testing.assert_close(found_CD, centers_CD, rtol=0, atol=1e-5)
    assert after["step"] == 6
    assert (
        f"resume_from={tmp_path / 'source'}: student and class centers of its step 6. The schedule starts anew: the learning "
        "rate is 1e-09 in the first and 1e-09 in the last of 1 epochs" in capsys.readouterr().err
    )
    shutil.rmtree(tmp_path / "source")
    assert content(train(from_flat(keys | {"num_epoch": 2})))[0]["step"] == 12
    assert "schedule starts anew" not in capsys.readouterr().err and read_metadata(done)["recipe"]["resume_from"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"network": "native16_0.1m"},
            "has network='native16_0.05m', this run 'native16_0.1m'; give a run with the same network",
        ),
        ({"width": 16}, "has embedding_size=8, this run 16"),
        ({"num_classes": 9}, "has class centers of 8 identities, these images 9; set student_init="),
        ({"student_init": "a.pt"}, "resume_from and student_init both give"),
        ({"output": "source"}, "is the output too"),
    ],
)
def test_other_run_that_does_not_fit_is_rejected(change, words, source, tiny_run, tmp_path):
    width = change.pop("width", 8)
    keys = tiny_run | {"num_classes": 8, "output": str(tmp_path / "new"), "resume_from": str(source)}
    if "output" in change:
        shutil.copytree(source, tmp_path / "source")
        change = {"output": str(tmp_path / "source"), "resume_from": str(tmp_path / "source"), "resume": False}
    with pytest.raises(ValueError) as caught:
        check_resume_from(from_flat(keys | change), nn.Identity(), width)
    assert words in str(caught.value)


def test_path_without_a_checkpoint_is_named_with_the_other_inputs(source, tiny_run, tmp_path):
    shutil.copytree(source, tmp_path / "bare", ignore=shutil.ignore_patterns("checkpoints"))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "recipe.json").write_text(json.dumps({"lr": 1}))
    for name, words in (("gone", "not there"), ("bare", "no checkpoint in"), ("foreign", "has no network")):
        keys = tiny_run | {"output": str(tmp_path / "new"), "resume_from": str(tmp_path / name)}
        with pytest.raises(MissingInputs, match=f"resume_from={tmp_path / name} .run to start from.: .*{words}"):
            check_inputs(from_flat(keys))
    with pytest.raises(ValueError, match="does not run inside arcface_torch"):
        refuse_resume_from(from_flat(keys))


def test_centers_of_any_number_of_ranks_are_taken():
    saved_CD = torch.arange(10.0).view(5, 2)
    head = SimpleNamespace(weight=torch.zeros(3, 2), shard=slice(1, 4))
    load_centers(head, [{"weight": saved_CD[:2]}, {"weight": saved_CD[2:3]}, {"weight": saved_CD[3:]}])
    assert torch.equal(head.weight, saved_CD[1:4])


def test_line_on_the_new_schedule():
    steps = ScheduleConfig(lr=0.05, num_epoch=35)
    assert "0.05 in the first and 5e-05 in the last of 35 epochs" in new_schedule(steps)
    warm = ScheduleConfig(schedule="cosine", warmup_epoch=2, lr=0.1, num_epoch=4)
    assert "a warm-up of 2 epochs to 0.1, 0.05 in the last epoch" in new_schedule(warm)
