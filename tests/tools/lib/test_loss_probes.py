"""The probes are extreme, our loss passes them, and non-finite losses and gradients are detected."""

import torch

from aird_plugin.losses.instance import instance_loss
from tools.lib.loss_probes import finite, probes


def test_non_finite_loss_or_gradient_is_detected():
    """In the loss, and in the gradient only."""
    probe = (torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), 1)
    assert finite(instance_loss_of_four, *probe)
    assert not finite(lambda s, t, y, T: (s / 0).sum(), *probe)
    assert not finite(lambda s, t, y, T: s.sqrt().sum(), *probe)


def instance_loss_of_four(student, teacher, label, temperature):
    return instance_loss(student, teacher, label, "dkd", temperature=temperature)


def test_twelve_of_fifteen_probes_are_confidently_wrong():
    found = list(probes())
    wrong = [bool((student.argmax(1) != label).all()) for student, _, label, _ in found]
    assert len(found) == 15 and len({student.dtype for student, *_ in found}) == 3
    assert sum(wrong) == 12


def test_our_loss_matches_float64_at_every_probe():
    """In float64 a probability of e^-128 does not underflow."""
    for student, teacher, label, temperature in probes():
        loss = instance_loss_of_four(student, teacher, label, temperature).double()
        exact = instance_loss_of_four(student.double(), teacher.double(), label, temperature)
        torch.testing.assert_close(loss, exact, rtol=1e-5, atol=1e-5)
