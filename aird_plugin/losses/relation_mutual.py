"""Relations as distributions: which anchors an image resembles, and how much, by the student as by the teacher.

A variant of AIRD's relation term (arXiv 2409.02049, section III-B): the relation between f_s(x_j) and f_t(x_i) is to be that
between f_t(x_j) and f_t(x_i). Here that relation is the cosine itself, so that every gradient has the coordinates of the
teacher's space, and no network is trained.

B, G = images of the batch on this rank, on all ranks, K = negatives, A = G + 1 + K anchors, D = embedding width.
"""

import torch

from aird_plugin.losses.precision import at_least_float32


def mutual_relation_loss(student_BD: torch.Tensor, inputs, temperature: float) -> torch.Tensor:
    """KL of softmax over the anchors i of cos(f_t(x_i), f_t(x_j)) / T to the same with f_s(x_j). (B,), in nats.

    Anchors of x_j, all embedded by the teacher: the other images of the batch, an image of the same identity (another view of x_j
    where there is none), and the list of hard negatives. student_BD is normalised, as the teacher's embeddings of `inputs` are.
    """
    teacher_GD = inputs.shards.gather(inputs.teacher_BD)
    own_BG = torch.zeros(len(student_BD), len(teacher_GD), dtype=torch.bool, device=student_BD.device)
    first = inputs.shards.first_row(len(student_BD))
    own_BG[:, first : first + len(student_BD)].fill_diagonal_(True)
    negative_BKD = at_least_float32(inputs.negative_BKD)
    excluded_BA = torch.cat([own_BG, ~inputs.has_anchor_B[:, None], ~inputs.negative_exists_BK], 1)

    def log_shares(embeddings_BD: torch.Tensor) -> torch.Tensor:
        own_B1 = (embeddings_BD * inputs.anchor_BD).sum(1, keepdim=True)
        hard_BK = torch.bmm(negative_BKD, embeddings_BD[:, :, None])[:, :, 0]
        cosine_BA = torch.cat([embeddings_BD @ teacher_GD.T, own_B1, hard_BK], 1)
        lowest = torch.finfo(cosine_BA.dtype).min
        return (cosine_BA / temperature).masked_fill(excluded_BA, lowest).log_softmax(1)

    student_BA, teacher_BA = log_shares(student_BD), log_shares(inputs.teacher_BD)
    return (teacher_BA.exp() * (teacher_BA - student_BA).masked_fill(excluded_BA, 0)).sum(1)
