"""Logits with the cosines of a trained head, and embeddings of length 1."""

import torch

from tools.lib.random_inputs import logits, units


def test_embeddings_have_length_one():
    length_BK = units(3, 4, 32).norm(dim=-1)
    torch.testing.assert_close(length_BK, torch.ones(3, 4))


def test_target_cosines_lie_near_one_half_and_the_others_near_zero():
    """The others' standard deviation is 512**-0.5 = 0.044; the means of 64 and 12,736 draws lie within 6 standard errors."""
    torch.manual_seed(0)
    student_BC, teacher_BC, label_B = logits(64, 200, 30.0)
    assert student_BC.requires_grad and not teacher_BC.requires_grad
    target_BC = torch.nn.functional.one_hot(label_B, 200).bool()
    for cosine_BC in (student_BC.detach() / 30, teacher_BC / 30):
        assert abs(cosine_BC[target_BC].mean() - 0.5) < 6 * 0.0442 / 8
        assert abs(cosine_BC[~target_BC].mean()) < 6 * 0.0442 / 112
