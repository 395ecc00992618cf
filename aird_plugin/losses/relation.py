"""RID, the relation-level term of AIRD (arXiv 2409.02049, section III-B, equations 2 to 4).

Where the paper is silent, the implementation follows its source CRCD (arXiv 2103.16367):
- R_t and R_ts are one linear layer with ReLU on the concatenated pair [f_a ; f_b], with a normalised output; each has its own
  weights, both are trained, and no gradient reaches the teacher's embeddings. The input embeddings are normalised.
- x_j is an image of the batch, embedded by the student; the anchor x_i is another image of the same identity, embedded by the
  teacher. The positive pair is (r_t of (i, j), r_ts of (i, j)); negatives are (r_t of (i, m), r_ts of (i, j)) with m a hard
  negative image of another identity. Negatives share the anchor; otherwise the anchor's half of the input alone would solve the
  task.
- the sum over negatives is taken once, not n times.

B = images of the batch, K = negatives, D = embedding width, R = relation width.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.ranges import above, at_least
from aird_plugin.losses.term import Needs, TermConfig

CONTRASTS = ("nce", "infonce", "literal")
LONE_FACES = ("view", "skip")
MIN_NORM = 1e-12


def relation(weight_RE: torch.Tensor, bias_R: torch.Tensor, anchor_BD: torch.Tensor, other_BXD: torch.Tensor) -> torch.Tensor:
    """Equation 2: relu(W [anchor ; other] + b), normalised. anchor (B, D), other (B, D) or (B, K, D) -> (B, R) or (B, K, R)."""
    return F.normalize(_hidden(weight_RE, bias_R, anchor_BD, other_BXD), dim=-1)


def relation_cosines(
    weight_RE: torch.Tensor, bias_R: torch.Tensor, anchor_BD: torch.Tensor, other_BKD: torch.Tensor, to_BR: torch.Tensor
) -> torch.Tensor:
    """Cosine of each row's K relations to one normalised relation, (B, K).

    The K products are divided by the norms, not the (B, K, R) table: at K = 1,024 that table is 50 MB per pass.
    """
    hidden_BKR = _hidden(weight_RE, bias_R, anchor_BD, other_BKD)
    norm_BK = torch.linalg.vector_norm(hidden_BKR, dim=2).clamp(min=MIN_NORM)
    return torch.bmm(hidden_BKR, to_BR[:, :, None])[:, :, 0] / norm_BK


def _hidden(weight_RE, bias_R, anchor_BD, other_BXD) -> torch.Tensor:
    """relu(W [anchor ; other] + b). The halves of W are applied separately: an anchor shared by K others is multiplied once."""
    width = anchor_BD.shape[1]
    anchor_BR = F.linear(anchor_BD, weight_RE[:, :width], bias_R)
    other_BXR = F.linear(other_BXD, weight_RE[:, width:])
    if other_BXR.ndim == 3:
        anchor_BR = anchor_BR[:, None]
    return other_BXR.add_(anchor_BR).relu_()


def nce_loss(
    positive_B: torch.Tensor,
    negative_BK: torch.Tensor,
    allowed_BK: torch.Tensor,
    temperature: float,
    log_mean_score: torch.Tensor,
) -> torch.Tensor:
    """Equation 4 with CRD's estimator (arXiv 1910.10699): -log h(positive) - sum over negatives of log(1 - h). (B,)

    h = P / (P + K / N), P = exp(cos / T) / Z, and Z = N * mean score of the first batch, so N cancels:
    h = sigmoid(cos / T - log_mean_score - log K), K the number of allowed negatives in the row.
    """
    log_count_B = allowed_BK.sum(1).clamp(min=1).to(positive_B.dtype).log()
    shift_B = log_mean_score + log_count_B
    # -log(1 - h) is the softplus of the log odds of h.
    negative_cost_BK = F.softplus(negative_BK / temperature - shift_B[:, None]).masked_fill(~allowed_BK, 0)
    return F.softplus(shift_B - positive_B / temperature) + negative_cost_BK.sum(1)


@torch.no_grad()
def init_nce_normaliser(
    log_mean_score: torch.Tensor, positive_B: torch.Tensor, negative_BK: torch.Tensor, temperature: float, shards
) -> None:
    """CRD's Z, the mean score of the first batch on all ranks, then constant: sets `log_mean_score` in place if it is NaN."""
    if torch.isnan(log_mean_score):
        scores = at_least_float32(torch.cat([positive_B[:, None], negative_BK], 1)) / temperature
        log_mean_score.copy_(shards.mean_over_ranks(scores.exp().mean()).log())


def reset_normaliser_cache(module: nn.Module, _) -> None:
    """Load hook: forget which normalisers are initialised, since the loaded ones may be NaN.

    Checking for NaN in each step would synchronise host and device, so a module caches the names of the initialised ones.
    """
    module.normalised.clear()


def info_nce_loss(
    positive_B: torch.Tensor, negative_BK: torch.Tensor, allowed_BK: torch.Tensor, temperature: float
) -> torch.Tensor:
    """-log of the positive's softmax probability among the positive and the allowed negatives. (B,)"""
    lowest = torch.finfo(negative_BK.dtype).min
    logits_BX = torch.cat([positive_B[:, None], negative_BK.masked_fill(~allowed_BK, lowest)], 1) / temperature
    return -F.log_softmax(logits_BX.clamp(min=lowest), 1)[:, 0]


