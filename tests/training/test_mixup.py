"""mixup: student and teacher see the same mixtures, on the online path and without identities."""

import numpy as np
import pytest
import torch

from aird_plugin.config.recipe import from_flat
from aird_plugin.data.degradation import downsample
from aird_plugin.data.online_batches import mixed
from aird_plugin.training.build import build_setup
from aird_plugin.training.loop import compute_loss
from aird_plugin.training.means import student_mean
from aird_plugin.training.state import state_from_setup

TERMS = {"terms": {"align": "aird_plugin.losses.cosine:CosineRegression", "iid": "aird_plugin.losses.instance:IID"}}


@pytest.fixture
def keys(tiny_run, tmp_path):
    bare = {key: value for key, value in tiny_run.items() if key != "rid_negatives"}
    own = {"output": str(tmp_path / "run"), "mixup": 1.0, "online": True, "identity_weight": 0.0}
    return bare | TERMS | own


def test_mixture_equals_a_loop():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    found = mixed(images, 0.4, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    partner, share = rng.permutation(5), rng.beta(0.4, 0.4, 5)
    for i in range(5):
        expected = share[i] * images[i].astype(float) + (1 - share[i]) * images[partner[i]]
        assert np.abs(found[i] - expected).max() <= 0.5 + 1e-3


def test_student_and_teacher_see_one_mixture(keys):
    setup = build_setup(from_flat(keys))
    plain = build_setup(from_flat(keys | {"mixup": 0.0})).source[2]
    batch = setup.add_teacher_outputs(setup.source[2])
    assert (batch.hr_BHWC.int() - plain.hr_BHWC.int()).abs().max() > 20 and torch.equal(batch.row_B, plain.row_B)
    assert np.array_equal(batch.images_BHWC.numpy(), downsample(batch.hr_BHWC.numpy(), 16))
    torch.testing.assert_close(batch.teacher_BD, setup.teacher.embed_torch(batch.hr_BHWC))
    assert torch.equal(setup.source[2].images_BHWC, batch.images_BHWC)
    assert torch.isfinite(compute_loss(state_from_setup(setup), batch, 0, 1)["loss"])


@pytest.mark.parametrize("drawn", [{}, {"px_range": (8, 32)}])
def test_training_means_are_of_images_as_they_are_and_leave_the_source_mixed(keys, drawn):
    setup = build_setup(from_flat(keys | drawn))
    plain = build_setup(from_flat(keys | drawn | {"mixup": 0.0}))
    plain.student = setup.student
    before = setup.source[2].images_BHWC
    (found_D, images), (expected_D, _) = student_mean(setup), student_mean(plain)
    assert np.array_equal(found_D, expected_D) and images > 0
    assert torch.equal(setup.source[2].images_BHWC, before) and not torch.equal(plain.source[2].images_BHWC, before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"online": False}, "set online=True"),
        ({"identity_weight": 1.0}, "which identity_weight needs"),
        ({"iid_variant": "dkd"}, "which iid needs"),
        ({"mixup": -1.0}, "mixup must be 0 or more"),
    ],
)
def test_recipes_that_need_identities_are_rejected(keys, change, words):
    with pytest.raises(ValueError, match=words):
        build_setup(from_flat(keys | change))
