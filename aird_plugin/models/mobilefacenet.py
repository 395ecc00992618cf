"""Two variants of MobileFaceNet (Chen et al., 2018): arcface_torch's wider `mbf`, and `mfn`, the published layout.

Both use inverted bottlenecks (1x1 expansion, depthwise 3x3, linear 1x1 projection) and a global depthwise convolution, but have
different widths and state-dict keys.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def conv_bn(
    width_in: int, width: int, kernel: int | tuple[int, int] = 1, stride: int = 1, padding: int = 0, groups: int = 1
) -> list[nn.Module]:
    """A convolution without bias, followed by BatchNorm."""
    conv = nn.Conv2d(width_in, width, kernel, stride, padding, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(width)]


def conv_bn_prelu(*args, **kwargs) -> list[nn.Module]:
    """`conv_bn` followed by PReLU with one slope per channel."""
    modules = conv_bn(*args, **kwargs)
    return [*modules, nn.PReLU(modules[0].out_channels)]


def kaiming_fan_out(network: nn.Module) -> None:
    """He initialisation by fan-out for convolutions and linear layers, as in arcface_torch's `mbf`."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class Layers(nn.Module):
    """A sequence of modules named `layers`, for the nesting of arcface_torch's keys; optionally residual."""

    def __init__(self, modules: Sequence[nn.Module], residual: bool = False):
        super().__init__()
        self.layers = nn.Sequential(*modules)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.layers(x)
        return x + out if self.residual else out


def mbf_bottleneck(width_in: int, width: int, expanded: int, stride: int) -> Layers:
    """Bottleneck of `mbf`; residual where the stride is 1."""
    return Layers(
        [
            Layers(conv_bn_prelu(width_in, expanded)),
            Layers(conv_bn_prelu(expanded, expanded, 3, stride, 1, groups=expanded)),
            Layers(conv_bn(expanded, width)),
        ],
        residual=stride == 1,
    )


class ArcfaceMobileFaceNet(nn.Module):
    """`mbf`: (B, 3, 112, 112) -> (B, embedding_size), with arcface_torch's keys (blocks 1, 4, 6, 2; scale 2).

    He initialisation by fan-out, BatchNorm at 1 and 0, PReLU at 0.25.
    """

    def __init__(self, embedding_size: int = 512):
        super().__init__()

        def residuals(width: int, expanded: int, count: int) -> Layers:
            return Layers([mbf_bottleneck(width, width, expanded, stride=1) for _ in range(count)])

        self.layers = nn.ModuleList(
            [
                Layers(conv_bn_prelu(3, 128, 3, 2, 1)),
                # 64 groups over 128 channels, i.e. two channels per group, as upstream; not depthwise.
                Layers(conv_bn_prelu(128, 128, 3, 1, 1, groups=64)),
                mbf_bottleneck(128, 128, 128, stride=2),
                residuals(128, 128, 4),
                mbf_bottleneck(128, 256, 256, stride=2),
                residuals(256, 256, 6),
                mbf_bottleneck(256, 256, 512, stride=2),
                residuals(256, 256, 2),
            ]
        )
        self.conv_sep = Layers(conv_bn_prelu(256, 512))
        self.features = Layers(
            [
                Layers(conv_bn(512, 512, 7, groups=512)),
                nn.Flatten(),
                nn.Linear(512, embedding_size, bias=False),
                nn.BatchNorm1d(embedding_size),
            ]
        )
        kaiming_fan_out(self)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        for layer in self.layers:
            x_B3HW = layer(x_B3HW)
        return self.features(self.conv_sep(x_B3HW))


class ConvUnit(nn.Module):
    """Convolution, BatchNorm and, unless linear, PReLU under the names conv, bn, prelu."""

    def __init__(self, *args, linear: bool = False, **kwargs):
        super().__init__()
        self.conv, self.bn = conv_bn(*args, **kwargs)
        self.prelu = nn.Identity() if linear else nn.PReLU(self.conv.out_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.prelu(self.bn(self.conv(x_BCHW)))


class Bottleneck(nn.Module):
    """Bottleneck of `mfn`; residual where width and side do not change."""

    def __init__(self, width_in: int, width: int, expansion: int, stride: int):
        super().__init__()
        expanded = width_in * expansion
        self.residual = stride == 1 and width_in == width
        self.conv = nn.Sequential(
            *conv_bn_prelu(width_in, expanded),
            *conv_bn_prelu(expanded, expanded, 3, stride, 1, groups=expanded),
            *conv_bn(expanded, width),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out = self.conv(x_BCHW)
        return x_BCHW + out if self.residual else out


class MobileFaceNet(nn.Module):
    """`mfn`: the published layout (Chen et al., 2018, table 1) for 112x96 images; 128-d in the paper.

    Takes InsightFace's input (B, 3, 112, 112), (x - 127.5) / 127.5. The forward pass crops 8 columns from either side and
    rescales the values to the published (x - 127.5) / 128. He initialisation by fan-out, PReLU at 0.25.
    """

    columns = slice(8, 104)
    # (expansion t, width c, blocks n, stride s of the first)
    BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))

    def __init__(self, embedding_size: int = 128):
        super().__init__()
        self.conv1 = ConvUnit(3, 64, 3, 2, 1)
        self.dw_conv1 = ConvUnit(64, 64, 3, 1, 1, groups=64)
        blocks, width_in = [], 64
        for expansion, width, count, stride in self.BOTTLENECKS:
            for index in range(count):
                blocks.append(Bottleneck(width_in, width, expansion, stride if index == 0 else 1))
                width_in = width
        self.blocks = nn.Sequential(*blocks)
        self.conv2 = ConvUnit(width_in, 512)
        self.linear7 = ConvUnit(512, 512, (7, 6), groups=512, linear=True)
        self.linear1 = ConvUnit(512, embedding_size, linear=True)
        kaiming_fan_out(self)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        x = x_B3HW[..., self.columns] * (127.5 / 128.0)
        x = self.conv2(self.blocks(self.dw_conv1(self.conv1(x))))
        return torch.flatten(self.linear1(self.linear7(x)), 1)
