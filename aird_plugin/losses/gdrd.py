"""Generative regression, stage one of GDRD (arXiv 2409.06371): L_gen = mean_i |S_b(x_i) - T_g(x_i)|^2, both on the LR image.

S_b is the student's trunk, all layers before the embedding, followed by a 1x1 convolution that maps its channels to the
teacher's. T_g is the encoder of a diffusion model for face super-resolution (see prior/encoder.py). Of the paper's text only this
equation was available. Interpretation: |.|^2 is the mean over channels and positions of features standardised by channel
(data/bank/prior_cache.py), so that a constant prediction has loss 1 and the loss is 1 - R^2; the sum would only change the
weight.

B = images on this rank, C = channels, H, W = height and width of a map.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.term import Needs, TermConfig


def gdrd_loss(student_BCHW: torch.Tensor, generative_BCHW: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of two maps, in float32; the finer map is first average-pooled to the coarser one's size.

    No gradient reaches the prior. Raises ValueError where the number of images or channels differs.
    """
    if student_BCHW.shape[:2] != generative_BCHW.shape[:2]:
        raise ValueError(
            "generative regression needs maps with equal numbers of images and channels; "
            f"got student {tuple(student_BCHW.shape)}, prior {tuple(generative_BCHW.shape)}"
        )
    sides = [min(pair) for pair in zip(student_BCHW.shape[2:], generative_BCHW.shape[2:], strict=True)]
    student, generative = (F.adaptive_avg_pool2d(at_least_float32(x), sides) for x in (student_BCHW, generative_BCHW.detach()))
    return F.mse_loss(student, generative)


@dataclass(frozen=True)
class GDRD(TermConfig):
    """Recipe keys of the term: `gen_weight`, `gen_warmup_epochs`."""

    needs = frozenset({Needs.GENERATIVE})

    def build(self, dims) -> nn.Module:
        return GDRDLoss(dims.student_channels[-1], dims.generative_channels, dims.seed)


class GDRDLoss(nn.Module):
    """The 1x1 adapter and `gdrd_loss` of the student's last map. The seed alone determines the adapter's initial weights."""

    def __init__(self, student_channels: int, generative_channels: int, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        bound = student_channels**-0.5
        weight = torch.empty(generative_channels, student_channels, 1, 1).uniform_(-bound, bound, generator=generator)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(generative_channels))

    def forward(self, inputs) -> torch.Tensor:
        """Half-precision maps, as autocast returns them, are cast to float32, the dtype of the adapter's weights."""
        student_BCHW = F.conv2d(at_least_float32(inputs.student_maps[-1]), self.weight, self.bias)
        return gdrd_loss(student_BCHW, inputs.generative_BCHW)
