"""Steps on a few rows against a reference loop and against the dense optimizer."""

import pytest
import torch
from torch.nn import functional as F

from aird_plugin.training.sparse_rows import sparse_row_steps

LR, MOMENTUM, DECAY = 0.1, 0.9, 0.01
OPTIMIZERS = {
    "sgd": lambda params: torch.optim.SGD(params, lr=LR, momentum=MOMENTUM, weight_decay=DECAY),
    "plain sgd": lambda params: torch.optim.SGD(params, lr=LR),
    "adamw": lambda params: torch.optim.AdamW(params, lr=LR, weight_decay=DECAY),
}
STEPS = [[0, 2], [2, 5], [5], [0, 1, 2, 3, 4, 5]]


def start() -> torch.Tensor:
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def gradient(step: int) -> torch.Tensor:
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(100 + step))


def stepped(name: str, steps: list[list[int]], sparse: bool):
    """The weight after the steps, each with a gradient for some rows; and the optimizer."""
    weight = torch.nn.Parameter(start())
    optimizer = OPTIMIZERS[name]([weight])
    if sparse:
        sparse_row_steps(optimizer)
    for step, rows in enumerate(steps):
        optimizer.zero_grad()
        index = torch.tensor(rows)
        (F.embedding(index, weight, sparse=sparse) * gradient(step)[index]).sum().backward()
        optimizer.step()
    return weight, optimizer


def test_sampled_rows_follow_the_reference_and_others_stay():
    weight, optimizer = stepped("sgd", STEPS, sparse=True)
    expected, momentum = start(), torch.zeros(6, 3)
    for step, rows in enumerate(STEPS):
        for row in rows:
            momentum[row] = MOMENTUM * momentum[row] + gradient(step)[row] + DECAY * expected[row]
            expected[row] -= LR * momentum[row]
    torch.testing.assert_close(weight.detach(), expected)
    torch.testing.assert_close(optimizer.state[weight]["momentum_buffer"], momentum)


def test_adam_moments_are_per_row_and_the_step_count_is_shared():
    weight, optimizer = stepped("adamw", STEPS, sparse=True)
    expected, mean, square = start(), torch.zeros(6, 3), torch.zeros(6, 3)
    for step, rows in enumerate(STEPS, 1):
        for row in rows:
            g = gradient(step - 1)[row]
            expected[row] *= 1 - LR * DECAY
            mean[row], square[row] = 0.9 * mean[row] + 0.1 * g, 0.999 * square[row] + 0.001 * g * g
            expected[row] -= LR * mean[row] / (1 - 0.9**step) / ((square[row] / (1 - 0.999**step)).sqrt() + 1e-8)
    torch.testing.assert_close(weight.detach(), expected)
    assert optimizer.state[weight]["step"].item() == len(STEPS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_rows_equal_the_dense_optimizer_to_the_bit(name):
    everything = [list(range(6))] * 3
    (one, sparse), (other, dense) = (stepped(name, everything, sparse=sparse) for sparse in (True, False))
    assert torch.equal(one, other)
    a, b = sparse.state_dict(), dense.state_dict()
    assert a["param_groups"] == b["param_groups"] and a["state"].keys() == b["state"].keys()
    for index, values in b["state"].items():
        assert values.keys() == a["state"][index].keys()
        for key, value in values.items():
            assert value is None or torch.equal(a["state"][index][key], value), key


def test_accumulated_gradients_make_one_step():
    weight = torch.nn.Parameter(start())
    optimizer = sparse_row_steps(OPTIMIZERS["sgd"]([weight]))
    for rows in ([1, 4], [4, 5]):
        F.embedding(torch.tensor(rows), weight, sparse=True).sum().backward()
    optimizer.step()
    count = torch.tensor([0.0, 1, 0, 0, 2, 1])[:, None]
    torch.testing.assert_close(weight.detach(), start() - LR * (count + DECAY * start() * (count > 0)))


def test_no_gradient_moves_nothing():
    weight = torch.nn.Parameter(start())
    optimizer = sparse_row_steps(OPTIMIZERS["sgd"]([weight]))
    optimizer.step()
    assert torch.equal(weight, start()) and optimizer.param_groups[0]["params"] == [weight] and not optimizer.state
