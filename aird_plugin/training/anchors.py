"""What terms need of the whole bank: anchors, drawn once (`Needs.ANCHORS`), and leave-one-out centers (`Needs.LEFT_OUT`).

K = anchors, D = embedding width.
"""

import numpy as np
import torch

from aird_plugin.data.bank.caches import TeacherCache
from aird_plugin.data.bank.left_out import left_out_centers
from aird_plugin.data.sampler import ANCHORS
from aird_plugin.losses.term import Needs
from aird_plugin.training.objective import Objective
from aird_plugin.utils.vectors import normalise


def set_anchors(objective: Objective, bank: TeacherCache | None, seed: int) -> None:
    """Draw the anchors of every term that needs them. They depend on bank and seed only: equal on all ranks and after resume."""
    for name, spec in objective.specs.items():
        if Needs.ANCHORS in spec.needs:
            assert bank is not None, "check_teacher_fits requires a teacher for this term"
            objective.terms[name].set_anchors(*draw_anchors(bank, spec.anchors, seed))


def set_left_out(objective: Objective, bank: TeacherCache | None, centers: str) -> None:
    """Give every term that needs them the leave-one-out class centers. centers: the recipe's; the student shares frozen ones.

    Raises ValueError as `left_out_centers` does.
    """
    users = [name for name, spec in objective.specs.items() if Needs.LEFT_OUT in spec.needs]
    if users:
        assert bank is not None, "check_teacher_fits requires a teacher for this term"
        left_out_ND = torch.from_numpy(left_out_centers(bank))
        for name in users:
            objective.terms[name].set_left_out(left_out_ND, student_too=centers == "frozen")


def draw_anchors(bank: TeacherCache, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw `count` images, or take all. Returns their rows, ascending int64 (K,), and their mean embeddings over the views,
    normalised float32 (K, D)."""
    total = len(bank.embeddings_NVD)
    row_K = np.sort(np.random.default_rng((seed, ANCHORS)).choice(total, min(count, total), replace=False))
    anchor_KD = normalise(bank.embeddings_NVD[row_K].astype(np.float32).mean(1))
    return torch.from_numpy(row_K), torch.from_numpy(anchor_KD)
