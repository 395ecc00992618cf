"""The improved ResNets of other face recognition repositories, with their state-dict keys: input_layer, body, output_layer.

`IRStyle` tells them apart: face.evoLVe's and InsightFace_Pytorch's IR and IR-SE, and AdaFace's and CVLface's IR. They are not
arcface_torch's iresnet under other names: the first block of the first stage subsamples in the place of a convolution.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

# Residual blocks per stage.
IR_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 101: (3, 13, 30, 3), 152: (3, 8, 36, 3)}
WIDTHS = (64, 128, 256, 512)
LINEAR_KEY = "output_layer.3.weight"
SQUEEZE = 16


class IRStyle(NamedTuple):
    """inner_bn: a BatchNorm between the first convolution of a block and its PReLU. se: the key of a squeeze-and-excitation
    module in a block, None without. affine: whether the last BatchNorm has a gain and an offset."""

    inner_bn: bool
    se: str | None
    affine: bool


IR = IRStyle(inner_bn=False, se=None, affine=True)
IR_SE = IRStyle(inner_bn=False, se="5", affine=True)
ADAFACE_IR = IRStyle(inner_bn=True, se=None, affine=False)


class SqueezeExcitation(nn.Module):
    """Channel weights from the mean over the map (arXiv 1709.01507)."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(width // SQUEEZE, width, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        weight_BC11 = self.fc2(self.fc1(x_BCHW.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x_BCHW * weight_BC11


class IRBlock(nn.Module):
    """BN-conv-(BN-)PReLU-conv-BN(-SE) plus the shortcut; the second convolution has the stride."""

    def __init__(self, width_in: int, width: int, stride: int, style: IRStyle):
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if width_in != width:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        layers = [nn.BatchNorm2d(width_in), nn.Conv2d(width_in, width, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(width)] if style.inner_bn else []
        layers += [nn.PReLU(width), nn.Conv2d(width, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width)]
        self.res_layer = nn.Sequential(*layers)
        if style.se:
            self.res_layer.add_module(style.se, SqueezeExcitation(width))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.res_layer(x_BCHW) + self.shortcut_layer(x_BCHW)


class IRNet(nn.Module):
    """(B, 3, 112, 112) -> (B, embedding_size), not normalised."""

    def __init__(self, blocks: tuple[int, ...], style: IRStyle, embedding_size: int = 512):
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.PReLU(WIDTHS[0])
        )
        body, width_in = [], WIDTHS[0]
        for width, depth in zip(WIDTHS, blocks, strict=True):
            body += [
                IRBlock(width_in if number == 0 else width, width, 2 if number == 0 else 1, style) for number in range(depth)
            ]
            width_in = width
        self.body = nn.Sequential(*body)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(WIDTHS[-1]),
            nn.Dropout(0.4 if style == ADAFACE_IR else 0.5),
            nn.Flatten(),
            nn.Linear(WIDTHS[-1] * 7 * 7, embedding_size),
            nn.BatchNorm1d(embedding_size, affine=style.affine),
        )

    def forward(self, x_B3HW: Tensor) -> Tensor:
        return self.output_layer(self.body(self.input_layer(x_B3HW)))


def stage_ends(blocks: tuple[int, ...]) -> tuple[str, ...]:
    """The names of the last block of each stage."""
    return tuple(f"body.{count - 1}" for count in itertools.accumulate(blocks))


def style_of(state: Mapping[str, Tensor]) -> tuple[tuple[int, ...], IRStyle] | None:
    """Blocks per stage and style of a state dict; None for another network."""
    if LINEAR_KEY not in state or "body.0.res_layer.1.weight" not in state:
        return None
    widths: list[int] = []
    while (key := f"body.{len(widths)}.res_layer.1.weight") in state:
        widths.append(state[key].shape[0])
    se = next((name for name in ("5", "6", "se_block") if f"body.0.res_layer.{name}.fc1.weight" in state), None)
    inner_bn = "body.0.res_layer.2.running_mean" in state
    return tuple(map(widths.count, WIDTHS)), IRStyle(inner_bn, se, "output_layer.4.weight" in state)
