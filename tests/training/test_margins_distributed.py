"""Two ranks equal one, in loss and every gradient, with each margin and with adaptive class centers."""

import pytest
import torch

from aird_plugin.losses.adaface import AdaFace
from aird_plugin.losses.ccface import AdaptiveMargin, Consistency
from aird_plugin.losses.magface import MagFace
from aird_plugin.losses.rpcl import Arc, Cos, Mag
from aird_plugin.models.head import margin_inputs
from aird_plugin.training.objective import LossDims, Objective, build_loss_inputs
from tests.exact import assert_equal_up_to_order, float64
from tests.rank_step import WIDTH, Batch, in_ddp, losses_and_gradients_of, small_head, small_student
from tests.ranks import on_ranks

STEPS = 2
# Every negative class counts as a rival, so that one too many changes the loss.
SETTINGS = {
    "magface": (MagFace(l_a=0.1, u_a=5.0, lambda_g=3.0), {}),
    "adaface": (AdaFace(t_alpha=0.5), {}),
    "rpcl-arc": (Arc(rival_threshold=-1.0), {}),
    "rpcl-cos": (Cos(rival_threshold=-1.0), {}),
    "rpcl-mag": (Mag(l_a=0.1, u_a=5.0, rival_threshold=-1.0), {}),
    "ccface": (AdaptiveMargin(), {"centers": "frozen", "head_init": "teacher"}),
    "adadistill": (None, {"centers": "adaptive"}),
}


def two_steps(name: str) -> dict[str, torch.Tensor]:
    """The second step on the same images: losses, gradients as the optimizer gets them, centers, the margin's buffers."""
    margin, keys = SETTINGS[name]
    student, head, batch = small_student(), small_head(margin, **keys), Batch(labels=(0, 6, 3, 3, 1, 3, 2, 4))
    objective = Objective({"consistency": Consistency(threshold=0.9)} if name == "ccface" else {}, LossDims(WIDTH))
    network = in_ddp(student)
    for _ in range(STEPS):
        network.zero_grad()
        head.zero_grad()
        inputs = build_loss_inputs(network(batch.x), batch, head)
        identity = head.loss(inputs.student_cosine_GC, inputs.label_G, inputs.student_BD, inputs.teacher_BD)
        out = objective(inputs, identity)
        out["loss"].backward()
    found = losses_and_gradients_of(student, objective, out)
    scalars = margin_inputs(frozenset({"norm", "teacher_width"}), inputs.student_BD.detach(), inputs.teacher_BD)
    found |= {"scalars/lengths": scalars[0], "scalars/agreement": scalars[1]}
    found |= {f"margin/{part}": value for part, value in head.margin.state_dict().items()}
    center_gradient = {} if head.weight.grad is None else {"shard/gradient": head.weight.grad}
    return found | center_gradient | {"shard/centers": head.weight.detach()}


def all_settings() -> dict[str, dict[str, torch.Tensor]]:
    return {name: two_steps(name) for name in SETTINGS}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory) -> list[dict]:
    """Results of each of two ranks, by setting."""
    return on_ranks(all_settings, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", SETTINGS)
def test_two_ranks_equal_one(name, of_two):
    with float64():
        whole = two_steps(name)
    parts = [found[name] for found in of_two]
    assert all(value.abs().sum() > 0 for key, value in whole.items() if not key.startswith("loss/"))
    assert ("shard/gradient" in whole) == (name not in ("ccface", "adadistill"))
    for key, value in whole.items():
        if key.startswith("shard/"):
            assert_equal_up_to_order(torch.cat([part[key] for part in parts]), value)
        else:
            for part in parts:
                assert_equal_up_to_order({key: part[key]}, {key: value})
    if name == "ccface":
        assert 0 < whole["loss/consistency_share"] < 1
    for key in ("margin/mean", "margin/std"):
        assert torch.equal(parts[0].get(key, torch.tensor(0)), parts[1].get(key, torch.tensor(0)))
