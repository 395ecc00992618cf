from dataclasses import dataclass

import pytest
import torch
from torch import nn

from aird_plugin.losses.askd import ASKD
from aird_plugin.losses.crd import CRD
from aird_plugin.losses.fitnet import FitNet
from aird_plugin.losses.fskd import FSKD
from aird_plugin.losses.gdrd import GDRD
from aird_plugin.losses.relation import RID
from aird_plugin.training.objective import LossDims, LossInputs, Objective


@dataclass(frozen=True)
class Constant:
    weight: float = 1.0
    warmup_epochs: float = 0.0
    value: float = 3.0

    needs = frozenset({"neighbours"})

    def build(self, sizes):
        class Module(nn.Module):
            def __init__(self, value):
                super().__init__()
                self.gain = nn.Parameter(torch.tensor(value))

            def forward(self, inputs):
                return self.gain * inputs.student_BD.mean()

        return Module(self.value)


def inputs(epoch=0.0):
    return LossInputs(torch.ones(2, 3), torch.tensor([0, 1]), epoch=epoch)


def test_objective_returns_each_term_and_the_weighted_sum():
    objective = Objective({"a": Constant(2.0), "b": Constant(0.5, value=10.0)}, LossDims(3), identity_weight=0.1)
    out = objective(inputs(), torch.tensor(7.0))
    assert {name: value.item() for name, value in out.items()} == pytest.approx(
        {"loss": 0.7 + 6 + 5, "identity": 7, "a": 3, "b": 10}
    )


def test_term_of_weight_zero_is_not_built():
    objective = Objective({"a": Constant(0.0)}, LossDims(3))
    assert list(objective.parameters()) == [] and objective.needs == frozenset()
    assert set(objective(inputs(), torch.tensor(1.0))) == {"loss", "identity"}


def test_objective_needs_are_the_union_of_the_terms():
    assert Objective({"a": Constant()}, LossDims(3)).needs == {"neighbours"}


def test_term_warms_up_over_its_epochs():
    objective = Objective({"a": Constant(2.0, warmup_epochs=4.0)}, LossDims(3))
    assert [objective.weight("a", epoch) for epoch in (0, 1, 4, 9)] == [0, 0.5, 2, 2]
    assert objective(inputs(1.0), torch.tensor(0.0))["loss"].item() == pytest.approx(1.5)


def test_term_parameters_get_a_gradient():
    objective = Objective({"a": Constant(2.0)}, LossDims(3))
    objective(inputs(), torch.tensor(0.0))["loss"].backward()
    assert objective.terms["a"].gain.grad.item() == pytest.approx(2)


@pytest.mark.parametrize("spec", [RID(), CRD(), ASKD(), FitNet(), FSKD(), GDRD()])
def test_initial_weights_of_a_term_follow_the_seed_of_the_run(spec):
    def state(seed):
        channels = {"student_channels": (3, 4), "teacher_channels": (5, 6), "generative_channels": 5}
        term = spec.build(LossDims(4, 30, **channels, seed=seed))
        return torch.cat([value.flatten().float() for value in term.parameters()])

    torch.testing.assert_close(state(1), state(1), rtol=0, atol=0)
    assert (state(1) != state(2)).any()
