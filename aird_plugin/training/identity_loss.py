"""The identity loss of a step: the head's, over the images at one size or at several.

G = images on all ranks.
"""

import math

import torch

from aird_plugin.data.multi_size import SizesConfig
from aird_plugin.models.head import Head, margin_inputs
from aird_plugin.models.no_head import NoHead
from aird_plugin.training.objective import LossInputs
from aird_plugin.utils import distributed


def identity_loss(head: Head | NoHead, inputs: LossInputs, sizes: SizesConfig, batch_index: int) -> torch.Tensor | None:
    """The head's loss over the images, or its mean over all sizes; with one margin per image if margin_small is set. None
    without labels."""
    if isinstance(head, NoHead):
        return None
    angle_G1 = None
    if sizes.margin_small is not None:
        angle_G1 = size_margins(distributed.gather_rows(inputs.px_B), sizes, head.config.margin_list[1])
    if not sizes.identity_also:
        return head.loss(inputs.student_cosine_GC, inputs.label_G, inputs.student_BD, inputs.teacher_BD, angle_G1)
    own = (inputs.student_cosine_GC, inputs.label_G, *margin_inputs(head.needs, inputs.student_BD, inputs.teacher_BD))
    also = len(inputs.also_PBD)
    also_XD = inputs.also_PBD.flatten(0, 1)
    teacher_XD = None if inputs.teacher_BD is None else inputs.teacher_BD.repeat(also, 1)
    cosines = head.cosines(also_XD, teacher_XD, inputs.label_B.repeat(also), batch_index)
    others = (cosines.student_GC, cosines.label_G, *margin_inputs(head.needs, also_XD, teacher_XD))
    # One call for all sizes: a margin with running statistics, as AdaFace's, updates them once a batch.
    pairs = zip(own, others, strict=True)
    return head.margin_loss(*(None if one is None or other is None else torch.cat([one, other]) for one, other in pairs))


def size_margins(px_G: torch.Tensor, sizes: SizesConfig, largest: float) -> torch.Tensor:
    """The angular margin of each image, linear in log px from `margin_small` to `largest`. (G, 1), in radians."""
    # Untouched images lie above px_range.
    first, last = (math.log(px) for px in sizes.px_range)
    share_G1 = (px_G[:, None].clamp(max=sizes.px_range[1]).float().log() - first) / (last - first)
    return sizes.margin_small + (largest - sizes.margin_small) * share_G1
