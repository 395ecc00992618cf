"""The head with other margins than the combined one, with frozen centers, and with centers adapted by the teacher."""

import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.adaface import AdaFace
from aird_plugin.losses.ccface import AdaptiveMargin
from aird_plugin.losses.magface import MagFace
from aird_plugin.losses.margin import softmax_loss
from aird_plugin.models.head import Head, HeadConfig


def head(margin=None, **keys):
    config = HeadConfig(num_classes=6, margin_scale=8.0, head_init="teacher", **keys)
    centers = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    return Head(config, 4, centers, teacher_centers_CD=2 * centers, seed=3, margin=margin)


def make_batch():
    generator = torch.Generator().manual_seed(2)
    student, teacher = torch.randn(5, 4, generator=generator), torch.randn(5, 4, generator=generator)
    return 3 * student, F.normalize(teacher), torch.tensor([0, 5, 3, 3, 1])


def loss_of(h, student, teacher, label, step=0):
    cosines = h.cosines(student, teacher, label, step)
    return h.loss(cosines.student_GC, cosines.label_G, student, teacher)


def test_margin_gets_embedding_norms_and_scale():
    student, teacher, label = make_batch()
    student.requires_grad_()
    spec = MagFace(l_a=2.0, u_a=9.0)
    loss = loss_of(head(spec), student, teacher, label)
    logits, regulariser = spec.build(8.0)(head().cosines(student, teacher, label).student_GC, label, student.norm(dim=1))
    expected = softmax_loss(logits, label) + regulariser
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x, student)[0] for x in (loss, expected)))


def test_margin_gets_cosines_to_the_teacher():
    student, teacher, label = make_batch()
    loss = loss_of(head(AdaptiveMargin()), student, teacher, label)
    cosine_GC = head().cosines(student, teacher, label).student_GC
    teacher_cosine = torch.stack([torch.dot(s, t) / s.norm() / t.norm() for s, t in zip(student, teacher, strict=True)])
    torch.testing.assert_close(loss, softmax_loss(AdaptiveMargin().build(8.0)(cosine_GC, label, None, teacher_cosine)[0], label))
    aligned, opposed = (loss_of(head(AdaptiveMargin()), s, teacher, label) for s in (teacher, -teacher))
    assert aligned != opposed


def test_margin_works_with_sampled_classes():
    h = head(MagFace(), sample_rate=0.7)
    loss_of(h, *make_batch()).backward()
    assert (h.weight.grad.to_dense().abs().sum(1) > 0).sum() == 4


def test_margin_state_is_saved_with_the_head():
    h = head(AdaFace())
    loss_of(h, *make_batch())
    assert set(h.state_dict()) == {"weight", "margin.mean", "margin.std"} and h.margin.mean != 20


def test_frozen_centers_get_no_gradient_and_the_student_does():
    h, (student, teacher, label) = head(centers="frozen"), make_batch()
    before = h.weight.detach().clone()
    loss_of(h, student.requires_grad_(), teacher, label).backward()
    assert h.weight.grad is None and not list(filter(lambda p: p.requires_grad, h.parameters()))
    assert student.grad.abs().sum() > 0 and torch.equal(h.weight, before)


@pytest.mark.parametrize("sample_rate", [1.0, 0.7])
def test_adaptive_centers_are_updated_before_the_cosines(sample_rate):
    h, (student, teacher, label) = head(centers="adaptive", sample_rate=sample_rate), make_batch()
    before = h.weight.detach().clone()
    cosines = h.cosines(student, teacher, label)
    moved = (h.weight != before).any(1)
    assert moved.tolist() == [True, True, False, True, False, True]
    target = cosines.student_GC.gather(1, cosines.label_G[:, None])[:, 0]
    torch.testing.assert_close(target, F.cosine_similarity(student, h.weight[label]))
    a = F.cosine_similarity(student[0], teacher[0], 0) * F.cosine_similarity(before[0], teacher[0], 0).clamp(min=1e-6)
    a = a.clamp(1e-6, 1)
    torch.testing.assert_close(h.weight[0].detach(), a * before[0] + (1 - a) * teacher[0])
    assert not h.weight.requires_grad


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"centers": "frozen"}, "centers='frozen' needs the teacher's class centers: set head_init='teacher'; got 'random'"),
        ({"centers": "moving"}, "centers must be one of trained, frozen, adaptive; got 'moving'"),
    ],
)
def test_invalid_keys_are_rejected(keys, words):
    with pytest.raises(ValueError, match=words):
        HeadConfig(**keys)
