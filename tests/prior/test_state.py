"""Recipes that cannot train a prior."""

import pytest

from aird_plugin.prior.state import build_state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"px": 64}, "prior_side=32 is below px=64"),
        ({"gradient_acc": 2}, "gradient_acc=2: a prior takes one batch per step"),
        ({"fp16": True}, "fp16=False"),
        ({"degradation": {"blur": 1}}, "images of one degradation; got {'blur': 1}"),
        ({"px_range": (8, 64)}, "terms, px_range, also_px, faces_per_person would do nothing"),
        ({"terms": {"align": "aird_plugin.losses.cosine:CosineRegression"}}, "trains a prior and no student"),
        ({"batch_size": 64}, "48 images do not fill one batch of 64"),
    ],
)
def test_invalid_recipe_is_rejected(prior_recipe, change, words):
    with pytest.raises(ValueError, match=words):
        build_state(prior_recipe(**change))
