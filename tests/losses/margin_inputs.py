"""Seeded inputs of the margin tests: six images, five classes, width 8. The authors' code was run on these inputs too."""

import torch
from torch.nn import functional as F

NORMS = torch.tensor([1.0, 2, 4, 6, 9, 40])
LABEL = torch.tensor([0, 4, 2, 1, 3, 2])


def random_embeddings(seed: int = 5):
    """Random student embeddings (6, 8), class centers (5, 8) and teacher embeddings (6, 8)."""
    generator = torch.Generator().manual_seed(seed)
    student_BD = torch.randn(6, 8, generator=generator) * NORMS[:, None]
    centers_CD = torch.randn(5, 8, generator=generator)
    return student_BD, centers_CD, torch.randn(6, 8, generator=generator)


def clustered_embeddings():
    """The same with each student embedding moved towards its class center at unchanged norm."""
    student_BD, centers_CD, teacher_BD = random_embeddings()
    direction_BD = F.normalize(F.normalize(student_BD) + 0.7 * F.normalize(centers_CD)[LABEL])
    return direction_BD * student_BD.norm(dim=1, keepdim=True), centers_CD, teacher_BD


def crowded_embeddings(spread: float):
    """Embeddings (6, 8) and similar class centers (5, 8): each image has a close rival, the closer the smaller the spread."""
    generator = torch.Generator().manual_seed(6)
    centers_CD = torch.randn(1, 8, generator=generator) + spread * torch.randn(5, 8, generator=generator)
    student_BD = (centers_CD[LABEL] + spread * torch.randn(6, 8, generator=generator)) * NORMS[:, None]
    return student_BD, centers_CD


def cosines(student_BD, centers_CD):
    """Cosines of embeddings to class centers."""
    return F.normalize(student_BD) @ F.normalize(centers_CD).T


def float64_cosines(rows: int = 6, classes: int = 5, seed: int = 0):
    """Cosines in float64 with a gradient, at least 0.05 from 0 and from the thresholds used, and labels."""
    generator = torch.Generator().manual_seed(seed)
    cosine_GC = torch.rand(rows, classes, generator=generator, dtype=torch.float64) * 1.8 - 0.9
    cosine_GC = torch.where((cosine_GC.abs() < 0.05) | (cosine_GC - 0.7).abs().lt(0.05), cosine_GC + 0.12, cosine_GC)
    return cosine_GC.requires_grad_(), torch.randint(classes, (rows,), generator=generator)
