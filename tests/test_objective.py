from dataclasses import dataclass

import pytest
import torch
from torch import nn

from aird_plugin.objective import Objective, Sizes, Views


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

            def forward(self, views):
                return self.gain * views.student_BD.mean()

        return Module(self.value)


def views(epoch=0.0):
    return Views(torch.ones(2, 3), torch.tensor([0, 1]), epoch=epoch)


def test_every_term_by_name_and_the_weighted_sum():
    objective = Objective({"a": Constant(2.0), "b": Constant(0.5, value=10.0)}, Sizes(3), identity_weight=0.1)
    out = objective(views(), torch.tensor(7.0))
    assert {name: value.item() for name, value in out.items()} == pytest.approx(
        {"loss": 0.7 + 6 + 5, "identity": 7, "a": 3, "b": 10}
    )


def test_a_term_of_weight_zero_is_not_built():
    objective = Objective({"a": Constant(0.0)}, Sizes(3))
    assert list(objective.parameters()) == [] and objective.needs == frozenset()
    assert set(objective(views(), torch.tensor(1.0))) == {"loss", "identity"}


def test_needs_are_those_of_the_terms():
    assert Objective({"a": Constant()}, Sizes(3)).needs == {"neighbours"}


def test_a_term_warms_up_over_its_epochs():
    objective = Objective({"a": Constant(2.0, warmup_epochs=4.0)}, Sizes(3))
    assert [objective.weight("a", epoch) for epoch in (0, 1, 4, 9)] == [0, 0.5, 2, 2]
    assert objective(views(1.0), torch.tensor(0.0))["loss"].item() == pytest.approx(1.5)


def test_weights_of_a_term_get_a_gradient():
    objective = Objective({"a": Constant(2.0)}, Sizes(3))
    objective(views(), torch.tensor(0.0))["loss"].backward()
    assert objective.terms["a"].gain.grad.item() == pytest.approx(2)
