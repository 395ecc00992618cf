"""The class centres: embeddings -> cosines to every person, sharded over ranks and optionally sampled (Partial FC).

B, G = faces on this rank, on all ranks; C = classes on this rank (sampled ones, where sampling is on); D = embedding width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin import distributed
from aird_plugin.losses.adadistill import moved_centres
from aird_plugin.losses.margin import GRADIENTS, Combined, softmax_loss
from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.sharding import WHOLE

HEAD_INITS = ("teacher", "random")
ROW_BLOCK = 16384


@dataclass(frozen=True)
class HeadConfig:
    """Recipe keys of the class centres.

    margin_list: (m1, m2, m3) of cos(m1 * angle + m2) - m3. margin_scale: the s that multiplies cosines (arcface_torch: 64).
    sample_rate: share of classes drawn each step, 1 for all; a class that is not drawn keeps its centre and its momentum (see
    `rows`; docs/scale.md). head_init: "teacher" starts from the teacher's class centres, which puts the student into the
    teacher's coordinates; "random" from a small normal.
    margin: None for the combined margin that margin_list and margin_gradient describe, or another as "module:Spec"; its keys
    begin with margin_, and it takes margin_scale. head_frozen: the teacher's class centres stay as they are, without gradient
    and weight decay. head_adaptive: no gradient either; each face moves its centre towards its teacher embedding (AdaDistill).
    """

    num_classes: int = 0
    margin_list: tuple = (1.0, 0.5, 0.0)
    margin_scale: float = 64.0
    margin_gradient: str = "exact"
    sample_rate: float = 1.0
    head_init: str = "random"
    head_frozen: bool = False
    head_adaptive: bool = False
    margin: str | None = None

    def __post_init__(self):
        if len(self.margin_list) != 3 or not all(isinstance(m, int | float) for m in self.margin_list):
            raise ValueError(f"margin_list is three numbers (m1, m2, m3); got {self.margin_list!r}")
        if self.margin_gradient not in GRADIENTS:
            raise ValueError(f"margin_gradient is one of {', '.join(GRADIENTS)}; got {self.margin_gradient!r}")
        if self.head_init not in HEAD_INITS:
            raise ValueError(f"head_init is one of {', '.join(HEAD_INITS)}; got {self.head_init!r}")
        if self.head_frozen and self.head_init != "teacher":
            raise ValueError(f"head_frozen keeps the teacher's class centres: set head_init='teacher'; got {self.head_init!r}")
        if self.head_frozen and self.head_adaptive:
            raise ValueError("head_frozen and head_adaptive exclude each other: the class centres either stay or move")
        if not 0 < self.sample_rate <= 1:
            raise ValueError(f"sample_rate is above 0, at most 1; got {self.sample_rate!r}")
        if not self.margin_scale > 0:
            raise ValueError(f"margin_scale must be above 0; got {self.margin_scale!r}")
        if self.num_classes < 0:
            raise ValueError(f"num_classes is 0 (as many as the data have) or more; got {self.num_classes!r}")

    @property
    def trained(self) -> bool:
        """Whether the class centres get a gradient."""
        return not (self.head_frozen or self.head_adaptive)


@dataclass(frozen=True)
class ClassCosines:
    """Cosines of all ranks' faces to this rank's classes; label -1 where a face's person is in another rank's shard."""

    student_GC: torch.Tensor
    teacher_GC: torch.Tensor | None
    label_G: torch.Tensor


class Head(nn.Module):
    """This rank's shard of the class centres, and beside it the teacher's (no parameter, not saved, never trained).

    centres_CD: all ranks' initial centres, or None for a small normal drawn from `seed`. margin: the spec of another margin than
    the combined one; what it remembers is the same on all ranks. Where classes are sampled, nothing but the weight (and the
    optimizer's state) has the size of the shard: the gradient is sparse, and the teacher's centres, given as a mapped array, stay
    on disk until their rows are drawn, or until the head moves to a GPU. Raises ValueError where a rank would hold no class.
    """

    def __init__(
        self, config: HeadConfig, embedding_size: int, centres_CD=None, teacher_centres_CD=None, seed: int = 0, margin: Any = None
    ):
        super().__init__()
        self.config, self.seed = config, seed
        self.shard = shard_of(config.num_classes, distributed.rank(), distributed.world_size())
        self.sampled = config.sample_rate < 1
        centres_CD = initial_centres(config, embedding_size, self.shard, centres_CD, seed)
        self.weight = nn.Parameter(centres_CD, requires_grad=config.trained)
        spec = margin or Combined(config.margin_list, config.margin_gradient)
        self.margin, self.needs = spec.build(config.margin_scale), spec.needs
        teacher_shard = None if teacher_centres_CD is None else teacher_centres_CD[self.shard]
        if teacher_shard is not None and not self.sampled:
            teacher_shard = F.normalize(at_least_float32(teacher_shard))
        self.register_buffer("teacher_centres_CD", teacher_shard, persistent=False)
        self.shards = WHOLE if distributed.world_size() == 1 else distributed.ClassShards()

    def cosines(self, student_BD, teacher_BD, person_B, step: int = 0) -> ClassCosines:
        """Gather the faces of all ranks and compare them with this rank's classes. `step` seeds the sampling of classes.

        With head_adaptive the faces first move their classes' centres.
        """
        if self.config.head_adaptive:
            adapt_centres(self.weight, self.shard, student_BD, teacher_BD, person_B)
        student_GD = F.normalize(distributed.gather_rows(student_BD))
        label_G = labels_in(self.shard, distributed.gather_rows(person_B))
        centres_CD, teacher_centres_CD = self.weight, self.teacher_centres_CD
        if self.sampled:
            index_C = self._sample(label_G, step)
            label_G = torch.where(label_G >= 0, torch.searchsorted(index_C, label_G.clamp(min=0)), -1)
            centres_CD = F.embedding(index_C, self.weight, sparse=True)
            if teacher_centres_CD is not None:
                teacher_centres_CD = F.normalize(at_least_float32(teacher_centres_CD[index_C]))
        teacher_GC = None
        if teacher_centres_CD is not None and teacher_BD is not None:
            teacher_GC = F.normalize(distributed.gather_rows(teacher_BD)) @ teacher_centres_CD.T
        return ClassCosines(student_GD @ F.normalize(centres_CD).T, teacher_GC, label_G)

    def loss(self, student_cosine_GC, label_G, student_BD=None, teacher_BD=None, angle_G1=None) -> torch.Tensor:
        """The identity loss: margin softmax over all classes of all ranks, mean over all ranks' faces; plus what the margin adds.

        This rank's embeddings are for margins that need them. angle_G1: None, or each face's own m2 of the combined margin.
        """
        told, margin = faces_told(self.needs, student_BD, teacher_BD), self.margin
        if angle_G1 is not None:
            m1, _, m3 = self.config.margin_list
            margin = Combined((m1, angle_G1, m3), self.config.margin_gradient).build(self.config.margin_scale)
        logits_GC, regulariser = margin(student_cosine_GC, label_G, *told, self.shards)
        loss = softmax_loss(logits_GC, label_G, self.shards)
        return loss if regulariser is None else loss + regulariser

    def _sample(self, label_G: torch.Tensor, step: int) -> torch.Tensor:
        """The classes present in the batch, filled up at random to the sampled number, at least one. Sorted int64 (C,)."""
        total = len(self.weight)
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + step) * 4096 + distributed.rank())
        luck = torch.rand(total, generator=generator).to(label_G.device)
        luck[label_G[label_G >= 0]] = 2.0
        count = max(int(self.config.sample_rate * total), int((luck == 2.0).sum()), 1)
        return luck.topk(count, sorted=False).indices.sort().values


def faces_told(needs: frozenset[str], student_BD, teacher_BD) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """What a margin needs of all ranks' faces: embedding lengths (G,), and cosines to the teacher's (G,), without gradient."""
    norm_G = distributed.gather_rows(student_BD.norm(dim=1)) if "norm" in needs else None
    if "teacher_width" not in needs:
        return norm_G, None
    agreement_B = F.cosine_similarity(student_BD.detach(), teacher_BD, dim=1)
    return norm_G, distributed.gather_rows(agreement_B)


@torch.no_grad()
def adapt_centres(weight_CD: torch.Tensor, shard: slice, student_BD, teacher_BD, person_B) -> None:
    """Move this rank's class centres, in place, by the faces of all ranks (AdaDistill)."""
    student_GD, teacher_GD = (distributed.gather_rows(at_least_float32(rows_BD)) for rows_BD in (student_BD, teacher_BD))
    label_G = labels_in(shard, distributed.gather_rows(person_B))
    class_K, centre_KD = moved_centres(weight_CD, label_G, student_GD, teacher_GD)
    weight_CD[class_K] = centre_KD


def labels_in(shard: slice, person_G: torch.Tensor) -> torch.Tensor:
    """Place of each face's person among the shard's classes; -1 where another rank holds it."""
    return torch.where((person_G >= shard.start) & (person_G < shard.stop), person_G - shard.start, -1)


def initial_centres(config: HeadConfig, embedding_size: int, shard: slice, centres_CD=None, seed: int = 0) -> torch.Tensor:
    """The shard's class centres at the start, float32 or float64: all ranks' given ones, else a small normal drawn from `seed`.

    The normal is drawn for all ranks in blocks, of which a rank keeps its own: the same centres on any number of ranks.
    Raises ValueError for a wrong shape and for an empty shard.
    """
    if shard.start >= shard.stop:
        raise ValueError(f"num_classes={config.num_classes} leaves a rank without a class; use fewer ranks")
    if centres_CD is None:
        return _drawn(config.num_classes, embedding_size, shard, torch.Generator().manual_seed(seed))
    if tuple(centres_CD.shape) != (config.num_classes, embedding_size):
        raise ValueError(f"the head needs class centres ({config.num_classes}, {embedding_size}); got {tuple(centres_CD.shape)}")
    return at_least_float32(centres_CD[shard].clone())


def _drawn(num_classes: int, width: int, shard: slice, generator: torch.Generator) -> torch.Tensor:
    """Rows of one normal draw of (num_classes, width), without ever holding all of it."""
    shard_CD = torch.empty(shard.stop - shard.start, width)
    # The last block is the longest: torch draws the last 16 values of a tensor in their own way.
    starts = list(range(0, max(num_classes - ROW_BLOCK, 1), ROW_BLOCK))
    for first, last in zip(starts, [*starts[1:], num_classes], strict=True):
        if first >= shard.stop:
            break
        block_RD = torch.empty(last - first, width).normal_(0, 0.01, generator=generator)
        kept = slice(max(shard.start, first), min(shard.stop, last))
        if kept.start < kept.stop:
            shard_CD[kept.start - shard.start : kept.stop - shard.start] = block_RD[kept.start - first : kept.stop - first]
    return shard_CD


def shard_of(num_classes: int, rank: int, world_size: int) -> slice:
    """The classes that a rank holds; the first ranks take one more where they do not divide evenly (as arcface_torch)."""
    share, extra = divmod(num_classes, world_size)
    first = share * rank + min(rank, extra)
    return slice(first, first + share + (rank < extra))
