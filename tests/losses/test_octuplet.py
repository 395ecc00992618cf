from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aird_plugin.losses.octuplet import Octuplet, octuplet_loss
from aird_plugin.losses.sharding import SINGLE_SHARD
from tests.losses.loops import assert_equals_loop


def fixed() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((2, 8, 5)).astype(np.float32))


@pytest.mark.parametrize(
    ("label", "own", "expected"),
    [
        # Martlgap/octuplet-loss, pt_octuplet_loss.py at 094ff1b, OctupletLoss() of the normalised embeddings.
        ([0, 0, 1, 1, 2, 2, 2, 1], False, 3.8027172),
        # KevinMusgrave/pytorch-metric-learning 2.9.0: TripletMarginLoss(0.5), LpDistance, BatchHardMiner, MeanReducer, 4 times.
        ([0, 0, 1, 1, 2, 2, 2, 1], True, 4.0637522),
        ([0, 0, 1, 2, 3, 3, 3, 4], True, 3.5094817),
    ],
)
def test_loss_equals_public_implementations(label, own, expected):
    assert octuplet_loss(fixed(), torch.tensor(label), own=own).item() == pytest.approx(expected, rel=1e-6)


def slow(sizes, label, margin, own):
    total = 0
    unit = [[embedding / embedding.norm() for embedding in size] for size in sizes]
    for a, anchors in enumerate(unit):
        for b, others in enumerate(unit):
            losses = []
            for i, anchor in enumerate(anchors):
                distances = [(anchor - other).norm() for other in others]
                positive = [g for j, g in enumerate(distances) if label[i] == label[j] and (i != j or (own and a != b))]
                negative = [g for j, g in enumerate(distances) if label[i] != label[j]]
                if positive and negative:
                    losses.append((max(positive) - min(negative) + margin).clamp(min=0))
            total = total + (sum(losses) / len(losses) if losses else 0)
    return total


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("label", [[0, 0, 1, 1, 2, 2, 2, 1], [0, 1, 2, 3, 4, 4, 5, 6]])
def test_value_and_gradient_equal_loop(label, own):
    sizes, label = fixed().double().requires_grad_(), torch.tensor(label)
    fast, expected = octuplet_loss(sizes, label, 0.3, own), slow(sizes, label, 0.3, own)
    assert_equals_loop(fast, expected, sizes)


def test_gradcheck():
    sizes = fixed().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: octuplet_loss(x, torch.tensor([0, 0, 1, 1, 2, 2, 2, 1])), (sizes,))


def test_known_geometry():
    """Two orthogonal identities with equal embeddings at both sizes: positives at distance 0, negatives at sqrt 2."""
    sizes = torch.eye(2).expand(2, 2, 2) * 3
    label = torch.tensor([0, 1])
    assert octuplet_loss(sizes, label, margin=0.5).item() == 0
    # Only HR-LR and LR-HR have a positive: max(0, 0 - 1.414 + 2) each.
    assert octuplet_loss(sizes, label, margin=2.0).item() == pytest.approx(2 * (2 - 2**0.5))
    assert octuplet_loss(sizes, label, margin=2.0, own=False).item() == 0
    opposite = torch.stack([torch.eye(2), -torch.eye(2)])
    assert octuplet_loss(opposite, label, margin=0.5).item() == pytest.approx(2 * (2 - 2**0.5 + 0.5))


def test_loss_ignores_rotation_scale_and_order():
    sizes, label = fixed(), torch.tensor([0, 0, 1, 1, 2, 2, 2, 1])
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))[0]
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    expected = octuplet_loss(sizes, label)
    torch.testing.assert_close(octuplet_loss(3 * sizes @ rotation, label), expected)
    torch.testing.assert_close(octuplet_loss(sizes.flip(0), label), expected)
    torch.testing.assert_close(octuplet_loss(sizes[:, order], label[order]), expected)


@pytest.mark.parametrize("label", [[4], [4, 4, 4]])
def test_batch_of_one_identity_has_zero_loss(label):
    sizes = torch.randn(2, len(label), 5, requires_grad=True)
    loss = octuplet_loss(sizes, torch.tensor(label))
    loss.backward()
    assert loss.item() == 0 and not sizes.grad.any()


def test_zero_and_equal_embeddings_have_finite_gradients():
    label = torch.tensor([0, 0, 1])
    for sizes in (torch.zeros(2, 3, 5), torch.ones(2, 3, 5)):
        sizes.requires_grad_()
        loss = octuplet_loss(sizes, label)
        loss.backward()
        assert loss.item() == pytest.approx(4 * 0.5) and torch.isfinite(sizes.grad).all()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(half):
    sizes, label = fixed().to(half), torch.tensor([0, 0, 1, 1, 2, 2, 2, 1])
    torch.testing.assert_close(octuplet_loss(sizes, label), octuplet_loss(sizes.float(), label))


def test_invalid_arguments_are_rejected():
    with pytest.raises(ValueError, match=r"\(2, G, D\) and labels \(G,\); got \(3, 4, 5\) and \(4,\)"):
        octuplet_loss(torch.zeros(3, 4, 5), torch.zeros(4))
    with pytest.raises(ValueError, match="margin must be 0 or more; got -1"):
        Octuplet(margin=-1.0)
    for also in (0, 2):
        with pytest.raises(ValueError, match=f"needs one size in also_px beside px.*got {also} sizes"):
            Octuplet().build(SimpleNamespace(also=also))


def test_spec_builds_its_module():
    sizes, label = fixed(), torch.tensor([0, 0, 1, 1, 2, 2, 2, 1])
    inputs = SimpleNamespace(student_BD=sizes[0], also_PBD=sizes[1:], label_B=label, shards=SINGLE_SHARD)
    term = Octuplet(margin=0.2, own=False).build(SimpleNamespace(also=1))
    torch.testing.assert_close(term(inputs), octuplet_loss(sizes, label, 0.2, False))
