"""The classification head: cosines of embeddings to the class centers, sharded over ranks and optionally sampled (Partial FC).

B, G = images on this rank, on all ranks; C = classes on this rank (only the sampled ones with sampling); D = embedding width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aird_plugin.losses.margin import GRADIENTS, Combined, check_margins, softmax_loss
from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.ranges import above
from aird_plugin.losses.sharding import SINGLE_SHARD
from aird_plugin.losses.term import Needs
from aird_plugin.models.class_centers import adapt_centers, initial_centers, labels_in, shard_of
from aird_plugin.utils import distributed

HEAD_INITS = ("teacher", "random")
CENTERS = ("trained", "frozen", "adaptive")


@dataclass(frozen=True)
class HeadConfig:
    """Recipe keys of the head.

    num_classes: number of identities; 0 takes as many as the data have. margin_list: (m1, m2, m3) of cos(m1 * angle + m2) - m3,
    m2 in radians. margin_gradient: "exact", or "upstream", arcface_torch's straight-through gradient of that margin.
    margin_scale: the scale s of the cosines (arcface_torch: 64).
    sample_rate: fraction of classes sampled in each step, 1 for all; a class that is not sampled keeps its center and its
    momentum (see docs/scale.md). head_init: "teacher" initialises with the teacher's class centers, so that student and
    teacher share one embedding space; "random" with a small normal.
    margin: None for the combined margin of margin_list and margin_gradient, or another one as "module:Spec"; its keys begin with
    margin_, and it uses margin_scale. centers: "trained" by gradient; "frozen": the teacher's class centers are constant, without
    gradient and weight decay; "adaptive": no gradient either, each image moves its class center towards its teacher embedding
    (AdaDistill). Every method runs with each of them.
    """

    num_classes: int = 0
    margin_list: tuple = (1.0, 0.5, 0.0)
    margin_scale: float = 64.0
    margin_gradient: str = "exact"
    sample_rate: float = 1.0
    head_init: str = "random"
    centers: str = "trained"
    margin: str | None = None

    def __post_init__(self):
        numbers = [m for m in self.margin_list if isinstance(m, int | float) and not isinstance(m, bool)]
        if not len(numbers) == len(self.margin_list) == 3:
            raise ValueError(f"margin_list must be three numbers (m1, m2, m3); got {self.margin_list!r}")
        check_margins(self.margin_list)
        if self.margin_gradient not in GRADIENTS:
            raise ValueError(f"margin_gradient must be one of {', '.join(GRADIENTS)}; got {self.margin_gradient!r}")
        if self.head_init not in HEAD_INITS:
            raise ValueError(f"head_init must be one of {', '.join(HEAD_INITS)}; got {self.head_init!r}")
        if self.centers not in CENTERS:
            raise ValueError(f"centers must be one of {', '.join(CENTERS)}; got {self.centers!r}")
        if self.centers == "frozen" and self.head_init != "teacher":
            raise ValueError(
                f"centers='frozen' needs the teacher's class centers: set head_init='teacher'; got {self.head_init!r}"
            )
        if not 0 < self.sample_rate <= 1:
            raise ValueError(f"sample_rate must be above 0 and at most 1; got {self.sample_rate!r}")
        above(self, 0, "margin_scale")
        if self.num_classes < 0:
            raise ValueError(f"num_classes must be 0 (the number of classes of the data) or more; got {self.num_classes!r}")

    @property
    def trained(self) -> bool:
        """Whether the class centers are trained by gradient."""
        return self.centers == "trained"


@dataclass(frozen=True)
class ClassCosines:
    """Cosines of all ranks' images to this rank's classes; label -1 where the class is in another rank's shard. All are None
    in a run without labels (`NoHead`), the teacher's also without a teacher."""

    student_GC: Tensor | None
    teacher_GC: Tensor | None
    label_G: Tensor | None


