"""The training objective: the identity loss plus weighted named terms. The embedded loop and arcface_torch share this module.

No loss is imported here; a recipe names them (`config.terms`). A term is a module `LossInputs -> scalar`, built by a frozen spec
with `weight`, `warmup_epochs`, `needs` and `build(dims)`.

B, G = images on this rank, on all ranks; C = classes on this rank; D = embedding width; K = negatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.sharding import SINGLE_SHARD


@dataclass(frozen=True)
class LossDims:
    """Dimensions that the parameters and buffers of a term depend on.

    also: additional sizes of each image in a step. Channels: of each pair of maps and of a prior's features, where needed. seed:
    the run's, of a term's initial weights and draws.
    """

    embedding_size: int
    num_faces: int = 0
    num_classes: int = 0
    also: int = 0
    student_channels: tuple[int, ...] = ()
    teacher_channels: tuple[int, ...] = ()
    generative_channels: int = 0
    seed: int = 0


@dataclass
class LossInputs:
    """Everything that a term may use in one step. Teacher tensors are None where no term needs them; none has a gradient.

    row_B: index of each image in the training set. batch_index: index of the batch since the start of training; it seeds the
    sampling of a term.
    Cosines and labels of all ranks (label_G) are None in a run without labels, and label_B is then all -1.
    student_maps, teacher_maps: pairs of intermediate maps, shallow to deep, (B, C, H, W) with one H and W in a pair, in float32;
    empty where no term needs maps. generative_BCHW: a prior's features of the LR images, of their own size.
    also_PBD: the same images at the recipe's additional sizes (`also_px`, in that order). px_B: px of each image, where it is
    sampled.
    """

    student_BD: torch.Tensor
    label_B: torch.Tensor
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
    batch_index: int = 0
    shards: Any = SINGLE_SHARD


class Objective(nn.Module):
    """loss = identity_weight * identity + sum of weight * term; a term of weight 0 is not built. No identity without labels.

    terms: name -> spec. Its parameters (the relation networks) are trained with the student; both are saved, separately.
    """

    def __init__(self, terms: dict[str, Any], dims: LossDims, identity_weight: float = 1.0):
        super().__init__()
        self.identity_weight = identity_weight
        self.specs = used_terms(terms)
        self.terms = nn.ModuleDict({name: spec.build(dims) for name, spec in self.specs.items()})

    @property
    def needs(self) -> frozenset[str]:
        """What the terms need together, of `losses.term.Needs`."""
        return frozenset().union(*(spec.needs for spec in self.specs.values()))

    def forward(self, inputs: LossInputs, identity: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """Every term by its name, unweighted, and their weighted sum as "loss". `identity` is the margin loss of the head, None
        in a run without labels, whose result then has no "identity".

        A term's `metrics` (name -> scalar) are logged and not added to the loss.
        """
        out = {} if identity is None else {"identity": identity}
        # Terms on feature maps use no embedding, and DistributedDataParallel waits for a gradient of every layer.
        total = 0.0 * inputs.student_BD.sum() if identity is None else self.identity_weight * identity
        for name, term in self.terms.items():
            out[name] = term(inputs)
            out |= {f"{name}_{what}": value for what, value in getattr(term, "metrics", {}).items()}
            total = total + self.weight(name, inputs.epoch) * out[name]
        return {"loss": total} | out

    def weight(self, name: str, epoch: float) -> float:
        """The term's weight, ramped up linearly over its first `warmup_epochs`."""
        spec = self.specs[name]
        ramp = min(1.0, epoch / spec.warmup_epochs) if spec.warmup_epochs > 0 else 1.0
        return spec.weight * ramp


def used_terms(terms: dict[str, Any]) -> dict[str, Any]:
    """The specs of the terms that are built: those whose weight is not 0."""
    return {name: spec for name, spec in terms.items() if spec.weight != 0}


def build_loss_inputs(
    student_XD: torch.Tensor,
    batch: Any,
    head: Any,
    batch_index: int = 0,
    epoch: float = 0.0,
    student_maps: Sequence[torch.Tensor] = (),
) -> LossInputs:
    """Collect both networks' outputs for a batch: embeddings, cosines, candidates, maps. Half precision is cast to float32.

    student_XD: the batch's images, followed by the same images at each additional size; likewise the student's maps.
    """
    student_XD, *student_maps = (at_least_float32(tensor) for tensor in (student_XD, *student_maps))
    count = len(batch.label_B)
    student_BD, also_XD = student_XD[:count], student_XD[count:]
    student_maps = tuple(tensor[:count] for tensor in student_maps)
    teacher_BD = None if batch.teacher_BD is None else F.normalize(at_least_float32(batch.teacher_BD))
    anchor_BD, negative_BKD = (
        None if tensor is None else at_least_float32(tensor) for tensor in (batch.anchor_BD, batch.negative_BKD)
    )
    cosines = head.cosines(student_BD, teacher_BD, batch.label_B, batch_index)
    return LossInputs(
        student_BD=student_BD,
        label_B=batch.label_B,
        row_B=batch.row_B,
        teacher_BD=teacher_BD,
        student_cosine_GC=cosines.student_GC,
        teacher_cosine_GC=cosines.teacher_GC,
        label_G=cosines.label_G,
        anchor_BD=anchor_BD,
        has_anchor_B=batch.has_anchor_B,
        negative_BKD=negative_BKD,
        negative_exists_BK=batch.negative_exists_BK,
        student_maps=student_maps,
        teacher_maps=tuple(at_least_float32(tensor) for tensor in batch.teacher_maps),
        also_PBD=also_XD.unflatten(0, (-1, count)) if len(also_XD) else None,
        px_B=batch.px_B,
        generative_BCHW=batch.generative_BCHW,
        epoch=epoch,
        batch_index=batch_index,
        shards=head.shards,
    )
