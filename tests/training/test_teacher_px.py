"""A run whose teacher sees the images at a px: the bank and the online path agree; LR-HR takes the HR image."""

import json

import numpy as np
import pytest
import torch

from aird_plugin.config.recipe import from_flat
from aird_plugin.data.records import decode_face
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.models.load import load_model, load_teacher
from aird_plugin.training.build import build_setup
from aird_plugin.training.loop import train


@pytest.fixture
def keys(tiny_run, tmp_path):
    own = {"teacher_px": 16, "bank": str(tmp_path / "bank"), "output": str(tmp_path / "run"), "num_epoch": 1}
    return tiny_run | own


def test_bank_and_online_path_hold_the_embeddings_of_low_images(keys):
    from_bank, online = build_setup(from_flat(keys)), build_setup(from_flat(keys | {"online": True}))
    images = torch.stack([torch.from_numpy(decode_face(online.records, row).copy()) for row in range(4)])
    expected = torch.nn.functional.normalize(online.teacher.embed_torch(images).cpu())
    rows, views = torch.arange(4).numpy(), torch.zeros(4, dtype=torch.int64).numpy()
    # Rounded to float16 below 1.
    torch.testing.assert_close(torch.from_numpy(from_bank.bank.embeddings(rows, views)), expected, rtol=0, atol=2**-10)


def test_verification_takes_hr_images_on_the_hr_side(keys, pairs_file):
    run = train(from_flat(keys | {"val_targets": (pairs_file,), "val_protocols": ("lr-hr",)}))
    [row] = json.loads((run / "evaluation.json").read_text())
    teacher = load_teacher(keys["teacher"], keys["teacher_network"])
    assert row["auc"] == PairEvaluator(load_model(run), pairs_file, teacher).evaluate(row["px"], "lr-hr")["auc"]
    assert json.loads((run / "recipe.json").read_text())["teacher"]["px"] == 16


def test_bank_of_another_px_is_rejected(keys):
    build_setup(from_flat(keys))
    with pytest.raises(ValueError, match="bank"):
        build_setup(from_flat(keys | {"teacher_px": 8}))


def test_hr_and_lr_images_of_one_file_are_parts_of_one_ensemble(keys):
    pair = {"teacher": (keys["teacher"],) * 2, "teacher_px": (0, 16)}
    bank = build_setup(from_flat(keys | pair)).bank
    plain = build_setup(from_flat(keys | {"teacher_px": 0, "bank": keys["bank"] + "-hr"})).bank
    low = build_setup(from_flat(keys | {"bank": keys["bank"] + "-lr"})).bank
    rows, views = np.arange(5), np.zeros(5, np.int64)
    hr, lr, both = (torch.from_numpy(one.embeddings(rows, views)) for one in (plain, low, bank))
    # Three roundings to float16 of values below 1.
    torch.testing.assert_close(both, torch.nn.functional.normalize(hr + lr), rtol=0, atol=3 * 2**-10)
    assert not torch.allclose(hr, lr, atol=0.05)


@pytest.mark.parametrize("px", [4000, "16", -3, (16, 8)])
def test_other_values_are_rejected(keys, px):
    with pytest.raises(ValueError, match="px"):
        from_flat(keys | {"teacher_px": px})
