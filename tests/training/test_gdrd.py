"""GDRD's two stages in the native loop and in arcface_torch, from an untrained prior: trained layers, rejected recipes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from aird_plugin.bridge.host import train as train_in_arcface_torch
from aird_plugin.config.recipe import from_flat, load
from aird_plugin.config.recipe_file import recipe_path
from aird_plugin.training.build import build_setup
from aird_plugin.training.loop import train
from tests.runs import metrics, weights
from tests.skips import needs

STANDIN = Path(__file__).parents[1] / "bridge" / "standin"
RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def stage_one_keys(tiny_run, tmp_path_factory):
    """Keys of a run of three epochs with the generative term alone."""
    needs("diffusers")
    from aird_plugin.prior.config import PriorConfig
    from aird_plugin.prior.model import build_scheduler, build_unet, save_prior

    folder = tmp_path_factory.mktemp("gdrd")
    torch.manual_seed(0)
    save_prior(folder / "prior", build_unet(PriorConfig(prior_side=32, prior_widths=(8, 16, 16, 16))), build_scheduler())
    return {key: value for key, value in tiny_run.items() if not key.startswith("rid_")} | {
        "terms": {"gen": "aird_plugin.losses.gdrd:GDRD"},
        "identity_weight": 0.0,
        "prior": str(folder / "prior"),
        "bank": str(folder / "bank"),
        "output": str(folder / "stage1"),
        "frequent": 1,
    }


@pytest.fixture(scope="module")
def stage_one(stage_one_keys):
    return train(from_flat(stage_one_keys))


def test_stage_one_trains_on_the_features_alone(stage_one):
    rows = metrics(stage_one)
    assert rows[-1]["gen"] < 0.8 * rows[0]["gen"] and rows[0]["loss"] == pytest.approx(rows[0]["gen"])
    prior = json.loads((stage_one / "recipe.json").read_text())["prior"]
    assert prior["timestep"] == 100 and len(prior["prior"]) == 64


def test_batch_holds_the_prior_features_of_its_images(stage_one_keys, stage_one):
    setup = build_setup(from_flat(stage_one_keys))
    batch = setup.source[3]
    draw = setup.source.sampler.indices(3)
    np.testing.assert_array_equal(batch.row_B, draw.rows_B)
    np.testing.assert_allclose(batch.generative_BCHW, setup.source.features.features(draw.rows_B, draw.views_B))
    assert batch.generative_BCHW.shape == (8, 16, 4, 4)


def test_stage_one_needs_no_recognition_teacher(stage_one_keys, tmp_path):
    keys = stage_one_keys | {"teacher": None, "teacher_network": None, "head_init": "random", "embedding_size": 8}
    assert metrics(train(from_flat(keys | {"output": str(tmp_path), "num_epoch": 1})))[-1]["gen"] > 0


def test_stage_two_trains_the_head_alone(stage_one, tiny_run, tmp_path):
    keys = tiny_run | {"student_init": str(stage_one / "model.pt"), "freeze": "trunk", "output": str(tmp_path), "frequent": 1}
    before, after = weights(stage_one), weights(train(from_flat(keys)))
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"fc", "features"}
    rows = metrics(tmp_path)
    assert rows[-1]["loss"] < rows[0]["loss"] and {"iid", "rid", "identity"} <= set(rows[0])


@pytest.mark.parametrize("stage", ["one", "two"])
def test_arcface_torch_run_equals_the_native_loop(stage, stage_one_keys, stage_one, tiny_run, tmp_path):
    """Both with upstream's head and gradient averaging."""
    keys = stage_one_keys
    if stage == "two":
        keys = tiny_run | {"student_init": str(stage_one / "model.pt"), "freeze": "trunk", "bank": stage_one_keys["bank"]}
    keys |= {"margin_gradient": "upstream", "gradient_compression": False, "num_epoch": 1, "frequent": 1}
    native = train(from_flat(keys | {"output": str(tmp_path / "here")}))
    upstream = train_in_arcface_torch(from_flat(keys | {"output": str(tmp_path / "there")}), str(STANDIN))
    for name, value in weights(native).items():
        torch.testing.assert_close(weights(upstream)[name], value, rtol=2e-3, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prior": None}, "gen needs a diffusion prior; set prior=FOLDER"),
        ({"prior": "nowhere"}, r"prior=nowhere \(diffusion prior\): not there"),
        ({"reader": "upstream"}, "passes no image index; set reader='bank'"),
        ({"compile": True}, "set compile=False"),
        ({"freeze": "trunk"}, "gen: freeze='trunk' leaves no layer before the maps to train"),
        ({"px_range": (8, 64)}, "gen: the prior's features are computed once, at px=16; set px_range"),
        ({"mixup": 1.0, "online": True}, "no single image of the training set, which gen needs"),
        ({"degradation": {"blur": 1}}, "gen: the prior's features are computed once, for one degradation; got {'blur': 1}"),
        ({"freeze": "head"}, "freeze is None or 'trunk'; got 'head'"),
        ({"prior_timestep": 1000}, "must be below 1000"),
    ],
)
def test_invalid_recipe_is_rejected_before_training(stage_one_keys, change, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        build_setup(from_flat(stage_one_keys | change))


@pytest.mark.parametrize("family", ["faces15k_small_lr16_gdrd", "gdrd_r18_lr16"])
def test_recipes_match_the_paper(family):
    """Stage one: L_gen alone, no labels. Stage two: RID, IID and identity loss on a head over stage one's frozen trunk."""
    first, second = load(recipe_path(RECIPES, f"{family}_stage1")), load(recipe_path(RECIPES, f"{family}"))
    assert set(first.terms) == {"gen"} and first.run.identity_weight == 0 and first.student.freeze is None
    assert set(second.terms) == {"iid", "rid"} and second.run.identity_weight == 1 and second.student.freeze == "trunk"
    assert second.student.student_init == f"{first.run.output}/model.pt" and second.student.network == first.student.network


@pytest.mark.parametrize(
    ("prior", "stage"), [("faces15k_gdrd_prior", "faces15k_small_lr16_gdrd_stage1"), ("gdrd_prior", "gdrd_r18_lr16_stage1")]
)
def test_prior_features_have_the_side_of_the_students_last_map(prior, stage):
    from aird_plugin.models import build
    from aird_plugin.models.feature_maps import map_shapes

    made, used = load(recipe_path(RECIPES, f"{prior}")), load(recipe_path(RECIPES, f"{stage}"))
    assert used.prior.prior == made.run.output and made.data.px == used.data.px
    side = made.prior.prior_side // 2 ** (len(made.prior.prior_widths) - 1)
    assert map_shapes(build(used.student.network, 8))[-1][1:] == (side, side)
