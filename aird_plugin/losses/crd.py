"""Contrastive Representation Distillation (arXiv 1910.10699), after the authors' code (HobbitLong/RepDistiller, crd/).

Each network's embedding goes through one linear layer and is normalised: a code. Two memory banks hold the student's and the
teacher's code of every training image. An image's student code is contrasted with the teacher's memory, its own row against those
of K other images, and its teacher code likewise with the student's memory; the two losses are added. Then the rows are updated.

Differences from that code:
- all images of a batch share the same K sampled rows. Separate rows per image cost an index_select of B * K * R numbers: on one
  CPU core with batch 96 and K = 1024, 32 ms per memory instead of 1, and K = 16384 would be infeasible.
- rows known to be of the same identity are excluded, as in the authors' data set; a row's identity is known after its first use.
- input embeddings are normalised and the layers start with zero bias, as in RID: with an input of norm 1, a random bias would be
  half of the code.

Memory: 2 * N * R float32 on every rank and in every checkpoint: 16 MB for 15,553 images, 506 MB for CASIA-WebFace's 494,414.

B, G = images on this rank, on all ranks; N = training images; K = sampled rows; D = embedding width; R = width of a code.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.nce import init_nce_normaliser, nce_loss, reset_normaliser_cache
from aird_plugin.losses.ranges import above, at_least
from aird_plugin.losses.term import Needs, TermConfig

SIDES = ("student", "teacher")


def encode(embedding_BD: torch.Tensor, weight_RD: torch.Tensor, bias_R: torch.Tensor) -> torch.Tensor:
    """The normalised output of the linear layer on the normalised embedding. (B, R)"""
    return F.normalize(F.linear(F.normalize(embedding_BD, dim=1), weight_RD, bias_R), dim=1)


def update_rows(memory_GR: torch.Tensor, code_GR: torch.Tensor, momentum: float) -> torch.Tensor:
    """Memory rows updated with new codes, normalised. momentum: the weight of the OLD row."""
    return F.normalize(momentum * memory_GR + (1 - momentum) * code_GR, dim=1)


@dataclass(frozen=True)
class CRD(TermConfig):
    """Recipe keys of the term, with its name as prefix: `crd_weight`, `crd_negatives`, ...; defaults as published.

    negatives: rows sampled per batch, with replacement. momentum: weight of the old memory row, from 0 to below 1.
    """

    weight: float = 0.8
    negatives: int = 16384
    width: int = 128
    temperature: float = 0.07
    momentum: float = 0.5

    needs = frozenset({Needs.TEACHER_WIDTH, Needs.ROWS, Needs.LABELS})

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 1, "negatives", "width")
        above(self, 0, "temperature")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be 0 or more and below 1; got {self.momentum!r}")

    def build(self, dims) -> nn.Module:
        return CRDLoss(dims.embedding_size, dims.num_faces, self, dims.seed)


class CRDLoss(nn.Module):
    """Both linear layers, both memories and the contrastive loss. The whole state is saved, and equal on all ranks.

    `seed` determines the initial state, (seed, `inputs.batch_index`) the sampled rows: a resumed run equals an uninterrupted one.
    """

    person_N: torch.Tensor
    student_memory_NR: torch.Tensor
    teacher_memory_NR: torch.Tensor

    def __init__(self, embedding_size: int, num_faces: int, spec: CRD = CRD(), seed: int = 0):
        super().__init__()
        if num_faces < 2:
            raise ValueError(f"CRD needs 2 or more training images; got {num_faces}")
        self.spec, self.seed = spec, seed
        generator = torch.Generator().manual_seed(seed)
        bound, unit = 1 / math.sqrt(embedding_size), math.sqrt(3 / spec.width)
        for side in SIDES:
            weight_RD = torch.empty(spec.width, embedding_size).uniform_(-bound, bound, generator=generator)
            self.register_parameter(f"{side}_weight", nn.Parameter(weight_RD))
            self.register_parameter(f"{side}_bias", nn.Parameter(torch.zeros(spec.width)))
            # The expected squared norm of a row is 1, as published.
            memory_NR = torch.empty(num_faces, spec.width).uniform_(-unit, unit, generator=generator)
            self.register_buffer(f"{side}_memory_NR", memory_NR)
            self.register_buffer(f"{side}_log_mean_score", torch.tensor(float("nan")))
        # Identity label of each training image, -1 until its first use. The name is part of saved checkpoints.
        self.register_buffer("person_N", torch.full((num_faces,), -1))
        self.normalised: set[str] = set()
        self.register_load_state_dict_post_hook(reset_normaliser_cache)

    def forward(self, inputs) -> torch.Tensor:
        """Mean over the batch of both sides' losses; updates the memories. Raises ValueError for a batch without row indices."""
        if inputs.row_B is None:
            raise ValueError("CRD needs the row index of each image; this batch has none (row_B is None)")
        row_G, label_G = inputs.shards.gather(inputs.row_B), inputs.shards.gather(inputs.label_B)
        self.person_N[row_G] = label_G
        sampled_K = self._draw(inputs.batch_index).to(inputs.row_B.device)
        allowed_BK = self.person_N[sampled_K] != inputs.label_B[:, None]
        student_BR = encode(inputs.student_BD, self.student_weight, self.student_bias)
        teacher_BR = encode(inputs.teacher_BD.detach(), self.teacher_weight, self.teacher_bias)
        loss_B = self._contrast(student_BR, "teacher", inputs, sampled_K, allowed_BK)
        loss_B = loss_B + self._contrast(teacher_BR, "student", inputs, sampled_K, allowed_BK)
        with torch.no_grad():
            for memory_NR, code_BR in ((self.student_memory_NR, student_BR), (self.teacher_memory_NR, teacher_BR)):
                memory_NR[row_G] = update_rows(memory_NR[row_G], inputs.shards.gather(code_BR), self.spec.momentum)
        return loss_B.mean()

    def _draw(self, batch_index: int) -> torch.Tensor:
        """K row indices, the same on every rank. int64 (K,)"""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + batch_index)
        return torch.randint(len(self.person_N), (self.spec.negatives,), generator=generator)

    def _contrast(self, code_BR, other: str, inputs, sampled_K, allowed_BK) -> torch.Tensor:
        """NCE loss of one side's codes against the other side's memory. (B,)"""
        memory_NR = self.get_buffer(f"{other}_memory_NR")
        log_mean_score = self.get_buffer(f"{other}_log_mean_score")
        positive_B = (code_BR * memory_NR[inputs.row_B]).sum(1)
        negative_BK = code_BR @ memory_NR[sampled_K].T
        if other not in self.normalised:
            pairs = (positive_B, negative_BK, allowed_BK, torch.ones_like(inputs.label_B, dtype=torch.bool))
            init_nce_normaliser(log_mean_score, *pairs, self.spec.temperature, inputs.shards)
            self.normalised.add(other)
        return nce_loss(positive_B, negative_BK, allowed_BK, self.spec.temperature, log_mean_score)
