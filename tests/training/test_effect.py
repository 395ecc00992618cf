"""Runs that would train nothing, or whose first step would fail, are refused before any work, in both hosts."""

import pytest

from aird_plugin.bridge.host import train as train_in_arcface_torch
from aird_plugin.config.recipe import from_flat
from aird_plugin.diagnostics.recipe_check import check_contents
from aird_plugin.training.effect import check_effect, check_remainder, check_single_image
from aird_plugin.training.loop import train
from aird_plugin.training.student import build_student

ALIGN = {"align": "aird_plugin.losses.cosine:CosineRegression"}
NO_STEP = (
    r"gradient_acc=7 batches make one step, but an epoch has only 6 \(48 images, batch_size=8, 1 rank\(s\)\).*set gradient_acc"
)


@pytest.fixture
def keys(tiny_run, tmp_path):
    return tiny_run | {"output": str(tmp_path / "out")}


def test_more_batches_in_a_step_than_in_an_epoch_are_rejected(keys, tmp_path):
    recipe = from_flat(keys | {"gradient_acc": 7})
    with pytest.raises(ValueError, match=NO_STEP):
        train(recipe)
    with pytest.raises(ValueError, match=NO_STEP):
        list(check_contents(recipe))
    assert not (tmp_path / "out").exists()
    check_effect(from_flat(keys | {"gradient_acc": 6}), 48)


def test_fewer_images_than_a_batch_are_rejected_before_the_bank_is_built(keys, tmp_path):
    recipe = from_flat(keys | {"batch_size": 64, "bank": str(tmp_path / "bank")})
    for fail in (lambda: train(recipe), lambda: list(check_contents(recipe))):
        with pytest.raises(ValueError, match="48 images do not fill one batch of 64 on each of 1 ranks; lower batch_size or add"):
            fail()
    assert not (tmp_path / "bank").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gradient_acc": 7}, NO_STEP),
        ({"batch_size": 1}, "batch_size=1: the BatchNorms of network=native16_0.05m"),
        ({"num_classes": 9}, r"num_classes=9, but .* has 8 identities"),
    ],
)
def test_arcface_torch_is_not_started_either(keys, tmp_path, change, words):
    from tests.bridge.conftest import STANDIN

    with pytest.raises(ValueError, match=words):
        train_in_arcface_torch(from_flat(keys | change), str(STANDIN))
    assert not (tmp_path / "out").exists()


def test_loss_without_a_part_is_rejected(keys):
    keys = {key: value for key, value in keys.items() if not key.startswith("rid_")}
    for change in ({"terms": {}}, {"terms": ALIGN, "align_weight": 0.0}):
        with pytest.raises(ValueError, match="the loss would be 0 and the student stay untrained; set identity_weight=1.0"):
            train(from_flat(keys | {"identity_weight": 0.0} | change))
    check_effect(from_flat(keys | {"identity_weight": 0.0, "terms": ALIGN}), 48)


@pytest.mark.parametrize("network", ["native16_0.05m", "mbf", "r18"])
def test_single_image_in_a_batch_is_rejected(keys, network):
    keys = keys | {"network": network, "batch_size": 1}
    recipe = from_flat(keys)
    with pytest.raises(ValueError, match=rf"batch_size=1: the BatchNorms of network={network} .*set batch_size=2 or more"):
        check_single_image(recipe, build_student(recipe, 8))
    for allowed in ({"batchnorm": "frozen"}, {"batch_size": 2}, {"also_px": (8,)}):
        recipe = from_flat(keys | allowed)
        check_single_image(recipe, build_student(recipe, 8))


def test_classes_without_a_center_of_the_teacher_are_rejected(keys):
    words = (
        r"num_classes=50, but .* has 8 identities: the teacher has no class center of the other 42, which {} needs; num_classes=0"
    )
    with pytest.raises(ValueError, match=words.format("head_init='teacher', iid")):
        train(from_flat(keys | {"num_classes": 50}))
    with pytest.raises(ValueError, match=words.format("iid")):
        train(from_flat(keys | {"num_classes": 50, "head_init": "random"}))


def test_batches_that_make_no_whole_step_are_reported(keys, capsys):
    """Six batches an epoch: steps of four take four of them; steps of five take five, which is no reason for a warning."""
    (found,) = check_remainder(from_flat(keys | {"gradient_acc": 4}), 48)
    assert found.status == "warning"
    assert "gradient_acc=4: the steps of an epoch take 4 of its 6 batches, so that num_epoch=3 trains 2.0 times" in str(found)
    assert "set gradient_acc to a divisor of 6, or a larger num_epoch" in str(found)
    for accumulate in (1, 2, 3, 5, 6):
        assert not list(check_remainder(from_flat(keys | {"gradient_acc": accumulate}), 48))
