"""One step over faces of several sizes: what the student is fed, and the identity loss over what it says.

B, G = faces on this rank, on all ranks; P = further sizes; D = embedding width.
"""

import math

import torch

from aird_plugin import distributed
from aird_plugin.data.sizes import SizesConfig
from aird_plugin.lesson import Lesson, student_input
from aird_plugin.objective import Views


def all_inputs(lesson: Lesson, batch) -> torch.Tensor:
    """The faces and, behind them, the same faces at each further size, as the student takes them: (B + P * B, 3, S, S)."""
    sizes = (batch.faces_BHWC, *batch.also_PBSSC)
    inputs = [student_input(lesson.student, faces_BSSC, lesson.arrival) for faces_BSSC in sizes]
    return torch.cat(inputs) if len(inputs) > 1 else inputs[0]


def identity_loss(head, views: Views, sizes: SizesConfig, draw: int) -> torch.Tensor:
    """The head's loss of the faces, or its mean over all sizes; with each face's own margin where the recipe has it so."""
    angle_G1 = None
    if sizes.margin_small is not None:
        angle_G1 = size_margins(distributed.gather_rows(views.px_B), sizes, head.config.margin_list[1])
    loss = head.loss(views.student_cosine_GC, views.label_G, views.student_BD, views.teacher_BD, angle_G1)
    if not sizes.identity_also:
        return loss
    also = len(views.also_PBD)
    also_XD = views.also_PBD.flatten(0, 1)
    teacher_XD = None if views.teacher_BD is None else views.teacher_BD.repeat(also, 1)
    cosines = head.cosines(also_XD, teacher_XD, views.person_B.repeat(also), draw)
    return (loss + also * head.loss(cosines.student_GC, cosines.label_G, also_XD, teacher_XD)) / (1 + also)


def size_margins(px_G: torch.Tensor, sizes: SizesConfig, largest: float) -> torch.Tensor:
    """Each face's angular margin, linear in log px from `margin_small` to `largest`. (G, 1), in radians."""
    first, last = (math.log(px) for px in sizes.px_range)
    share_G1 = (px_G[:, None].float().log() - first) / (last - first)
    return sizes.margin_small + (largest - sizes.margin_small) * share_G1
