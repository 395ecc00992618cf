"""Losses of the compared methods in whole runs: their recipes, two ranks, resuming."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from aird_plugin.config.recipe import from_flat, load
from aird_plugin.config.recipe_file import recipe_path
from aird_plugin.losses.crd import CRD
from aird_plugin.losses.fkd import FKD
from aird_plugin.losses.horkd import HORKD
from aird_plugin.losses.instance import IID
from aird_plugin.losses.rkd import RKD
from aird_plugin.training.loop import train
from aird_plugin.training.objective import LossDims, Objective, build_loss_inputs
from tests.exact import assert_equal_up_to_order, float64
from tests.rank_step import CLASSES, FACES, WIDTH, Batch, in_ddp, losses_and_gradients_of, small_head, small_student
from tests.ranks import on_ranks
from tests.runs import metrics

RECIPES = Path(__file__).parents[2] / "recipes"
TERMS = {
    "fkd": FKD(weight=0.5),
    "rkd": RKD(),
    "horkd": HORKD(),
    "crd": CRD(negatives=9, width=4, temperature=0.5),
    "iid": IID(leave_one_out=True),
}
STEPS = 3


def steps(name: str) -> dict[str, torch.Tensor]:
    """Three batches on this rank's images: losses, the last gradients, and the buffers of the term."""
    student, head = small_student(), small_head()
    objective = Objective({name: TERMS[name]}, LossDims(WIDTH, 2 * FACES, CLASSES))
    if name == "iid":
        left_out_ND = F.normalize(torch.randn(2 * FACES, WIDTH, generator=torch.Generator().manual_seed(3)))
        left_out_ND[::3] = 0
        objective.terms[name].set_left_out(left_out_ND, student_too=True)
    network, losses = in_ddp(student), {}
    for step in range(STEPS):
        batch = Batch()
        batch.x, batch.row_B = batch.x + step, batch.row_B + 4 * step
        network.zero_grad()
        objective.zero_grad()
        inputs = build_loss_inputs(network(batch.x), batch, head, batch_index=step)
        out = objective(inputs, identity=head.loss(inputs.student_cosine_GC, inputs.label_G))
        out["loss"].backward()
        losses |= {f"{key}/{step}": value for key, value in out.items()}
    found = losses_and_gradients_of(student, objective, losses)
    return found | {f"memory/{key}": value for key, value in objective.named_buffers()}


def all_terms() -> dict[str, dict[str, torch.Tensor]]:
    return {name: steps(name) for name in TERMS}


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> list[dict]:
    return on_ranks(all_terms, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", TERMS)
def test_two_ranks_equal_one_in_losses_gradients_and_memories(name, two_ranks):
    with float64():
        whole = steps(name)
    assert whole[f"loss/{name}/2"] > 0 and all(whole[key].abs().sum() > 0 for key in whole if "objective/" in key)
    for part in two_ranks:
        assert_equal_up_to_order(part[name], whole)


def test_crd_memory_of_every_rank_holds_the_images_of_all_ranks(two_ranks):
    for key in ("memory/terms.crd.student_memory_NR", "memory/terms.crd.person_N"):
        assert torch.equal(two_ranks[0]["crd"][key], two_ranks[1]["crd"][key])
    assert (two_ranks[0]["crd"]["memory/terms.crd.person_N"] >= 0).all()


@pytest.mark.parametrize("name", ["fkd", "rkd", "crd", "horkd", "kd", "dkd"])
def test_baseline_recipe_differs_from_the_identity_loss_in_its_term(name):
    recipe, bare = (load(recipe_path(RECIPES, f"faces15k_small_lr16_{n}")) for n in (name, "cls"))
    assert set(recipe.terms) == {name} and recipe.head.head_init == "teacher" and recipe.run.identity_weight == 1
    assert replace(recipe, terms=bare.terms, run=bare.run) == bare


def test_recipes_use_the_published_weights():
    def term(name):
        return load(recipe_path(RECIPES, f"faces15k_small_lr16_{name}")).terms[name]

    assert term("fkd").weight == 0.1
    assert (term("rkd").weight, term("rkd").distance, term("rkd").angle) == (40, 1, 2)
    crd = term("crd")
    assert (crd.weight, crd.temperature, crd.momentum, crd.width) == (0.8, 0.07, 0.5, 128)
    assert CRD().negatives == 16384
    assert (term("kd").variant, term("kd").temperature, term("kd").scale) == ("kl", 4, 32)
    dkd = term("dkd")
    assert (dkd.variant, dkd.alpha, dkd.beta, dkd.temperature, dkd.scale) == ("dkd", 1, 8, 4, 32)
    assert math.isclose(dkd.warmup_epochs, 10 * 20 / 240)


def test_resumed_run_with_crd_memories_is_bit_identical(tiny_run, tmp_path):
    keys = {key: value for key, value in tiny_run.items() if not key.startswith("rid_")}
    keys |= {"terms": {"crd": "aird_plugin.losses.crd:CRD"}, "crd_negatives": 16, "frequent": 1, "save_steps": 1}
    whole = train(from_flat(keys | {"output": str(tmp_path / "whole")}))
    shutil.copytree(whole / "checkpoints" / "step_00000017", tmp_path / "run" / "checkpoints" / "step_00000017")
    again = train(from_flat(keys | {"output": str(tmp_path / "run")}))
    saved = [
        torch.load(f / "checkpoints" / "step_00000018" / "shared.pt", weights_only=True)["objective"] for f in (whole, again)
    ]
    assert "terms.crd.teacher_memory_NR" in saved[0]
    assert all(torch.equal(value, saved[1][key]) for key, value in saved[0].items())
    last = [metrics(folder)[-1]["crd"] for folder in (whole, again)]
    assert last[0] == last[1] > 0


def test_relational_term_accepts_a_student_of_another_width():
    """RKD compares distances with distances, so that it needs no teacher of the same width."""
    student, teacher = torch.randn(4, 3, requires_grad=True), F.normalize(torch.randn(4, 7))
    inputs = SimpleNamespace(student_BD=student, teacher_BD=teacher, shards=SimpleNamespace(gather=lambda x: x))
    loss = RKD().build(LossDims(3))(inputs)
    loss.backward()
    assert loss > 0 and student.grad.abs().sum() > 0
    assert not RKD.needs & {"teacher_width", "neighbours"}
