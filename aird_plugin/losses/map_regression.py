"""Regression of the teacher's feature maps by a student with the same channels, as a recogniser that is its own student has.

FitNet (arXiv 1412.6550) without its adapter, which two networks of one graph do not need. A difference counts in units of the
teacher's standard deviation of its channel, so that neither a wide channel nor a deep map outweighs the others. This form and its
weight are this project's choice, made on training identities held out (docs/benchmarks/zoo.md).

B = images, C = channels, H, W = height and width, the same for both maps of a pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.at import check_pairs
from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.ranges import at_least
from aird_plugin.losses.sharding import SINGLE_SHARD
from aird_plugin.losses.term import Needs, TermConfig

# A channel's variance counts as at least this share of the mean variance of its map: some channels are nearly constant.
MIN_SHARE = 0.01
# Below every variance of a trained map: a constant map divides by it.
MIN_VARIANCE = 1e-12


def map_regression_loss(
    student_maps: Sequence[torch.Tensor], teacher_maps: Sequence[torch.Tensor], shards=SINGLE_SHARD
) -> torch.Tensor:
    """Mean over pairs, channels, images and positions of (student - teacher)^2 / the channel's variance. 0 for equal maps.

    Each map is (B, C, H, W). The variance is that of the teacher's map over images and positions, on all ranks. No gradient
    reaches the teacher. Raises ValueError where the shapes of a pair differ.
    """
    check_pairs(student_maps, teacher_maps)
    pairs = list(zip(student_maps, teacher_maps, strict=True))
    if any(student.shape != teacher.shape for student, teacher in pairs):
        raise ValueError(
            f"the maps of a pair must have one shape; got {[(tuple(s.shape), tuple(t.shape)) for s, t in pairs]}. Student and "
            "teacher must be one architecture; losses.fitnet:FitNet adapts the channels of two"
        )
    return torch.stack([_scaled_gap(student_BCHW, teacher_BCHW.detach(), shards) for student_BCHW, teacher_BCHW in pairs]).mean()


def _scaled_gap(student_BCHW: torch.Tensor, teacher_BCHW: torch.Tensor, shards) -> torch.Tensor:
    student_BCHW, teacher_BCHW = at_least_float32(student_BCHW), at_least_float32(teacher_BCHW)
    mean_C = shards.mean_over_ranks(teacher_BCHW.mean((0, 2, 3)))
    variance_C = shards.mean_over_ranks((teacher_BCHW - mean_C[:, None, None]).square().mean((0, 2, 3)))
    variance_C = (variance_C + MIN_SHARE * variance_C.mean()).clamp(min=MIN_VARIANCE)
    return ((student_BCHW - teacher_BCHW).square().mean((0, 2, 3)) / variance_C).mean()


@dataclass(frozen=True)
class MapRegression(TermConfig):
    """Recipe keys of a term named `maps`: `maps_weight`, `maps_warmup_epochs`, `maps_skip`.

    skip: number of maps left out, the largest first; those with more rows than the LR image hold what it does not show.
    Raises ValueError for a value below 0.
    """

    weight: float = 15.0
    skip: int = 0

    needs = frozenset({Needs.MAPS})

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "skip")

    def build(self, dims) -> nn.Module:
        """Raises ValueError where the channels of a pair differ, and where `skip` leaves no pair."""
        student, teacher = dims.student_channels[self.skip :], dims.teacher_channels[self.skip :]
        if student != teacher:
            raise ValueError(
                f"maps of student and teacher have {student} and {teacher} channels; this term compares networks of one "
                "architecture, use losses.fitnet:FitNet for others"
            )
        if not student:
            raise ValueError(f"skip={self.skip} leaves none of {len(dims.student_channels)} maps; allowed is a smaller one")
        return MapRegressionLoss(self.skip)


class MapRegressionLoss(nn.Module):
    """`map_regression_loss` of a step's feature maps, without the `skip` largest."""

    def __init__(self, skip: int = 0):
        super().__init__()
        self.skip = skip

    def forward(self, inputs) -> torch.Tensor:
        return map_regression_loss(inputs.student_maps[self.skip :], inputs.teacher_maps[self.skip :], inputs.shards)