class Head(nn.Module):
    """This rank's shard of the class centers, and of the teacher's class centers (not a parameter, not saved, never trained).

    centers_CD: initial centers of all ranks, or None for a small normal drawn from `seed`. margin: the spec of another margin
    than the combined one; its state is equal on all ranks. With sampled classes, only the weight (and the optimizer's state) has
    the size of the shard: the gradient is sparse, and the teacher's centers, given as a memory-mapped array, stay on disk until
    their rows are sampled, or until the head moves to a GPU. Raises ValueError where a rank would hold no class.
    """

    def __init__(
        self,
        config: HeadConfig,
        embedding_size: int,
        centers_CD: Tensor | None = None,
        teacher_centers_CD: Tensor | None = None,
        seed: int = 0,
        margin: Any = None,
    ):
        super().__init__()
        self.config, self.seed = config, seed
        self.shard = shard_of(config.num_classes, distributed.rank(), distributed.world_size())
        self.sampled = config.sample_rate < 1
        centers_CD = initial_centers(config.num_classes, embedding_size, self.shard, centers_CD, seed)
        self.weight = nn.Parameter(centers_CD, requires_grad=config.trained)
        spec = margin or Combined(config.margin_list, config.margin_gradient)
        self.margin, self.needs = spec.build(config.margin_scale), spec.needs
        teacher_shard = None if teacher_centers_CD is None else teacher_centers_CD[self.shard]
        if teacher_shard is not None and not self.sampled:
            teacher_shard = F.normalize(at_least_float32(teacher_shard))
        self.register_buffer("teacher_centers_CD", teacher_shard, persistent=False)
        self.shards = SINGLE_SHARD if distributed.world_size() == 1 else distributed.ClassShards()

    def cosines(self, student_BD: Tensor, teacher_BD: Tensor | None, label_B: Tensor, step: int = 0) -> ClassCosines:
        """Gather the embeddings of all ranks and compute cosines to this rank's classes. `step` seeds the class sampling.

        With adaptive centers they are updated first.
        """
        if self.config.centers == "adaptive":
            adapt_centers(self.weight, self.shard, student_BD, teacher_BD, label_B)
        student_GD = F.normalize(distributed.gather_rows(student_BD))
        label_G = labels_in(self.shard, distributed.gather_rows(label_B))
        centers_CD: Tensor = self.weight
        teacher_centers_CD: Any = self.teacher_centers_CD
        if self.sampled:
            index_C = self._sample(label_G, step)
            label_G = torch.where(label_G >= 0, torch.searchsorted(index_C, label_G.clamp(min=0)), -1)
            centers_CD = F.embedding(index_C, self.weight, sparse=True)
            if teacher_centers_CD is not None:
                teacher_centers_CD = F.normalize(at_least_float32(teacher_centers_CD[index_C]))
        teacher_GC = None
        if teacher_centers_CD is not None and teacher_BD is not None:
            teacher_GC = F.normalize(distributed.gather_rows(teacher_BD)) @ teacher_centers_CD.T
        return ClassCosines(student_GD @ F.normalize(centers_CD).T, teacher_GC, label_G)

    def loss(
        self,
        student_cosine_GC: Tensor,
        label_G: Tensor,
        student_BD: Tensor | None = None,
        teacher_BD: Tensor | None = None,
        angle_G1: Tensor | None = None,
    ) -> Tensor:
        """The identity loss: margin softmax over the classes of all ranks, mean over all ranks' images, plus the margin's
        regulariser. student_BD, teacher_BD: this rank's embeddings, for margins that need them. angle_G1: None, or m2 of the
        combined margin for each image.
        """
        return self.margin_loss(student_cosine_GC, label_G, *margin_inputs(self.needs, student_BD, teacher_BD), angle_G1)

    def margin_loss(
        self,
        student_cosine_GC: Tensor,
        label_G: Tensor,
        norm_G: Tensor | None = None,
        agreement_G: Tensor | None = None,
        angle_G1: Tensor | None = None,
    ) -> Tensor:
        """`loss` for what `margin_inputs` returns: the embeddings' norms and cosines to the teacher's, of all ranks' images."""
        margin = self.margin
        if angle_G1 is not None:
            m1, _, m3 = self.config.margin_list
            margin = Combined((m1, angle_G1, m3), self.config.margin_gradient).build(self.config.margin_scale)
        logits_GC, regulariser = margin(student_cosine_GC, label_G, norm_G, agreement_G, self.shards)
        loss = softmax_loss(logits_GC, label_G, self.shards)
        return loss if regulariser is None else loss + regulariser

    def _sample(self, label_G: Tensor, step: int) -> Tensor:
        """The batch's classes, filled up at random to the sampled number, at least one. Sorted int64 (C,)."""
        total = len(self.weight)
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + step) * 4096 + distributed.rank())
        sampling_score = torch.rand(total, generator=generator).to(label_G.device)
        sampling_score[label_G[label_G >= 0]] = 2.0
        count = max(int(self.config.sample_rate * total), int((sampling_score == 2.0).sum()), 1)
        return sampling_score.topk(count, sorted=False).indices.sort().values


def margin_inputs(
    needs: frozenset[str], student_BD: Tensor | None, teacher_BD: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Margin inputs of all ranks' images: embedding norms (G,), and cosines to the teacher's (G,), without gradient."""
    norm_G = distributed.gather_rows(student_BD.norm(dim=1)) if Needs.NORM in needs else None
    if Needs.TEACHER_WIDTH not in needs:
        return norm_G, None
    teacher_cosine_B = F.cosine_similarity(student_BD.detach(), teacher_BD, dim=1)
    return norm_G, distributed.gather_rows(teacher_cosine_B)
