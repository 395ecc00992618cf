"""RID, the relation-level term of AIRD (arXiv 2409.02049, section III-B, equations 2 to 4), in several variants.

Where the paper is silent, the default follows its source CRCD (arXiv 2103.16367):
- R_t and R_ts are one linear layer with ReLU on the concatenated pair [f_a ; f_b], with a normalised output; each has its own
  weights, both are trained, and no gradient reaches the teacher's embeddings. The input embeddings are normalised.
- x_j is an image of the batch, embedded by the student; the anchor x_i is another image of the same identity, embedded by the
  teacher. The positive pair is (r_t of (i, j), r_ts of (i, j)); negatives are (r_t of (i, m), r_ts of (i, j)) with m a hard
  negative image of another identity. Negatives share the anchor; otherwise the anchor's half of the input alone would solve the
  task.
- the sum over negatives is taken once, not n times.

Other variants, each a key of the spec:
- relation="tied": R_ts is R_t ("the relation between f_t and f_s" as the same function of both), so that it cannot undo a
  linear change of the student's space. relation="difference": r_ts = norm(f_s(x_j) - f_t(x_i)), r_t = norm(f_t(x_c) - f_t(x_i)),
  CRCD's own relation before its network; nothing is trained and the gradient has coordinates.
- anchors="batch": every image of the batch with another identity than x_j is an anchor, as in CRCD ("x_j is related to every HR
  sample"), and the negatives are the batch's images of other identities. An anchor of x_j's own identity gives the positive away.
- contrast="mutual": no relation vectors; the relations of x_j are its cosines to the anchors (losses/relation_mutual.py).

B, G = images of the batch on this rank, on all ranks, K = negatives, D = embedding width, R = relation width.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.nce import info_nce_loss, init_nce_normaliser, nce_loss, reset_normaliser_cache
from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.ranges import above, at_least
from aird_plugin.losses.relation_mutual import mutual_relation_loss
from aird_plugin.losses.relation_vectors import difference, relation, relation_cosines
from aird_plugin.losses.term import Needs, TermConfig

CONTRASTS = ("nce", "infonce", "literal", "mutual")
RELATIONS = ("network", "tied", "difference")
ANCHORS = ("identity", "batch")
LONE_FACES = ("view", "skip")


@dataclass(frozen=True)
class RID(TermConfig):
    """Recipe keys of the term, with its name as prefix: `rid_weight`, `rid_negatives`, ...

    negatives: hard negatives of each anchor, from 1 to the length of the bank's list. noise_cap: a candidate whose teacher cosine
    to the anchor exceeds it counts as a mislabelled image of the same identity and is skipped (1 disables this). lone_faces: the
    anchor of an identity with a single image is another "view" of it, or the image has no RID loss ("skip"). contrast: "nce",
    "infonce", "mutual", or "literal": the most literal interpretation of equation 4, which pushes the student away from the
    teacher on hard negatives and is kept as a negative control. relation, anchors: see the module; "mutual" uses neither, no
    width and no noise_cap, and with lone_faces="skip" it leaves out the anchor alone.
    """

    weight: float = 2.0
    negatives: int = 256
    width: int = 128
    temperature: float = 0.1
    noise_cap: float = 0.75
    lone_faces: str = "view"
    contrast: str = "nce"
    relation: str = "network"
    anchors: str = "identity"

    needs = frozenset({Needs.NEIGHBOURS})

    def __post_init__(self):
        super().__post_init__()
        choices = {"contrast": CONTRASTS, "lone_faces": LONE_FACES, "relation": RELATIONS, "anchors": ANCHORS}
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                raise ValueError(f"{key} is one of {', '.join(allowed)}; got {getattr(self, key)!r}")
        at_least(self, 1, "negatives", "width")
        above(self, 0, "temperature")
        if not 0 < self.noise_cap <= 1:
            raise ValueError(f"noise_cap must be a cosine above 0, at most 1; got {self.noise_cap!r}")
        if self.contrast in ("literal", "mutual") and (self.relation, self.anchors) != ("network", "identity"):
            raise ValueError(
                f"contrast={self.contrast!r} defines its own relations and anchors; leave out "
                f"relation={self.relation!r} and anchors={self.anchors!r}"
            )

    @property
    def unused(self) -> dict[str, str]:
        """As the base class: what a variant without networks, or without the lists of the bank, does not read."""
        found: dict[str, str] = {}
        if self.anchors == "batch":
            found |= dict.fromkeys(("negatives", "lone_faces"), "anchors='batch'")
        if self.relation == "difference":
            found |= {"width": "relation='difference'"}
        if self.contrast == "literal":
            found |= {"negatives": "contrast='literal'"}
        return found | (dict.fromkeys(("width", "noise_cap"), "contrast='mutual'") if self.contrast == "mutual" else {})

    def build(self, dims) -> nn.Module:
        return RelationLoss(dims.embedding_size, self, dims.seed)


class RelationLoss(nn.Module):
    """RID in the variant of `spec`, with its networks R_t and R_ts if it has any; their initial weights depend on the seed alone.

    embedding_size: width D of student and teacher embeddings. `forward` takes a `LossInputs` and returns a scalar.
    """

    def __init__(self, embedding_size: int, spec: RID = RID(), seed: int = 0):
        super().__init__()
        self.spec = spec
        generator = torch.Generator().manual_seed(seed)
        bound = 1 / math.sqrt(2 * embedding_size)
        for name in self._networks():
            weight_RE = torch.empty(spec.width, 2 * embedding_size).uniform_(-bound, bound, generator=generator)
            self.register_parameter(f"{name}_weight", nn.Parameter(weight_RE))
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(spec.width)))
        self.register_buffer("log_mean_score", torch.tensor(float("nan")))
        self.normalised: set[str] = set()
        self.register_load_state_dict_post_hook(reset_normaliser_cache)

    def forward(self, inputs) -> torch.Tensor:
        """Mean over the batch; 0 for an image without an anchor (`inputs.has_anchor_B`), where anchors are of its identity."""
        student_BD, spec = F.normalize(inputs.student_BD, dim=1), self.spec
        if spec.contrast == "mutual":
            return mutual_relation_loss(student_BD, inputs, spec.temperature).mean()
        if spec.anchors == "batch":
            return self._batch_anchors(student_BD, inputs).mean()
        loss_B = (self._literal if spec.contrast == "literal" else self._own_anchor)(student_BD, inputs)
        return (loss_B * inputs.has_anchor_B).sum() / len(student_BD)

    def _networks(self) -> tuple[str, ...]:
        if self.spec.contrast == "mutual" or self.spec.relation == "difference":
            return ()
        return ("teacher",) if self.spec.relation == "tied" else ("teacher", "cross")

    def _weights(self, network: str) -> tuple[torch.Tensor, torch.Tensor]:
        name = "teacher" if self.spec.relation == "tied" else network
        return getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")

    def _relation(self, network: str, anchor_BD: torch.Tensor, other_BXD: torch.Tensor) -> torch.Tensor:
        """r_t (network "teacher") or r_ts ("cross"), normalised: (B, R) or (B, K, R)."""
        if self.spec.relation == "difference":
            return difference(anchor_BD, other_BXD)
        return relation(*self._weights(network), anchor_BD, other_BXD)

    def _own_anchor(self, student_BD: torch.Tensor, inputs) -> torch.Tensor:
        """The anchor of each image is another image of its identity. (B,)"""
        anchor_BD, negative_BKD = inputs.anchor_BD, at_least_float32(inputs.negative_BKD)
        cross_BR = self._relation("cross", anchor_BD, student_BD)
        positive_B = (cross_BR * self._relation("teacher", anchor_BD, inputs.teacher_BD)).sum(1)
        if self.spec.relation == "difference":
            negative_BK = torch.bmm(difference(anchor_BD, negative_BKD), cross_BR[:, :, None])[:, :, 0]
        else:
            negative_BK = relation_cosines(*self._weights("teacher"), anchor_BD, negative_BKD, cross_BR)
        allowed_BK = inputs.negative_exists_BK & self._clean(torch.bmm(negative_BKD, anchor_BD[:, :, None])[:, :, 0])
        return self._contrast(positive_B, negative_BK, allowed_BK, inputs.has_anchor_B, inputs.shards)

    def _batch_anchors(self, student_BD: torch.Tensor, inputs) -> torch.Tensor:
        """Every image i of another identity is an anchor of image j, every image c of another identity a negative. (B,)"""
        teacher_GD, label_G = inputs.shards.gather(inputs.teacher_BD), inputs.shards.gather(inputs.label_B)
        count, total, first = len(student_BD), len(teacher_GD), inputs.shards.first_row(len(student_BD))
        cross_GBR = self._relation("cross", teacher_GD, student_BD.expand(total, *student_BD.shape))
        teacher_GGR = self._relation("teacher", teacher_GD, teacher_GD.expand(total, *teacher_GD.shape))
        score_GBG = torch.bmm(cross_GBR, teacher_GGR.transpose(1, 2))
        other_BG = inputs.label_B[:, None] != label_G
        clean_BG = self._clean(inputs.teacher_BD @ teacher_GD.T)
        not_anchor_GG = ~torch.eye(total, dtype=torch.bool, device=label_G.device)
        allowed_GBG = (other_BG & clean_BG) & not_anchor_GG[:, None]
        positive_GB = score_GBG[:, :, first : first + count].diagonal(dim1=1, dim2=2)
        rows = (positive_GB.reshape(-1), score_GBG.flatten(0, 1), allowed_GBG.flatten(0, 1), other_BG.T.reshape(-1))
        loss_GB = self._contrast(*rows, inputs.shards).view(total, count)
        anchors_B = other_BG.sum(1)
        return (loss_GB * other_BG.T).sum(0) / anchors_B.clamp(min=1)

    def _literal(self, student_BD, inputs) -> torch.Tensor:
        """k = 0 pairs are (r_t of (i, m), r_ts of (i, m)), m an image of another identity in the batch."""
        count = len(student_BD)
        others_BBD = student_BD.expand(count, *student_BD.shape)
        teacher_BBD = inputs.teacher_BD.expand(count, *inputs.teacher_BD.shape)
        cross_BBR = self._relation("cross", inputs.anchor_BD, others_BBD)
        teacher_BBR = self._relation("teacher", inputs.anchor_BD, teacher_BBD)
        score_BB = (cross_BBR * teacher_BBR).sum(2)
        impostor_BB = inputs.label_B[:, None] != inputs.label_B
        allowed_BB = impostor_BB & self._clean(inputs.anchor_BD @ inputs.teacher_BD.T)
        return self._contrast(score_BB.diagonal(), score_BB, allowed_BB, inputs.has_anchor_B, inputs.shards)

    def _clean(self, similarity_BK: torch.Tensor) -> torch.Tensor:
        """Whether a candidate counts as an image of another identity, by its teacher cosine."""
        # Rows of the bank are rounded to float16: the product of two equal ones may exceed 1, the cap that allows all.
        return similarity_BK <= (self.spec.noise_cap if self.spec.noise_cap < 1 else math.inf)

    def _contrast(self, positive_B, negative_BK, allowed_BK, in_loss_B, shards) -> torch.Tensor:
        """The contrast of each row. in_loss_B: the rows whose value is used. (B,)"""
        if self.spec.contrast == "infonce":
            return info_nce_loss(positive_B, negative_BK, allowed_BK, self.spec.temperature)
        if "" not in self.normalised:
            pairs = (positive_B, negative_BK, allowed_BK, in_loss_B)
            init_nce_normaliser(self.log_mean_score, *pairs, self.spec.temperature, shards)
            self.normalised.add("")
        return nce_loss(positive_B, negative_BK, allowed_BK, self.spec.temperature, self.log_mean_score)
