"""Recipes that cannot train a prior."""

import pytest

from aird_plugin.__main__ import main
from aird_plugin.prior.state import build_state
from tests.runs import write_recipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"px": 64}, "prior_side=32 is below px=64"),
        ({"gradient_acc": 2}, "gradient_acc=2: a prior takes one batch per step"),
        ({"fp16": True}, "fp16=False"),
        ({"degradation": {"blur": 1}}, "images of one degradation; got {'blur': 1}"),
        ({"px_range": (8, 64)}, "terms, px_range, also_px, faces_per_person would do nothing"),
        ({"terms": {"align": "aird_plugin.losses.cosine:CosineRegression"}}, "trains a prior and no student"),
        ({"first_layer_lr": 0.5}, "first_layer_lr=0.5 is of a student's layers; set it to 1"),
        ({"weight_average": 0.9}, "weight_average=0.9 averages a student; set it to 0: prior_ema is the average of a prior"),
        ({"mixup": 0.5}, "mixup=0.5: a prior is trained on single images; set mixup=0"),
        ({"online": True}, "online=True: a prior is trained on the images of the bank; set online=False"),
        ({"shuffle": "streamed"}, "shuffle='streamed': .* set shuffle='auto'"),
        ({"batch_size": 64}, "48 images do not fill one batch of 64"),
    ],
)
def test_invalid_recipe_is_rejected(prior_recipe, change, words):
    with pytest.raises(ValueError, match=words):
        build_state(prior_recipe(**change))


def test_too_few_images_are_noticed_before_the_caches(prior_recipe, tmp_path):
    with pytest.raises(ValueError, match="48 images do not fill one batch of 64"):
        build_state(prior_recipe(batch_size=64, bank=str(tmp_path / "bank")))
    assert not (tmp_path / "bank").exists()


def test_doctor_names_a_key_that_a_prior_does_not_have(prior_keys, tmp_path, capsys):
    assert main(["doctor", str(write_recipe(tmp_path / "recipe.py", prior_keys)), "mixup=0.5"]) == 1
    assert "set mixup=0" in capsys.readouterr().out
