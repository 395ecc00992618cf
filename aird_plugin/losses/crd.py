"""Contrastive Representation Distillation (arXiv 1910.10699), after the authors' code (HobbitLong/RepDistiller, crd/).

Each network's embedding goes through one linear layer and is normalised: a code. Two memories hold the code of every training
face, the student's and the teacher's. A face's student code is compared with the teacher's memory, its own row against those of
K other faces, and its teacher code likewise with the student's memory; the two losses add up. Then the rows are renewed.

Where this differs from that code:
- all faces of a batch share the K rows drawn for it. Each face having its own costs an index_select of B * K * R numbers: on
  one CPU core, batch 96 and K = 1024, 32 ms for a memory instead of 1, and K = 16384 would be out of reach.
- rows known to be of the same person are left out, as the authors' data set does; a row's person is known once it was seen.
- embeddings enter normalised and the layers start without bias, as in RID: beside an input of length 1 a random bias is half
  of the code.

Memory: 2 * N * R float32 on every rank and in every checkpoint: 16 MB for 15,553 faces, 506 MB for CASIA-WebFace's 494,414.

B, G = faces on this rank, on all ranks; N = faces of the training set; K = rows drawn; D = embedding width; R = width of a code.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.relation import fix_normaliser, look_again, nce_loss

SIDES = ("student", "teacher")


def code(embedding_BD: torch.Tensor, weight_RD: torch.Tensor, bias_R: torch.Tensor) -> torch.Tensor:
    """The normalised output of the linear layer on the normalised embedding. (B, R)"""
    return F.normalize(F.linear(F.normalize(embedding_BD, dim=1), weight_RD, bias_R), dim=1)


def renewed(memory_GR: torch.Tensor, code_GR: torch.Tensor, momentum: float) -> torch.Tensor:
    """Rows of a memory after their faces were seen again. momentum: the weight of the OLD row."""
    return F.normalize(momentum * memory_GR + (1 - momentum) * code_GR, dim=1)


@dataclass(frozen=True)
class Contrast:
    """Recipe keys of the term (written with its name in front: `crd_weight`, `crd_negatives`, ...); defaults as published.

    negatives: rows drawn for a batch, with replacement. momentum: weight of the old row of a memory, 0 up to, not including, 1.
    """

    weight: float = 0.8
    warmup_epochs: float = 0.0
    negatives: int = 16384
    width: int = 128
    temperature: float = 0.07
    momentum: float = 0.5

    needs = frozenset({"teacher_width", "rows"})

    def __post_init__(self):
        for key in ("negatives", "width"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be 1 or more; got {getattr(self, key)!r}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0; got {self.temperature!r}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is the weight of the old row, 0 or more and below 1; got {self.momentum!r}")

    def build(self, sizes) -> nn.Module:
        """The term as a module with its layers and memories: views -> scalar."""
        return ContrastLoss(sizes.embedding_size, sizes.num_faces, self)


class ContrastLoss(nn.Module):
    """Both layers, both memories, and the contrast between them. All of it is saved, and the same on every rank.

    The start is a function of `seed`, the rows drawn one of (seed, `views.draw`), so that a resumed run equals an unbroken one.
    """

    def __init__(self, embedding_size: int, num_faces: int, spec: Contrast = Contrast(), seed: int = 0):
        super().__init__()
        if num_faces < 2:
            raise ValueError(f"CRD remembers every training face and needs 2 or more; got {num_faces}")
        self.spec, self.seed = spec, seed
        generator = torch.Generator().manual_seed(seed)
        bound, unit = 1 / math.sqrt(embedding_size), math.sqrt(3 / spec.width)
        for side in SIDES:
            weight_RD = torch.empty(spec.width, embedding_size).uniform_(-bound, bound, generator=generator)
            self.register_parameter(f"{side}_weight", nn.Parameter(weight_RD))
            self.register_parameter(f"{side}_bias", nn.Parameter(torch.zeros(spec.width)))
            # Rows whose expected squared length is 1, as published.
            memory_NR = torch.empty(num_faces, spec.width).uniform_(-unit, unit, generator=generator)
            self.register_buffer(f"{side}_memory_NR", memory_NR)
            self.register_buffer(f"{side}_log_mean_score", torch.tensor(float("nan")))
        self.register_buffer("person_N", torch.full((num_faces,), -1))
        self.normalised: set[str] = set()
        self.register_load_state_dict_post_hook(look_again)

    def forward(self, views) -> torch.Tensor:
        """Mean over the batch of both sides' losses; renews the memories. Raises ValueError where the batch has no rows."""
        if views.row_B is None:
            raise ValueError("CRD remembers each face by its row, and this batch does not say which rows it holds")
        row_G, person_G = views.shards.gather(views.row_B), views.shards.gather(views.person_B)
        self.person_N[row_G] = person_G
        drawn_K = self._draw(views.draw).to(views.row_B.device)
        allowed_BK = self.person_N[drawn_K] != views.person_B[:, None]
        student_BR = code(views.student_BD, self.student_weight, self.student_bias)
        teacher_BR = code(views.teacher_BD.detach(), self.teacher_weight, self.teacher_bias)
        loss_B = self._contrast(student_BR, "teacher", views, drawn_K, allowed_BK)
        loss_B = loss_B + self._contrast(teacher_BR, "student", views, drawn_K, allowed_BK)
        with torch.no_grad():
            for memory_NR, code_BR in ((self.student_memory_NR, student_BR), (self.teacher_memory_NR, teacher_BR)):
                memory_NR[row_G] = renewed(memory_NR[row_G], views.shards.gather(code_BR), self.spec.momentum)
        return loss_B.mean()

    def _draw(self, draw: int) -> torch.Tensor:
        """K rows, the same on every rank. int64 (K,)"""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + draw)
        return torch.randint(len(self.person_N), (self.spec.negatives,), generator=generator)

    def _contrast(self, code_BR, other: str, views, drawn_K, allowed_BK) -> torch.Tensor:
        """A code of one side against the other side's memory. (B,)"""
        memory_NR = self.get_buffer(f"{other}_memory_NR")
        log_mean_score = self.get_buffer(f"{other}_log_mean_score")
        positive_B = (code_BR * memory_NR[views.row_B]).sum(1)
        negative_BK = code_BR @ memory_NR[drawn_K].T
        if other not in self.normalised:
            fix_normaliser(log_mean_score, positive_B, negative_BK, self.spec.temperature, views.shards)
            self.normalised.add(other)
        return nce_loss(positive_B, negative_BK, allowed_BK, self.spec.temperature, log_mean_score)
