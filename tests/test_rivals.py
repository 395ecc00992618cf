"""The rival losses as a run sees them: their recipes, two ranks, a stop."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from aird_plugin import distributed
from aird_plugin.loop import train
from aird_plugin.losses.crd import Contrast
from aird_plugin.losses.feature import Feature
from aird_plugin.losses.horkd import HybridOrder
from aird_plugin.losses.rkd import Relational
from aird_plugin.models.head import Head, HeadConfig
from aird_plugin.objective import Objective, Sizes, look
from aird_plugin.recipe import from_flat, load
from tests.exact import assert_equal_up_to_order, float64
from tests.ranks import on_ranks
from tests.test_distributed import CLASSES, FACES, WIDTH, Batch

RECIPES = Path(__file__).parents[1] / "recipes"
TERMS = {
    "fkd": Feature(weight=0.5), "rkd": Relational(), "horkd": HybridOrder(),
    "crd": Contrast(negatives=9, width=4, temperature=0.5),
}  # fmt: skip
STEPS = 3


def steps(name: str) -> dict[str, torch.Tensor]:
    """Three batches on this rank's faces: losses, the last gradients, and what the term remembers."""
    torch.manual_seed(1)
    student = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, WIDTH))
    centres = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(2))
    head = Head(HeadConfig(CLASSES, margin_scale=8.0), WIDTH, centres, centres.flip(0), seed=4)
    objective = Objective({name: TERMS[name]}, Sizes(WIDTH, 2 * FACES, CLASSES))
    ranks, rank = distributed.world_size(), distributed.rank()
    network = DistributedDataParallel(student) if ranks > 1 else student
    count = FACES // ranks
    found = {}
    for step in range(STEPS):
        batch = Batch(slice(rank * count, rank * count + count))
        batch.x, batch.row_B = batch.x + step, batch.row_B + 4 * step
        network.zero_grad()
        objective.zero_grad()
        views = look(network(batch.x), batch, head, draw=step)
        out = objective(views, identity=head.loss(views.student_cosine_GC, views.label_G))
        out["loss"].backward()
        found |= {f"loss/{key}/{step}": distributed.mean_over_ranks(value.detach()) for key, value in out.items()}
    distributed.average_gradients(objective.parameters())
    found |= {f"student/{key}": p.grad for key, p in student.named_parameters()}
    found |= {f"objective/{key}": p.grad for key, p in objective.named_parameters()}
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


def test_crd_remembers_on_every_rank_what_all_ranks_saw(two_ranks):
    for key in ("memory/terms.crd.student_memory_NR", "memory/terms.crd.person_N"):
        assert torch.equal(two_ranks[0]["crd"][key], two_ranks[1]["crd"][key])
    assert (two_ranks[0]["crd"]["memory/terms.crd.person_N"] >= 0).all()


@pytest.mark.parametrize("name", ["fkd", "rkd", "crd", "horkd", "kd", "dkd"])
def test_a_rivals_recipe_differs_from_the_identity_loss_in_its_term(name):
    recipe, bare = (load(RECIPES / f"faces15k_small_lr16_{n}.py") for n in (name, "cls"))
    assert set(recipe.terms) == {name} and recipe.head.head_init == "teacher" and recipe.run.identity_weight == 1
    assert {**vars(recipe), "terms": 0, "run": 0} == {**vars(bare), "terms": 0, "run": 0}


def test_the_published_weights():
    def term(name):
        return load(RECIPES / f"faces15k_small_lr16_{name}.py").terms[name]

    assert term("fkd").weight == 0.1
    assert (term("rkd").weight, term("rkd").distance, term("rkd").angle) == (40, 1, 2)
    crd = term("crd")
    assert (crd.weight, crd.temperature, crd.momentum, crd.width) == (0.8, 0.07, 0.5, 128)
    assert Contrast().negatives == 16384
    assert (term("kd").variant, term("kd").temperature, term("kd").scale) == ("kl", 4, 32)
    dkd = term("dkd")
    assert (dkd.variant, dkd.alpha, dkd.beta, dkd.temperature, dkd.scale) == ("dkd", 1, 8, 4, 32)
    assert math.isclose(dkd.warmup_epochs, 10 * 20 / 240)


def test_a_stopped_run_with_crds_memories_goes_on_to_the_bit(tiny_run, tmp_path):
    keys = {key: value for key, value in tiny_run.items() if not key.startswith("rid_")}
    keys |= {"terms": {"crd": "aird_plugin.losses.crd:Contrast"}, "crd_negatives": 16, "frequent": 1, "save_steps": 1}
    whole = train(from_flat(keys | {"output": str(tmp_path / "whole")}))
    shutil.copytree(whole / "checkpoints" / "step_00000017", tmp_path / "run" / "checkpoints" / "step_00000017")
    again = train(from_flat(keys | {"output": str(tmp_path / "run")}))
    saved = [
        torch.load(f / "checkpoints" / "step_00000018" / "shared.pt", weights_only=True)["objective"] for f in (whole, again)
    ]
    assert "terms.crd.teacher_memory_NR" in saved[0]
    assert all(torch.equal(value, saved[1][key]) for key, value in saved[0].items())
    last = [json.loads((f / "metrics.jsonl").read_text().splitlines()[-1])["crd"] for f in (whole, again)]
    assert last[0] == last[1] > 0


def test_a_student_of_another_width_may_learn_relations():
    """RKD compares distances with distances; nothing else of the teacher is asked for."""
    student, teacher = torch.randn(4, 3, requires_grad=True), F.normalize(torch.randn(4, 7))
    views = SimpleNamespace(student_BD=student, teacher_BD=teacher, shards=SimpleNamespace(gather=lambda x: x))
    loss = Relational().build(Sizes(3))(views)
    loss.backward()
    assert loss > 0 and student.grad.abs().sum() > 0
    assert not Relational.needs & {"teacher_width", "neighbours"}
