"""teacher_flip_mean: targets are the teacher's mean over a view and its mirror image, on both paths."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aird_plugin.config.recipe import from_flat
from aird_plugin.training.build import build_setup
from aird_plugin.training.loop import compute_loss
from aird_plugin.training.state import state_from_setup


@pytest.fixture
def keys(tiny_run, tmp_path):
    return tiny_run | {"output": str(tmp_path / "run"), "teacher_flip_mean": True, "views": 4, "bank": str(tmp_path / "bank")}


def test_targets_are_the_mean_over_flips_on_both_paths(keys):
    setup, online = build_setup(from_flat(keys)), build_setup(from_flat(keys | {"online": True}))
    draw = setup.source.sampler.indices(1)
    known_NVD = setup.bank.embeddings_NVD.astype(np.float64)
    mirrored_B = np.where(draw.views_B % 2, draw.views_B - 1, draw.views_B + 1)
    expected = known_NVD[draw.rows_B, draw.views_B] + known_NVD[draw.rows_B, mirrored_B]
    expected_BD = F.normalize(torch.from_numpy(expected)).float()
    torch.testing.assert_close(F.normalize(setup.source[1].teacher_BD), expected_BD, atol=1e-6, rtol=0)
    # The bank holds float16.
    found_BD = F.normalize(online.add_teacher_outputs(online.source[1]).teacher_BD)
    torch.testing.assert_close(found_BD, expected_BD, atol=2e-3, rtol=0)
    plain = build_setup(from_flat(keys | {"teacher_flip_mean": False}))
    assert (F.normalize(plain.source[1].teacher_BD.float()) - expected_BD).abs().max() > 0.01
    state = state_from_setup(setup)
    assert torch.isfinite(compute_loss(state, setup.source[1], 0, 1)["loss"])


def test_terms_on_feature_maps_are_rejected(keys):
    with pytest.raises(ValueError, match="teacher_flip_mean=True does not go with terms on feature maps"):
        maps = {"terms": {"at": "aird_plugin.losses.at:AT"}, "online": True, "network": "native112_0.05m"}
        build_setup(from_flat({key: value for key, value in keys.items() if key != "rid_negatives"} | maps))
