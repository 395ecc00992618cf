"""RPCL, rival penalised competitive learning for low-resolution faces (Li et al., Neural Networks 2022): Arc, Cos and Mag.

In addition to the margin on the own class, the logit of an image's most similar other class r (its rival) is modified where its
cosine exceeds a threshold:

    Arc   cos(angle_r) > 0.8:  factor * cos(angle_r - 0.5)       own class: ArcFace, 0.5
    Cos   cos(angle_r) > 0.7:  factor * (cos(angle_r) + 0.2)     own class: CosFace, 0.2
    Mag   cos(angle_r) > 0.7:           cos(angle_r - 0.225)     own class: MagFace

The paper's text was not available; the formulas follow its code (CMACH508/RPCL_LowResolutionFaceRecognition,
RPCL/fc_layer_RPCL.py and magface_lr/magface.py), with s = 32, a factor of 0.2 for Arc and Cos, lambda_g = 20 for Mag, and margins
only where the own cosine is above 0. Two notes:
- In the code's Arc branch, a rival below the threshold gets the logit of the OWN class. Here it keeps its own cosine, as in the
  Cos and Mag branches: otherwise a rising own cosine would raise a wrong class with it.
- The factor of 0.2 reduces a close rival's logit, and with it its gradient: the loss penalises a rival that is hard to separate
  less. A factor of 1 (`margin_rival_factor`) raises the logit instead and penalises the rival more, as the method's name says.
The rival is the most similar class over all ranks; of an exact tie over ranks, both.

G = images on all ranks, C = classes on this rank.
"""

from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.magface import MagFace, norm_and_margin, norm_loss
from aird_plugin.losses.margin import COSINE_LIMIT, easy_angular, replace_target, target_cosine
from aird_plugin.losses.ranges import angles, at_least, between
from aird_plugin.losses.sharding import SINGLE_SHARD, check_labels, is_target
from aird_plugin.losses.term import MarginConfig


def rival_mask(cosine_GC: torch.Tensor, label_G: torch.Tensor, shards=SINGLE_SHARD) -> torch.Tensor:
    """Mask of the most similar class, over all ranks, other than the image's own. bool (G, C), at most one True per row."""
    others_GC = cosine_GC.detach().masked_fill(is_target(cosine_GC, label_G), -torch.inf)
    highest_G, index_G = others_GC.max(1)
    here_G = (highest_G == shards.max(highest_G)) & highest_G.isfinite()
    return here_G[:, None] & is_target(cosine_GC, index_G)


def reduce_angle(cosine: torch.Tensor, margin: float) -> torch.Tensor:
    """cos(angle - margin), radians."""
    return torch.cos(torch.acos(cosine.clamp(-COSINE_LIMIT, COSINE_LIMIT)) - margin)


@dataclass(frozen=True)
class RivalMarginConfig(MarginConfig):
    """Recipe keys of RPCL-Arc and RPCL-Cos. rival_threshold: the cosine above which a rival's logit is modified."""

    m: float
    rival_m: float
    rival_factor: float = 0.2
    rival_threshold: float = 0.7

    def __post_init__(self):
        at_least(self, 0, "rival_factor")
        _check(self)

    def build(self, scale: float) -> nn.Module:
        return RivalMargin(self, scale)


@dataclass(frozen=True)
class Arc(RivalMarginConfig):
    """Recipe keys of RPCL-Arc (`margin_m`, ...). m, rival_m: radians."""

    m: float = 0.5
    rival_m: float = 0.5
    rival_threshold: float = 0.8

    def __post_init__(self):
        super().__post_init__()
        angles(self, "m", "rival_m")

    def with_margin(self, own_G: torch.Tensor, norm_G: torch.Tensor | None) -> torch.Tensor:
        """The own cosine with the margin applied."""
        return easy_angular(own_G, self.m)

    def modified_rival(self, cosine: torch.Tensor) -> torch.Tensor:
        """The cosine of a rival above the threshold, modified."""
        return self.rival_factor * reduce_angle(cosine, self.rival_m)


@dataclass(frozen=True)
class Cos(RivalMarginConfig):
    """Recipe keys of RPCL-Cos (`margin_m`, ...). m, rival_m: differences of cosines."""

    m: float = 0.2
    rival_m: float = 0.2

    def __post_init__(self):
        super().__post_init__()
        between(self, 0, 1, "m", "rival_m")

    def with_margin(self, own_G: torch.Tensor, norm_G: torch.Tensor | None) -> torch.Tensor:
        """The own cosine with the margin applied."""
        return torch.where(own_G > 0, own_G - self.m, own_G)

    def modified_rival(self, cosine: torch.Tensor) -> torch.Tensor:
        """The cosine of a rival above the threshold, modified."""
        return self.rival_factor * (cosine + self.rival_m)


@dataclass(frozen=True)
class Mag(MagFace):
    """Recipe keys of RPCL-Mag: those of MagFace (see there on norms) and of the rival. rival_m: radians."""

    lambda_g: float = 20.0
    rival_m: float = 0.225
    rival_threshold: float = 0.7

    def __post_init__(self):
        super().__post_init__()
        angles(self, "rival_m")
        _check(self)

    def build(self, scale: float) -> nn.Module:
        return MagRivalMargin(self, scale)

    def with_margin(self, own_G: torch.Tensor, norm_G: torch.Tensor | None) -> torch.Tensor:
        """The own cosine with the margin applied."""
        return easy_angular(own_G, norm_and_margin(norm_G, self)[1])

    def modified_rival(self, cosine: torch.Tensor) -> torch.Tensor:
        """The cosine of a rival above the threshold, modified."""
        return reduce_angle(cosine, self.rival_m)


def _check(spec) -> None:
    if not -1 <= spec.rival_threshold <= 1:
        raise ValueError(f"rival_threshold must be a cosine, -1 to 1; got {spec.rival_threshold!r}")


class RivalMargin(nn.Module):
    """The margin on the own class, and the modified logit of the rival."""

    def __init__(self, spec: Arc | Cos | Mag, scale: float):
        super().__init__()
        self.spec, self.scale = spec, scale

    def forward(self, cosine_GC, label_G, norm_G=None, agreement_G=None, shards=SINGLE_SHARD):
        check_labels(cosine_GC, label_G)
        spec = self.spec
        close_GC = rival_mask(cosine_GC, label_G, shards) & (cosine_GC > spec.rival_threshold)
        modified_GC = torch.where(close_GC, spec.modified_rival(cosine_GC), cosine_GC)
        own_G = spec.with_margin(target_cosine(cosine_GC, label_G), norm_G)
        return self.scale * replace_target(modified_GC, label_G, own_G), None


class MagRivalMargin(RivalMargin):
    """`RivalMargin` with MagFace's regulariser."""

    def forward(self, cosine_GC, label_G, norm_G=None, agreement_G=None, shards=SINGLE_SHARD):
        spec = self.spec
        logits_GC, _ = super().forward(cosine_GC, label_G, norm_G, agreement_G, shards)
        return logits_GC, spec.lambda_g * norm_loss(norm_and_margin(norm_G, spec)[0], label_G, spec.u_a, shards)
