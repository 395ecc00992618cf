"""RPCL, rival penalised competitive learning for low-resolution faces (Li et al., Neural Networks 2022): Arc, Cos and Mag.

Beside the margin on the own class, the strongest other class r of a face (its rival) is treated where it comes close:

    Arc   cos(angle_r) > 0.8:  factor * cos(angle_r - 0.5)       own class: ArcFace, 0.5
    Cos   cos(angle_r) > 0.7:  factor * (cos(angle_r) + 0.2)     own class: CosFace, 0.2
    Mag   cos(angle_r) > 0.7:           cos(angle_r - 0.225)     own class: MagFace

The paper's text was not to be had; the formulas are read off its code (CMACH508/RPCL_LowResolutionFaceRecognition,
RPCL/fc_layer_RPCL.py and magface_lr/magface.py), with s = 32, a factor of 0.2 for Arc and Cos, lambda_g = 20 for Mag, and margins
only where the own cosine is above 0. Two readings:
- In the Arc branch a rival that is not close gets the logit of the OWN class there. We leave it its own cosine, as the Cos and
  Mag branches do: otherwise raising the own cosine would raise a wrong class with it.
- The factor of 0.2 makes a close rival's logit smaller, and with it its push: a rival that is hard to part from is let go. With a
  factor of 1 (`margin_rival_factor`) it is raised instead and pushed away harder, as the method's name says.
The rival is the strongest class of all ranks; of an exact tie over ranks, both.

G = faces on all ranks, C = classes on this rank.
"""

from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.magface import MagFace, length_loss, margin_of
from aird_plugin.losses.margin import COSINE_LIMIT, easy_angular, own_cosine, put_own
from aird_plugin.losses.sharding import WHOLE, check_labels, is_target


def rivals(cosine_GC: torch.Tensor, label_G: torch.Tensor, shards=WHOLE) -> torch.Tensor:
    """Which class is the strongest that is not the face's own, over all ranks. bool (G, C), at most one True a row."""
    others_GC = cosine_GC.detach().masked_fill(is_target(cosine_GC, label_G), -torch.inf)
    strongest_G, place_G = others_GC.max(1)
    here_G = (strongest_G == shards.max(strongest_G)) & strongest_G.isfinite()
    return here_G[:, None] & is_target(cosine_GC, place_G)


def nearer(cosine: torch.Tensor, margin: float) -> torch.Tensor:
    """cos(angle - margin), radians."""
    return torch.cos(torch.acos(cosine.clamp(-COSINE_LIMIT, COSINE_LIMIT)) - margin)


class Rivals:
    """What RPCL-Arc and RPCL-Cos share: keys m, rival_m, rival_factor and rival_threshold, the cosine of a close rival."""

    needs = frozenset()

    def __post_init__(self):
        _check(self, "m", "rival_m", "rival_factor")

    def build(self, scale: float) -> nn.Module:
        """The margin as a module."""
        return RivalMargin(self, scale)


@dataclass(frozen=True)
class Arc(Rivals):
    """Recipe keys of RPCL-Arc (`margin_m`, ...). m, rival_m: radians."""

    m: float = 0.5
    rival_m: float = 0.5
    rival_factor: float = 0.2
    rival_threshold: float = 0.8

    def own(self, own_G, norm_G):
        """With the margin."""
        return easy_angular(own_G, self.m)

    def rival(self, cosine):
        """A close rival's."""
        return self.rival_factor * nearer(cosine, self.rival_m)


@dataclass(frozen=True)
class Cos(Rivals):
    """Recipe keys of RPCL-Cos (`margin_m`, ...). m, rival_m: differences of cosines."""

    m: float = 0.2
    rival_m: float = 0.2
    rival_factor: float = 0.2
    rival_threshold: float = 0.7

    def own(self, own_G, norm_G):
        """With the margin."""
        return torch.where(own_G > 0, own_G - self.m, own_G)

    def rival(self, cosine):
        """A close rival's."""
        return self.rival_factor * (cosine + self.rival_m)


@dataclass(frozen=True)
class Mag(MagFace):
    """Recipe keys of RPCL-Mag: MagFace's (see there on lengths), and the rival's. rival_m: radians."""

    lambda_g: float = 20.0
    rival_m: float = 0.225
    rival_threshold: float = 0.7

    def __post_init__(self):
        super().__post_init__()
        _check(self, "rival_m")

    def build(self, scale: float) -> nn.Module:
        """The margin as a module."""
        return MagRivalMargin(self, scale)

    def own(self, own_G, norm_G):
        """With the margin."""
        return easy_angular(own_G, margin_of(norm_G, self)[1])

    def rival(self, cosine):
        """A close rival's."""
        return nearer(cosine, self.rival_m)


def _check(spec, *keys: str) -> None:
    for key in keys:
        if not getattr(spec, key) >= 0:
            raise ValueError(f"{key} must be 0 or more; got {getattr(spec, key)!r}")
    if not -1 <= spec.rival_threshold <= 1:
        raise ValueError(f"rival_threshold is a cosine; got {spec.rival_threshold!r}")


class RivalMargin(nn.Module):
    """The margin on the own class, and the treatment of the rival."""

    def __init__(self, spec: Arc | Cos | Mag, scale: float):
        super().__init__()
        self.spec, self.scale = spec, scale

    def forward(self, cosine_GC, label_G, norm_G=None, agreement_G=None, shards=WHOLE):
        check_labels(cosine_GC, label_G)
        spec = self.spec
        close_GC = rivals(cosine_GC, label_G, shards) & (cosine_GC > spec.rival_threshold)
        treated_GC = torch.where(close_GC, spec.rival(cosine_GC), cosine_GC)
        return self.scale * put_own(treated_GC, label_G, spec.own(own_cosine(cosine_GC, label_G), norm_G)), None


class MagRivalMargin(RivalMargin):
    """With MagFace's regulariser."""

    def forward(self, cosine_GC, label_G, norm_G=None, agreement_G=None, shards=WHOLE):
        spec = self.spec
        logits_GC, _ = super().forward(cosine_GC, label_G, norm_G, agreement_G, shards)
        return logits_GC, spec.lambda_g * length_loss(margin_of(norm_G, spec)[0], label_G, spec.u_a, shards)
