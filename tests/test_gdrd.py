"""GDRD's two stages in both hosts, from an untrained prior: what moves, what does not, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from aird_plugin.bridge.host import train as train_hosted
from aird_plugin.lesson import prepare
from aird_plugin.loop import train
from aird_plugin.recipe import from_flat, load
from tests.skips import needs

STANDIN = Path(__file__).parent / "bridge" / "standin"
RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.fixture(scope="module")
def stage_one_keys(tiny_run, tmp_path_factory):
    """Keys of a run of three epochs in which the generative term stands alone."""
    needs("diffusers")
    from aird_plugin.prior.config import PriorConfig
    from aird_plugin.prior.model import build_scheduler, build_unet, save_prior

    folder = tmp_path_factory.mktemp("gdrd")
    torch.manual_seed(0)
    save_prior(folder / "prior", build_unet(PriorConfig(prior_side=32, prior_widths=(8, 16, 16, 16))), build_scheduler())
    return {key: value for key, value in tiny_run.items() if not key.startswith("rid_")} | {
        "terms": {"gen": "aird_plugin.losses.generative:Generative"}, "identity_weight": 0.0, "prior": str(folder / "prior"),
        "bank": str(folder / "bank"), "output": str(folder / "stage1"), "frequent": 1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def stage_one(stage_one_keys):
    return train(from_flat(stage_one_keys))


def state(folder):
    return torch.load(Path(folder) / "model.pt", weights_only=True)


def lines(folder):
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def test_stage_one_learns_the_features_and_nothing_of_people(stage_one):
    told = lines(stage_one)
    assert told[-1]["gen"] < 0.8 * told[0]["gen"] and told[0]["loss"] == pytest.approx(told[0]["gen"])
    prior = json.loads((stage_one / "recipe.json").read_text())["prior"]
    assert prior["timestep"] == 100 and len(prior["prior"]) == 64


def test_a_batch_brings_the_features_of_its_own_faces(stage_one_keys, stage_one):
    lesson = prepare(from_flat(stage_one_keys))
    batch = lesson.source[3]
    draw = lesson.source.plan.draw(3)
    np.testing.assert_array_equal(batch.row_B, draw.rows_B)
    np.testing.assert_allclose(batch.generative_BCHW, lesson.source.features.features(draw.rows_B, draw.views_B))
    assert batch.generative_BCHW.shape == (8, 16, 4, 4)


def test_stage_one_needs_no_recogniser(stage_one_keys, tmp_path):
    keys = stage_one_keys | {"teacher": None, "teacher_network": None, "head_init": "random", "embedding_size": 8}
    assert lines(train(from_flat(keys | {"output": str(tmp_path), "num_epoch": 1})))[-1]["gen"] > 0


def test_stage_two_moves_the_head_alone(stage_one, tiny_run, tmp_path):
    keys = tiny_run | {"student_init": str(stage_one / "model.pt"), "freeze": "trunk", "output": str(tmp_path), "frequent": 1}
    before, after = state(stage_one), state(train(from_flat(keys)))
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"fc", "features"}
    told = lines(tmp_path)
    assert told[-1]["loss"] < told[0]["loss"] and {"iid", "rid", "identity"} <= set(told[0])


@pytest.mark.parametrize("stage", ["one", "two"])
def test_the_hosted_run_does_the_same(stage, stage_one_keys, stage_one, tiny_run, tmp_path):
    """Upstream's head and gradient averaging in both."""
    keys = stage_one_keys
    if stage == "two":
        keys = tiny_run | {"student_init": str(stage_one / "model.pt"), "freeze": "trunk", "bank": stage_one_keys["bank"]}
    keys |= {"margin_gradient": "upstream", "gradient_compression": False, "num_epoch": 1, "frequent": 1}
    here = train(from_flat(keys | {"output": str(tmp_path / "here")}))
    there = train_hosted(from_flat(keys | {"output": str(tmp_path / "there")}), str(STANDIN))
    for name, value in state(here).items():
        torch.testing.assert_close(state(there)[name], value, rtol=2e-3, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(("change", "words"), [
    ({"prior": None}, "gen needs a diffusion prior; set prior=FOLDER"),
    ({"prior": "nowhere"}, r"prior=nowhere \(diffusion prior\): not there"),
    ({"reader": "upstream"}, "does not say which face comes; set reader='bank'"),
    ({"compile": True}, "set compile=False"),
    ({"freeze": "trunk"}, "gen: freeze='trunk' leaves nothing of the maps to be taught"),
    ({"px_range": (8, 64)}, "gen: the prior is asked once about the face of px=16; set px_range"),
    ({"freeze": "head"}, "freeze is None or 'trunk'; got 'head'"),
    ({"prior_timestep": 1000}, "must be below 1000"),
])  # fmt: skip
def test_what_does_not_fit_is_told_before_training(stage_one_keys, change, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        prepare(from_flat(stage_one_keys | change))


@pytest.mark.parametrize("family", ["faces15k_small_lr16_gdrd", "gdrd_r18_lr16"])
def test_the_recipes_say_what_the_paper_says(family):
    """Stage one: L_gen alone, no person asked. Stage two: relations, KD and identity on a head over stage one's frozen trunk."""
    first, second = load(RECIPES / f"{family}_stage1.py"), load(RECIPES / f"{family}.py")
    assert set(first.terms) == {"gen"} and first.run.identity_weight == 0 and first.student.freeze is None
    assert set(second.terms) == {"iid", "rid"} and second.run.identity_weight == 1 and second.student.freeze == "trunk"
    assert second.student.student_init == f"{first.run.output}/model.pt" and second.student.network == first.student.network


@pytest.mark.parametrize(("prior", "stage"), [("faces15k_gdrd_prior", "faces15k_small_lr16_gdrd_stage1"),
                                              ("gdrd_prior", "gdrd_r18_lr16_stage1")])  # fmt: skip
def test_a_priors_features_have_the_side_of_the_students_last_map(prior, stage):
    from aird_plugin.models import build
    from aird_plugin.models.maps import map_shapes

    made, used = load(RECIPES / f"{prior}.py"), load(RECIPES / f"{stage}.py")
    assert used.prior.prior == made.run.output and made.data.px == used.data.px
    side = made.prior.prior_side // 2 ** (len(made.prior.prior_widths) - 1)
    assert map_shapes(build(used.student.network, 8))[-1][1:] == (side, side)
