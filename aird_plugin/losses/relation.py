"""RID, the relation-level term of AIRD (arXiv 2409.02049, section III-B, equations 2 to 4).

What the paper leaves open is read as follows, after its source CRCD (arXiv 2103.16367):
- R_t and R_ts are one linear layer with ReLU on the pair, [f_a ; f_b], normalised to length 1; each has its own weights, both
  are trained, and no gradient reaches the teacher's embeddings. Embeddings enter normalised.
- x_j is a face of the batch, seen by the student; the anchor x_i is another face of the same person, seen by the teacher. The
  positive pair is (r_t of (i, j), r_ts of (i, j)); negatives are (r_t of (i, m), r_ts of (i, j)) with m a hard face of another
  person. Negatives share the anchor, otherwise the anchor's half alone would solve the task.
- the sum over negatives is taken once, not n times.

B = faces of the batch, K = negatives, D = embedding width, R = relation width.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32

CONTRASTS = ("nce", "infonce", "literal")
LONE_FACES = ("view", "skip")
SHORTEST = 1e-12


def relation(weight_RE: torch.Tensor, bias_R: torch.Tensor, anchor_BD, other_BXD) -> torch.Tensor:
    """Equation 2: relu(W [anchor ; other] + b), normalised. anchor (B, D), other (B, D) or (B, K, D) -> (B, R) or (B, K, R)."""
    return F.normalize(_hidden(weight_RE, bias_R, anchor_BD, other_BXD), dim=-1)


def relation_cosines(weight_RE, bias_R, anchor_BD, other_BKD, to_BR: torch.Tensor) -> torch.Tensor:
    """Cosine of each row's K relations to one relation of length 1, (B, K).

    What is divided by the lengths is the K products, not the (B, K, R) table: at K = 1,024 that table is 50 MB a pass.
    """
    hidden_BKR = _hidden(weight_RE, bias_R, anchor_BD, other_BKD)
    length_BK = torch.linalg.vector_norm(hidden_BKR, dim=2).clamp(min=SHORTEST)
    return torch.bmm(hidden_BKR, to_BR[:, :, None])[:, :, 0] / length_BK


def _hidden(weight_RE, bias_R, anchor_BD, other_BXD) -> torch.Tensor:
    """relu(W [anchor ; other] + b). W is applied to its two halves apart: an anchor shared by K others is multiplied once."""
    width = anchor_BD.shape[1]
    anchor_BR = F.linear(anchor_BD, weight_RE[:, :width], bias_R)
    other_BXR = F.linear(other_BXD, weight_RE[:, width:])
    if other_BXR.ndim == 3:
        anchor_BR = anchor_BR[:, None]
    return other_BXR.add_(anchor_BR).relu_()


def nce_loss(positive_B, negative_BK, allowed_BK, temperature: float, log_mean_score) -> torch.Tensor:
    """Equation 4 with CRD's estimator (arXiv 1910.10699): -log h(positive) - sum over negatives of log(1 - h). (B,)

    h = P / (P + K / N), P = exp(cos / T) / Z, and Z = N * mean score of the first batch, so N cancels:
    h = sigmoid(cos / T - log_mean_score - log K), K the negatives allowed in the row.
    """
    log_count_B = allowed_BK.sum(1).clamp(min=1).to(positive_B.dtype).log()
    shift_B = log_mean_score + log_count_B
    # -log(1 - h) is the softplus of h's log odds.
    negative_cost_BK = F.softplus(negative_BK / temperature - shift_B[:, None]).masked_fill(~allowed_BK, 0)
    return F.softplus(shift_B - positive_B / temperature) + negative_cost_BK.sum(1)


@torch.no_grad()
def fix_normaliser(log_mean_score, positive_B, negative_BK, temperature: float, shards) -> None:
    """CRD's Z: the mean score of the first batch, of all ranks, then constant. It fills `log_mean_score` where that is NaN."""
    if torch.isnan(log_mean_score):
        scores = at_least_float32(torch.cat([positive_B[:, None], negative_BK], 1)) / temperature
        log_mean_score.copy_(shards.mean_over_ranks(scores.exp().mean()).log())


def look_again(module: nn.Module, _) -> None:
    """Other values were loaded: whether the normalisers are fixed is not known.

    To look each time would make the host wait for the device, so a module keeps the names of those it knows to be.
    """
    module.normalised.clear()


def info_nce_loss(positive_B, negative_BK, allowed_BK, temperature: float) -> torch.Tensor:
    """-log of the positive's share in the softmax over the positive and the allowed negatives. (B,)"""
    lowest = torch.finfo(negative_BK.dtype).min
    logits_BX = torch.cat([positive_B[:, None], negative_BK.masked_fill(~allowed_BK, lowest)], 1) / temperature
    return -F.log_softmax(logits_BX.clamp(min=lowest), 1)[:, 0]


