"""The head with another margin than the combined one, with centres that stay, and with centres that the teacher moves."""

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
    centres = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    return Head(config, 4, centres, teacher_centres_CD=2 * centres, seed=3, margin=margin)


def faces():
    generator = torch.Generator().manual_seed(2)
    student, teacher = torch.randn(5, 4, generator=generator), torch.randn(5, 4, generator=generator)
    return 3 * student, F.normalize(teacher), torch.tensor([0, 5, 3, 3, 1])


def loss_of(h, student, teacher, person, step=0):
    cosines = h.cosines(student, teacher, person, step)
    return h.loss(cosines.student_GC, cosines.label_G, student, teacher)


def test_a_margin_hears_of_lengths_at_the_heads_scale():
    student, teacher, person = faces()
    student.requires_grad_()
    spec = MagFace(l_a=2.0, u_a=9.0)
    loss = loss_of(head(spec), student, teacher, person)
    logits, regulariser = spec.build(8.0)(head().cosines(student, teacher, person).student_GC, person, student.norm(dim=1))
    expected = softmax_loss(logits, person) + regulariser
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x, student)[0] for x in (loss, expected)))


def test_a_margin_hears_of_the_agreement_with_the_teacher():
    student, teacher, person = faces()
    loss = loss_of(head(AdaptiveMargin()), student, teacher, person)
    cosine_GC = head().cosines(student, teacher, person).student_GC
    agreement = torch.stack([torch.dot(s, t) / s.norm() / t.norm() for s, t in zip(student, teacher, strict=True)])
    torch.testing.assert_close(loss, softmax_loss(AdaptiveMargin().build(8.0)(cosine_GC, person, None, agreement)[0], person))
    whole, none = (loss_of(head(AdaptiveMargin()), s, teacher, person) for s in (teacher, -teacher))
    assert whole != none


def test_a_margin_goes_with_sampled_classes():
    h = head(MagFace(), sample_rate=0.7)
    loss_of(h, *faces()).backward()
    assert (h.weight.grad.to_dense().abs().sum(1) > 0).sum() == 4


def test_what_a_margin_remembers_is_part_of_the_head():
    h = head(AdaFace())
    loss_of(h, *faces())
    assert set(h.state_dict()) == {"weight", "margin.mean", "margin.std"} and h.margin.mean != 20


def test_frozen_centres_get_no_gradient_and_the_student_does():
    h, (student, teacher, person) = head(head_frozen=True), faces()
    before = h.weight.detach().clone()
    loss_of(h, student.requires_grad_(), teacher, person).backward()
    assert h.weight.grad is None and not list(filter(lambda p: p.requires_grad, h.parameters()))
    assert student.grad.abs().sum() > 0 and torch.equal(h.weight, before)


@pytest.mark.parametrize("sample_rate", [1.0, 0.7])
def test_the_teacher_moves_the_centres_of_the_batch_before_they_are_compared(sample_rate):
    h, (student, teacher, person) = head(head_adaptive=True, sample_rate=sample_rate), faces()
    before = h.weight.detach().clone()
    cosines = h.cosines(student, teacher, person)
    moved = (h.weight != before).any(1)
    assert moved.tolist() == [True, True, False, True, False, True]
    own = cosines.student_GC.gather(1, cosines.label_G[:, None])[:, 0]
    torch.testing.assert_close(own, F.cosine_similarity(student, h.weight[person]))
    a = F.cosine_similarity(student[0], teacher[0], 0) * F.cosine_similarity(before[0], teacher[0], 0).clamp(min=1e-6)
    a = a.clamp(1e-6, 1)
    torch.testing.assert_close(h.weight[0].detach(), a * before[0] + (1 - a) * teacher[0])
    assert not h.weight.requires_grad


@pytest.mark.parametrize(("keys", "words"), [
    ({"head_frozen": True}, "head_frozen keeps the teacher's class centres: set head_init='teacher'; got 'random'"),
    ({"head_frozen": True, "head_adaptive": True, "head_init": "teacher"}, "exclude each other"),
])  # fmt: skip
def test_wrong_keys_are_refused(keys, words):
    with pytest.raises(ValueError, match=words):
        HeadConfig(**keys)
