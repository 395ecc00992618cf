"""Six faces and five classes in eight numbers, drawn alike wherever a margin is compared with its authors' code."""

import torch
from torch.nn import functional as F

LENGTHS = torch.tensor([1.0, 2, 4, 6, 9, 40])
LABEL = torch.tensor([0, 4, 2, 1, 3, 2])


def far(seed: int = 5):
    """Faces anywhere: embeddings (6, 8), class centres (5, 8), another network's embeddings (6, 8)."""
    generator = torch.Generator().manual_seed(seed)
    faces_BD = torch.randn(6, 8, generator=generator) * LENGTHS[:, None]
    centres_CD = torch.randn(5, 8, generator=generator)
    return faces_BD, centres_CD, torch.randn(6, 8, generator=generator)


def near():
    """The same, each face drawn towards its class, at its old length."""
    faces_BD, centres_CD, teacher_BD = far()
    towards_BD = F.normalize(F.normalize(faces_BD) + 0.7 * F.normalize(centres_CD)[LABEL])
    return towards_BD * faces_BD.norm(dim=1, keepdim=True), centres_CD, teacher_BD


def crowded(spread: float):
    """Classes in one corner, so that each face has a close rival: the closer the smaller the spread."""
    generator = torch.Generator().manual_seed(6)
    centres_CD = torch.randn(1, 8, generator=generator) + spread * torch.randn(5, 8, generator=generator)
    faces_BD = (centres_CD[LABEL] + spread * torch.randn(6, 8, generator=generator)) * LENGTHS[:, None]
    return faces_BD, centres_CD


def cosines(faces_BD, centres_CD):
    """Faces to classes."""
    return F.normalize(faces_BD) @ F.normalize(centres_CD).T


def doubles(rows: int = 6, classes: int = 5, seed: int = 0):
    """Cosines in float64 with a gradient, at least 0.05 from 0 and from the thresholds used, and labels."""
    generator = torch.Generator().manual_seed(seed)
    cosine_GC = torch.rand(rows, classes, generator=generator, dtype=torch.float64) * 1.8 - 0.9
    cosine_GC = torch.where((cosine_GC.abs() < 0.05) | (cosine_GC - 0.7).abs().lt(0.05), cosine_GC + 0.12, cosine_GC)
    return cosine_GC.requires_grad_(), torch.randint(classes, (rows,), generator=generator)
