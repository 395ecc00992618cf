"""Random logits and embeddings of the sizes that networks return.

B = images, C = classes.
"""

import torch
from torch.nn import functional as F


def logits(count: int, classes: int, scale: float, device: str = "cpu"):
    """Logits as a head returns them: non-target cosines are those of random 512-d vectors, target cosines near 0.5."""
    label_B = torch.randint(classes, (count,), device=device)
    target_BC = F.one_hot(label_B, classes) / 2
    student_BC, teacher_BC = (scale * (target_BC + torch.randn(count, classes, device=device) / 512**0.5) for _ in range(2))
    return student_BC.requires_grad_(), teacher_BC, label_B


def units(*shape: int, device: str = "cpu") -> torch.Tensor:
    """Random embeddings of length 1."""
    return F.normalize(torch.randn(*shape, device=device), dim=-1)
