import pytest
import torch

from aird_plugin.training.optim import ScheduleConfig, build_optimizer, learning_rate


def rates(config, per_epoch=10):
    return [learning_rate(config, step, per_epoch) for step in range(config.num_epoch * per_epoch)]


def test_step_schedule_of_the_paper():
    """AIRD, section IV: 0.05, times 0.1 at epochs 21, 28 and 32."""
    at = rates(ScheduleConfig())
    assert at[0] == at[209] == 0.05
    assert [at[epoch * 10] for epoch in (21, 27, 28, 32, 34)] == pytest.approx([5e-3, 5e-3, 5e-4, 5e-5, 5e-5])


def test_polynomial_schedule_of_arcface_torch():
    """PolynomialLRWarmup: up linearly, then down linearly (its power defaults to 1, and train_v2 leaves it there)."""
    at = rates(ScheduleConfig(lr=0.1, num_epoch=12, warmup_epoch=2, schedule="poly"))
    assert at[:20] == pytest.approx([0.1 * (n + 1) / 20 for n in range(20)])
    assert at[20] == pytest.approx(0.1) and at[70] == pytest.approx(0.1 * 0.5)


@pytest.mark.parametrize("warmup_epoch", [0.01, 0.15, 1.25])
def test_warmup_that_ends_within_a_step_does_not_exceed_lr(warmup_epoch):
    at = rates(ScheduleConfig(lr=0.1, num_epoch=4, warmup_epoch=warmup_epoch))
    assert max(at) == 0.1 and at == sorted(at)


def test_cosine_schedule_ends_near_zero():
    at = rates(ScheduleConfig(lr=1.0, num_epoch=4, schedule="cosine"))
    assert at[0] == 1 and at[20] == pytest.approx(0.5) and at[-1] < 0.01
    assert at == sorted(at, reverse=True)


def test_frozen_parameters_stay_out_of_the_optimizer():
    free, frozen = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1), requires_grad=False)
    for name in ("sgd", "adamw"):
        optimizer = build_optimizer(ScheduleConfig(optimizer=name), [free, frozen])
        assert optimizer.param_groups[0]["params"] == [free]


@pytest.mark.parametrize(("name", "gradient", "expected"), [("sgd", 0.5, 0.872551), ("adamw", 0.0, 0.999**2)])
def test_two_steps_by_hand_of_weights_biases_and_batchnorms(name, gradient, expected):
    """lr 0.1, momentum 0.5, weight decay 0.01 on all. SGD: v = 0.51, w = 0.949; v = 0.255 + 0.50949, w = 0.872551."""
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    schedule = ScheduleConfig(optimizer=name, lr=0.1, momentum=0.5, weight_decay=0.01)
    optimizer = build_optimizer(schedule, network.parameters())
    for parameter in network.parameters():
        torch.nn.init.ones_(parameter)
        parameter.grad = torch.full_like(parameter, gradient)
    for _ in range(2):
        optimizer.step()
    for parameter in network.parameters():
        torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, expected))
