"""Generative regression, stage one of GDRD (arXiv 2409.06371): L_gen = mean_i |S_b(x_i) - T_g(x_i)|^2, both fed the low face.

S_b is the student's trunk, all before the embedding layers, behind a 1x1 convolution that brings its channels to the teacher's.
T_g is the encoder of a diffusion model for face super-resolution (see prior/encoder.py). The paper's text was not to be had
beyond its equation. Read here: |.|^2 is the mean over channels and places of features standardised by channel
(data/bank_prior.py), so that a constant guess costs 1 and the number is 1 - R^2; the sum over them is the alternative, and a
matter of the weight alone.

B = faces on this rank, C = channels, H, W = sides of a map.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32


def generative_loss(student_BCHW: torch.Tensor, generative_BCHW: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of two maps, in float32; the finer one is first averaged to the coarser one's side.

    No gradient reaches the teacher. Raises ValueError where faces or channels differ in number.
    """
    if student_BCHW.shape[:2] != generative_BCHW.shape[:2]:
        raise ValueError(
            "generative regression needs maps of as many faces and channels: "
            f"student {tuple(student_BCHW.shape)}, prior {tuple(generative_BCHW.shape)}"
        )
    sides = [min(pair) for pair in zip(student_BCHW.shape[2:], generative_BCHW.shape[2:], strict=True)]
    student, generative = (F.adaptive_avg_pool2d(at_least_float32(x), sides) for x in (student_BCHW, generative_BCHW.detach()))
    return F.mse_loss(student, generative)


@dataclass(frozen=True)
class Generative:
    """Recipe keys of the term: `gen_weight`, `gen_warmup_epochs`."""

    weight: float = 1.0
    warmup_epochs: float = 0.0

    needs = frozenset({"generative"})

    def build(self, sizes) -> nn.Module:
        """The term as a module with its adapter: views -> scalar."""
        return GenerativeLoss(sizes.student_channels[-1], sizes.generative_channels)


class GenerativeLoss(nn.Module):
    """The 1x1 adapter and `generative_loss` on the last of the student's maps. The adapter is a function of the seed alone."""

    def __init__(self, student_channels: int, generative_channels: int, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        bound = student_channels**-0.5
        weight = torch.empty(generative_channels, student_channels, 1, 1).uniform_(-bound, bound, generator=generator)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(generative_channels))

    def forward(self, views) -> torch.Tensor:
        """Under the host's own precision: half-precision maps meet float32 weights here."""
        student_BCHW = F.conv2d(at_least_float32(views.student_maps[-1]), self.weight, self.bias)
        return generative_loss(student_BCHW, views.generative_BCHW)