@dataclass(frozen=True)
class RID(TermConfig):
    """Recipe keys of the term, with its name as prefix: `rid_weight`, `rid_negatives`, ...

    negatives: hard negatives of each anchor, from 1 to the length of the bank's list. noise_cap: a candidate whose teacher cosine
    to the anchor exceeds it counts as a mislabelled image of the same identity and is skipped (1 disables this). lone_faces: the
    anchor of an identity with a single image is another "view" of it, or the image has no RID loss ("skip"). contrast: "nce",
    "infonce", or "literal": the most literal interpretation of equation 4, which pushes the student away from the teacher on hard
    negatives and is kept as a negative control.
    """

    weight: float = 2.0
    negatives: int = 256
    width: int = 128
    temperature: float = 0.1
    noise_cap: float = 0.75
    lone_faces: str = "view"
    contrast: str = "nce"

    needs = frozenset({Needs.NEIGHBOURS})

    def __post_init__(self):
        super().__post_init__()
        if self.contrast not in CONTRASTS:
            raise ValueError(f"contrast is one of {', '.join(CONTRASTS)}; got {self.contrast!r}")
        if self.lone_faces not in LONE_FACES:
            raise ValueError(f"lone_faces is one of {', '.join(LONE_FACES)}; got {self.lone_faces!r}")
        at_least(self, 1, "negatives", "width")
        above(self, 0, "temperature")
        if not 0 < self.noise_cap <= 1:
            raise ValueError(f"noise_cap must be a cosine above 0, at most 1; got {self.noise_cap!r}")

    def build(self, dims) -> nn.Module:
        return RelationLoss(dims.embedding_size, self)


class RelationLoss(nn.Module):
    """R_t, R_ts and the contrastive loss between them. The seed alone determines the initial weights."""

    def __init__(self, embedding_size: int, spec: RID = RID(), seed: int = 0):
        super().__init__()
        self.spec = spec
        generator = torch.Generator().manual_seed(seed)
        bound = 1 / math.sqrt(2 * embedding_size)
        for name in ("teacher", "cross"):
            weight_RE = torch.empty(spec.width, 2 * embedding_size).uniform_(-bound, bound, generator=generator)
            self.register_parameter(f"{name}_weight", nn.Parameter(weight_RE))
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(spec.width)))
        self.register_buffer("log_mean_score", torch.tensor(float("nan")))
        self.normalised: set[str] = set()
        self.register_load_state_dict_post_hook(reset_normaliser_cache)

    def forward(self, inputs) -> torch.Tensor:
        """Mean over the batch; an image without an anchor (`inputs.has_anchor_B`) counts as 0."""
        student_BD = F.normalize(inputs.student_BD, dim=1)
        if self.spec.contrast == "literal":
            loss_B = self._literal(student_BD, inputs)
        else:
            loss_B = self._contrast(student_BD, inputs)
        return (loss_B * inputs.has_anchor_B).sum() / len(student_BD)

    def _contrast(self, student_BD, inputs) -> torch.Tensor:
        spec = self.spec
        cross_BR = relation(self.cross_weight, self.cross_bias, inputs.anchor_BD, student_BD)
        positive_BR = relation(self.teacher_weight, self.teacher_bias, inputs.anchor_BD, inputs.teacher_BD)
        positive_B = (cross_BR * positive_BR).sum(1)
        negative_BKD = at_least_float32(inputs.negative_BKD)
        negative_BK = relation_cosines(self.teacher_weight, self.teacher_bias, inputs.anchor_BD, negative_BKD, cross_BR)
        allowed_BK = inputs.negative_exists_BK
        # Rows of the bank are rounded to float16: the product of two equal ones may exceed 1.
        if spec.noise_cap < 1:
            similarity_BK = torch.bmm(negative_BKD, inputs.anchor_BD[:, :, None])[:, :, 0]
            allowed_BK = allowed_BK & (similarity_BK <= spec.noise_cap)
        if spec.contrast == "infonce":
            return info_nce_loss(positive_B, negative_BK, allowed_BK, spec.temperature)
        self._init_normaliser(positive_B, negative_BK, inputs.shards)
        return nce_loss(positive_B, negative_BK, allowed_BK, spec.temperature, self.log_mean_score)

    def _literal(self, student_BD, inputs) -> torch.Tensor:
        """k = 0 pairs are (r_t of (i, m), r_ts of (i, m)), m an image of another identity in the batch."""
        count = len(student_BD)
        others_BBD = student_BD.expand(count, *student_BD.shape)
        teacher_BBD = inputs.teacher_BD.expand(count, *inputs.teacher_BD.shape)
        cross_BBR = relation(self.cross_weight, self.cross_bias, inputs.anchor_BD, others_BBD)
        teacher_BBR = relation(self.teacher_weight, self.teacher_bias, inputs.anchor_BD, teacher_BBD)
        score_BB = (cross_BBR * teacher_BBR).sum(2)
        allowed_BB = inputs.label_B[:, None] != inputs.label_B
        if self.spec.noise_cap < 1:
            allowed_BB = allowed_BB & (inputs.anchor_BD @ inputs.teacher_BD.T <= self.spec.noise_cap)
        self._init_normaliser(score_BB.diagonal(), score_BB, inputs.shards)
        return nce_loss(score_BB.diagonal(), score_BB, allowed_BB, self.spec.temperature, self.log_mean_score)

    def _init_normaliser(self, positive_B, negative_BK, shards) -> None:
        if "" not in self.normalised:
            init_nce_normaliser(self.log_mean_score, positive_B, negative_BK, self.spec.temperature, shards)
            self.normalised.add("")