@dataclass(frozen=True)
class Relation:
    """Recipe keys of the term (written with its name in front: `rid_weight`, `rid_negatives`, ...).

    negatives: hard faces of other people for each anchor, 1 to the bank's list. noise_cap: a candidate whose teacher cosine to
    the anchor is above it is taken for a mislabelled face of the same person and skipped (1 turns this off). lone_faces: a
    person with one face is related to another "view" of it, or the face is left out ("skip"). contrast: "nce",
    "infonce", or "literal": the most literal reading of equation 4, which pushes the student away from the teacher on hard
    negatives and is kept as a negative control.
    """

    weight: float = 2.0
    warmup_epochs: float = 0.0
    negatives: int = 256
    width: int = 128
    temperature: float = 0.1
    noise_cap: float = 0.75
    lone_faces: str = "view"
    contrast: str = "nce"

    needs = frozenset({"neighbours"})

    def __post_init__(self):
        if self.contrast not in CONTRASTS:
            raise ValueError(f"contrast is one of {', '.join(CONTRASTS)}; got {self.contrast!r}")
        if self.lone_faces not in LONE_FACES:
            raise ValueError(f"lone_faces is one of {', '.join(LONE_FACES)}; got {self.lone_faces!r}")
        for key in ("negatives", "width"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be 1 or more; got {getattr(self, key)!r}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0; got {self.temperature!r}")
        if not 0 < self.noise_cap <= 1:
            raise ValueError(f"noise_cap is a cosine above 0, at most 1; got {self.noise_cap!r}")

    def build(self, sizes) -> nn.Module:
        """The term as a module with the relation weights: views -> scalar."""
        return RelationLoss(sizes.embedding_size, self)


class RelationLoss(nn.Module):
    """R_t, R_ts and the contrast between them. Initial weights are a function of the seed alone."""

    def __init__(self, embedding_size: int, spec: Relation = Relation(), seed: int = 0):
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
        self.register_load_state_dict_post_hook(look_again)

    def forward(self, views) -> torch.Tensor:
        """Mean over the batch; a face without an anchor (see `views.has_anchor_B`) counts as 0."""
        student_BD = F.normalize(views.student_BD, dim=1)
        if self.spec.contrast == "literal":
            per_face_B = self._literal(student_BD, views)
        else:
            per_face_B = self._contrast(student_BD, views)
        return (per_face_B * views.has_anchor_B).sum() / len(student_BD)

    def _contrast(self, student_BD, views) -> torch.Tensor:
        spec = self.spec
        cross_BR = relation(self.cross_weight, self.cross_bias, views.anchor_BD, student_BD)
        positive_BR = relation(self.teacher_weight, self.teacher_bias, views.anchor_BD, views.teacher_BD)
        positive_B = (cross_BR * positive_BR).sum(1)
        negative_BKD = at_least_float32(views.negative_BKD)
        negative_BK = relation_cosines(self.teacher_weight, self.teacher_bias, views.anchor_BD, negative_BKD, cross_BR)
        closeness_BK = torch.bmm(negative_BKD, views.anchor_BD[:, :, None])[:, :, 0]
        allowed_BK = views.negative_exists_BK & (closeness_BK <= spec.noise_cap)
        if spec.contrast == "infonce":
            return info_nce_loss(positive_B, negative_BK, allowed_BK, spec.temperature)
        self._normalise(positive_B, negative_BK, views.shards)
        return nce_loss(positive_B, negative_BK, allowed_BK, spec.temperature, self.log_mean_score)

    def _literal(self, student_BD, views) -> torch.Tensor:
        """k = 0 pairs are (r_t of (i, m), r_ts of (i, m)), m another person's face of the batch."""
        count = len(student_BD)
        others_BBD = student_BD.expand(count, *student_BD.shape)
        teacher_BBD = views.teacher_BD.expand(count, *views.teacher_BD.shape)
        cross_BBR = relation(self.cross_weight, self.cross_bias, views.anchor_BD, others_BBD)
        teacher_BBR = relation(self.teacher_weight, self.teacher_bias, views.anchor_BD, teacher_BBD)
        score_BB = (cross_BBR * teacher_BBR).sum(2)
        closeness_BB = views.anchor_BD @ views.teacher_BD.T
        stranger_BB = views.person_B[:, None] != views.person_B
        allowed_BB = stranger_BB & (closeness_BB <= self.spec.noise_cap)
        self._normalise(score_BB.diagonal(), score_BB, views.shards)
        return nce_loss(score_BB.diagonal(), score_BB, allowed_BB, self.spec.temperature, self.log_mean_score)

    def _normalise(self, positive_B, negative_BK, shards) -> None:
        if "" not in self.normalised:
            fix_normaliser(self.log_mean_score, positive_B, negative_BK, self.spec.temperature, shards)
            self.normalised.add("")
