"""Norms and directions of the terms' gradients: against a loop, on two ranks, and in metrics.jsonl."""

import pytest
import torch

from aird_plugin.config.recipe import from_flat
from aird_plugin.losses.cosine import CosineRegression
from aird_plugin.losses.instance import IID
from aird_plugin.losses.relation import RID
from aird_plugin.training.gradient_diagnostics import gradient_diagnostics
from aird_plugin.training.loop import train
from aird_plugin.training.objective import LossDims, Objective, build_loss_inputs
from aird_plugin.utils import distributed
from tests.exact import float64
from tests.rank_step import FACES, WIDTH, Batch, in_ddp, small_head, small_student
from tests.ranks import on_ranks
from tests.runs import metrics


def setting(without_rid=False):
    """The network's output, the objective, its inputs and its result, on this rank's images."""
    student, head, batch = small_student(), small_head(), Batch()
    terms = {"iid": IID(weight=3.0), "rid": RID(width=16, negatives=3), "align": CosineRegression()}
    objective = Objective(terms, LossDims(WIDTH), identity_weight=0.5)
    if without_rid:
        batch.has_anchor_B = torch.zeros_like(batch.has_anchor_B)
    output_BD = in_ddp(student)(batch.x)
    inputs = build_loss_inputs(output_BD, batch, head)
    return objective, output_BD, inputs, objective(inputs, head.loss(inputs.student_cosine_GC, inputs.label_G))


def diagnostics() -> dict[str, torch.Tensor]:
    return {name: distributed.mean_over_ranks(value.detach()) for name, value in gradient_diagnostics(*setting()).items()}


def test_values_equal_a_loop_over_images_and_terms():
    with float64():
        objective, output_BD, inputs, out = setting()
        found = gradient_diagnostics(objective, output_BD, inputs, out)
        names = ("identity", "iid", "rid", "align")
        of_term = {name: torch.autograd.grad(out[name], output_BD, retain_graph=True)[0] for name in names}
        weight = {"identity": 0.5, "iid": 3.0, "rid": 2.0, "align": 8.0}
        expected = {}
        for name, gradient_BD in of_term.items():
            norms, to_identity, to_teacher = [], [], []
            for i in range(FACES):
                norms.append(weight[name] * FACES * gradient_BD[i].norm())
                if gradient_BD[i].norm() > 1e-9:
                    direction = -gradient_BD[i] / gradient_BD[i].norm()
                    to_identity.append(-direction @ of_term["identity"][i] / of_term["identity"][i].norm())
                    to_teacher.append(direction @ inputs.teacher_BD[i])
            expected[f"{name}_gradient_norm"] = sum(norms) / FACES
            expected[f"{name}_gradient_to_teacher"] = sum(to_teacher) / len(to_teacher)
            if name != "identity":
                expected[f"{name}_gradient_to_identity"] = sum(to_identity) / len(to_identity)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)
        # Cosine regression pulls to the teacher as far as a gradient at the sphere can.
        assert found["align_gradient_to_teacher"] > 0.5
        out["loss"].backward()


def test_term_without_a_gradient_has_norm_and_cosines_zero():
    objective, output_BD, inputs, out = setting(without_rid=True)
    found = gradient_diagnostics(objective, output_BD, inputs, out)
    assert [found[f"rid_gradient_{kind}"].item() for kind in ("norm", "to_identity", "to_teacher")] == [0, 0, 0]


def test_two_ranks_equal_one(tmp_path):
    with float64():
        whole = diagnostics()
    for part in on_ranks(diagnostics, tmp_path):
        for name, value in whole.items():
            torch.testing.assert_close(part[name], value, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_nth_line_has_them(tiny_run, tmp_path, accumulate):
    keys = {"output": str(tmp_path), "num_epoch": 2, "frequent": 1, "gradient_diagnostics": 2, "gradient_acc": accumulate}
    found = metrics(train(from_flat(tiny_run | keys)))
    assert ["iid_gradient_to_teacher" in line for line in found] == [line["step"] % 2 == 0 for line in found]
    assert all(-1 <= line["rid_gradient_to_identity"] <= 1 for line in found[1::2])
    assert len(found) == 12 // accumulate
