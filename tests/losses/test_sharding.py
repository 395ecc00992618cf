import pytest
import torch

from aird_plugin.losses.instance import instance_loss
from aird_plugin.losses.margin import margin_logits, softmax_loss
from aird_plugin.losses.sharding import log_sum_exp, replace_target_, target_logit


class Halves:
    """Two ranks simulated in one process: a per-row value holds both ranks' rows, concatenated on dim 0."""

    is_sharded = True

    def sum(self, x):
        first, second = x.chunk(2)
        return torch.cat([first + second] * 2)

    def max(self, x):
        first, second = x.detach().chunk(2)
        return torch.cat([torch.maximum(first, second)] * 2)


def split(logits_BC, label_B, cut=3):
    """(B, C) -> the rows of both ranks, concatenated, and their local labels, -1 where the class is on the other rank."""
    halves = torch.cat([logits_BC[:, :cut], logits_BC[:, cut:]])
    here = torch.where(label_B < cut, label_B, -1)
    there = torch.where(label_B >= cut, label_B - cut, -1)
    return halves, torch.cat([here, there])


def test_loss_over_two_shards_equals_single_shard():
    generator = torch.Generator().manual_seed(0)
    student = torch.rand(5, 6, generator=generator, dtype=torch.float64) * 1.6 - 0.8
    teacher = torch.rand(5, 6, generator=generator, dtype=torch.float64) * 1.6 - 0.8
    label = torch.tensor([0, 5, 3, 2, 4])
    s, y = split(student, label)
    t, _ = split(teacher, label)
    whole = torch.cat([log_sum_exp(9 * student)] * 2)
    torch.testing.assert_close(log_sum_exp(9 * s, Halves()), whole)
    torch.testing.assert_close(target_logit(s, y, Halves())[:5], student.gather(1, label[:, None])[:, 0])
    margin = softmax_loss(margin_logits(s, y), y, Halves())
    torch.testing.assert_close(margin, softmax_loss(margin_logits(student, label), label))
    for variant in ("kl", "dkd"):
        torch.testing.assert_close(
            instance_loss(9 * s, 9 * t, y, variant, shards=Halves()), instance_loss(9 * student, 9 * teacher, label, variant)
        )


@pytest.mark.parametrize("variant", ["kl", "dkd"])
@pytest.mark.parametrize("label", [[0, 5, 3, 2, 4], [0, 1, 1, 0, 1]])
def test_shard_gradients_equal_slices_of_full_gradient(variant, label):
    """Six classes in two shards, and two classes with one per shard. The mean is over both ranks' rows here."""
    generator, classes = torch.Generator().manual_seed(1), 6 if 5 in label else 2
    student = torch.randn(5, classes, generator=generator, dtype=torch.float64).requires_grad_()
    teacher, label = torch.randn(5, classes, generator=generator, dtype=torch.float64), torch.tensor(label)
    whole = torch.autograd.grad(instance_loss(student, teacher, label, variant), student)[0]
    shards, here = split(student, label, classes // 2)
    loss = instance_loss(shards, split(teacher, label, classes // 2)[0], here, variant, shards=Halves())
    torch.testing.assert_close(torch.autograd.grad(loss, student)[0], whole / 2)
    assert whole.abs().sum() > 0


def test_target_is_replaced_on_its_own_rank():
    table = torch.arange(6.0).view(3, 2)
    assert replace_target_(table, torch.tensor([1, -1, 0]), torch.tensor([[7.0], [8], [9]])) is table
    assert table.tolist() == [[0, 7], [2, 3], [9, 5]]


def test_log_sum_exp_is_finite_for_large_logits():
    assert torch.isfinite(log_sum_exp(torch.tensor([[1e4, 1e4]] * 2), Halves())).all()
