"""What is minimised: the identity loss plus weighted terms, each under its own name. Both hosts share this module.

No loss is named here; a recipe names them (`config.terms`). A term is whatever a frozen spec builds: a module `views -> scalar`,
whose spec has `weight`, `warmup_epochs`, `needs` and `build(sizes)`.

B, G = faces on this rank, on all ranks; C = classes on this rank; D = embedding width; K = negatives.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.sharding import WHOLE


@dataclass(frozen=True)
class Sizes:
    """What a term's parameters and memories are sized by.

    also: further sizes of each face in a step. Channels: of each pair of maps and of a prior's features, where a term needs them.
    """

    embedding_size: int
    num_faces: int = 0
    num_classes: int = 0
    also: int = 0
    student_channels: tuple[int, ...] = ()
    teacher_channels: tuple[int, ...] = ()
    generative_channels: int = 0


@dataclass
class Views:
    """All that a term may look at in one step. Teacher tensors are None where no term needs them; none of them has a gradient.

    row_B: number of each face in the training set. draw: number of the batch from the start of training, for what a term draws.
    student_maps, teacher_maps: pairs of intermediate maps, shallow to deep, (B, C, H, W) with one H and W in a pair, in float32;
    empty where no term needs maps. generative_BCHW: what a prior's encoder says of the low faces; its sides are its own.
    also_PBD: the same faces at the recipe's further sizes (`also_px`, in that order). px_B: each face's size, where it is drawn.
    """

    student_BD: torch.Tensor
    person_B: torch.Tensor
    row_B: torch.Tensor | None = None
    teacher_BD: torch.Tensor | None = None
    student_cosine_GC: torch.Tensor | None = None
    teacher_cosine_GC: torch.Tensor | None = None
    label_G: torch.Tensor | None = None
    anchor_BD: torch.Tensor | None = None
    has_anchor_B: torch.Tensor | None = None
    negative_BKD: torch.Tensor | None = None
    negative_exists_BK: torch.Tensor | None = None
    student_maps: tuple[torch.Tensor, ...] = ()
    teacher_maps: tuple[torch.Tensor, ...] = ()
    also_PBD: torch.Tensor | None = None
    px_B: torch.Tensor | None = None
    generative_BCHW: torch.Tensor | None = None
    epoch: float = 0.0
    draw: int = 0
    shards: Any = WHOLE


class Objective(nn.Module):
    """loss = identity_weight * identity + sum of weight * term; a term of weight 0 is not built.

    terms: name -> spec. Its parameters (the relation networks) are trained with the student; both are saved, apart.
    """

    def __init__(self, terms: dict[str, Any], sizes: Sizes, identity_weight: float = 1.0):
        super().__init__()
        self.identity_weight = identity_weight
        self.specs = {name: spec for name, spec in terms.items() if spec.weight != 0}
        self.terms = nn.ModuleDict({name: spec.build(sizes) for name, spec in self.specs.items()})

    @property
    def needs(self) -> frozenset[str]:
        """What the terms ask for: "teacher", "teacher_cosine", "teacher_width", "neighbours", "adapted", "rows", "maps"..."""
        return frozenset().union(*(spec.needs for spec in self.specs.values()))

    def forward(self, views: Views, identity: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every term by its name, unweighted, and their weighted sum as "loss". `identity` is the host's own margin loss.

        What a term keeps in `watched` (name -> scalar) is told beside it and added to nothing.
        """
        out = {"identity": identity}
        total = self.identity_weight * identity
        for name, term in self.terms.items():
            out[name] = term(views)
            out |= {f"{name}_{what}": value for what, value in getattr(term, "watched", {}).items()}
            total = total + self.weight(name, views.epoch) * out[name]
        return {"loss": total} | out

    def weight(self, name: str, epoch: float) -> float:
        """The term's weight, ramped up linearly over its first `warmup_epochs`."""
        spec = self.specs[name]
        ramp = min(1.0, epoch / spec.warmup_epochs) if spec.warmup_epochs > 0 else 1.0
        return spec.weight * ramp


def look(
    student_XD: torch.Tensor, batch, head, draw: int = 0, epoch: float = 0.0,
    student_maps=(), teacher_maps=(), generative_BCHW=None,
) -> Views:  # fmt: skip
    """Put together what both networks say of a batch: embeddings, cosines, candidates, maps. Half precision ends here.

    student_XD: the batch's faces and, behind them, the same faces at each further size; so are the student's maps.
    """
    student_XD, *student_maps = (at_least_float32(tensor) for tensor in (student_XD, *student_maps))
    count = len(batch.person_B)
    student_BD, also_XD = student_XD[:count], student_XD[count:]
    student_maps = tuple(tensor[:count] for tensor in student_maps)
    teacher_BD = None if batch.teacher_BD is None else F.normalize(at_least_float32(batch.teacher_BD))
    anchor_BD, negative_BKD = (
        None if tensor is None else at_least_float32(tensor) for tensor in (batch.anchor_BD, batch.negative_BKD)
    )
    cosines = head.cosines(student_BD, teacher_BD, batch.person_B, draw)
    return Views(
        student_BD=student_BD, person_B=batch.person_B, row_B=batch.row_B, teacher_BD=teacher_BD,
        student_cosine_GC=cosines.student_GC, teacher_cosine_GC=cosines.teacher_GC, label_G=cosines.label_G,
        anchor_BD=anchor_BD, has_anchor_B=batch.has_anchor_B,
        negative_BKD=negative_BKD, negative_exists_BK=batch.negative_exists_BK,
        student_maps=student_maps, teacher_maps=tuple(at_least_float32(tensor) for tensor in teacher_maps),
        also_PBD=also_XD.unflatten(0, (-1, count)) if len(also_XD) else None, px_B=batch.px_B,
        generative_BCHW=generative_BCHW, epoch=epoch, draw=draw, shards=head.shards,
    )  # fmt: skip
