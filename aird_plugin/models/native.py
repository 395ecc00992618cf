"""Students that take the px x px face itself: plain 3x3 convolutions, sized by their number of parameters."""

import math
import re

from torch import Tensor, nn
from torch.nn.functional import relu

MIN_PX, MAX_PX = 8, 112
MIN_MILLIONS, MAX_MILLIONS = 0.02, 100.0
# Maps wider than this get no residual block: at 112 px they would cost more than the rest of the network.
MAX_BLOCK_SIDE = 32
LAST_SIDE = 4
# Channel steps to try, coarsest first: vector units like whole blocks of 16.
CHANNEL_STEPS = (16, 8, 4, 2, 1)
TOLERANCE = 0.05


def spells_native(name: object) -> bool:
    """Whether the name is meant as a native student's, well formed or not."""
    return isinstance(name, str) and name.startswith("native")


def parse_name(name: str) -> tuple[int, float]:
    """`native16_1m` -> (px 16, 1.0 million parameters). Raises ValueError for a bad form or range."""
    match = re.fullmatch(r"native(\d+)_(\d+(?:\.\d+)?)m", name)
    if match is None:
        raise ValueError(
            f"network {name!r}: native students are spelt native{{px}}_{{millions}}m, e.g. native16_1m"
        )
    px, millions = int(match[1]), float(match[2])
    if not MIN_PX <= px <= MAX_PX:
        raise ValueError(f"network {name!r}: px must lie in {MIN_PX} to {MAX_PX}, got {px}")
    if not MIN_MILLIONS <= millions <= MAX_MILLIONS:
        raise ValueError(
            f"network {name!r}: millions of parameters must lie in {MIN_MILLIONS} to {MAX_MILLIONS}, "
            f"got {millions}"
        )
    return px, millions


def plan_stages(px: int) -> tuple[list[tuple[int, int]], int]:
    """Stages from px down to about 4 px: ([(stride of first convolution, residual blocks), ...], last side).

    16 -> 16, 8, 4; 32 -> 32, 16, 8, 4; 112 -> 56, 28, 14, 7, 4. The last stage has two blocks, the others
    one, or none where the map is still wider than `MAX_BLOCK_SIDE`.
    """
    stages, side = [], px
    if side <= MAX_BLOCK_SIDE:
        stages.append((1, 1))
    for _ in range(round(math.log2(px / LAST_SIDE))):
        side = (side + 1) // 2
        stages.append((2, 1 if side <= MAX_BLOCK_SIDE else 0))
    stages[-1] = (stages[-1][0], 2)
    return stages, side


def count_parameters(px: int, widths: list[int], embedding_size: int) -> int:
    """Parameters of `Native` with these stage widths, buffers not counted."""
    stages, last_side = plan_stages(px)
    count, width_in = 0, 3
    for (_, blocks), width in zip(stages, widths, strict=True):
        count += 9 * width_in * width + 2 * width + blocks * (18 * width * width + 4 * width)
        width_in = width
    return count + (width_in * last_side**2 + 3) * embedding_size


def plan_widths(px: int, millions: float, embedding_size: int) -> list[int]:
    """Channels of each stage for the asked number of parameters, within 5%.

    Widths double from stage to stage, so that a 3x3 convolution costs the same everywhere, and are
    multiples of the coarsest of `CHANNEL_STEPS` that comes near enough. Raises ValueError where none does.
    """
    target = millions * 1e6
    stages, _ = plan_stages(px)
    shares = [0.5**i for i in reversed(range(len(stages)))]
    for step in CHANNEL_STEPS:
        best_error, best_widths, quarters, count = math.inf, [], 0, 0
        while count < 1.5 * target:
            quarters += 1
            widths = [max(step, round(quarters / 4 * share / step) * step) for share in shares]
            count = count_parameters(px, widths, embedding_size)
            if abs(count - target) < best_error:
                best_error, best_widths = abs(count - target), widths
        if best_error <= TOLERANCE * target:
            return best_widths
    raise ValueError(
        f"no native student of {px} px with {embedding_size}-d embeddings has {millions} million parameters; "
        f"the nearest has {count_parameters(px, best_widths, embedding_size) / 1e6:.3g} million"
    )


def conv3x3_bn(width_in: int, width: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution without bias and its BatchNorm."""
    return nn.Sequential(nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width))


class Block(nn.Module):
    """ReLU(x + conv-BN-ReLU-conv-BN(x)), same width, same side."""

    def __init__(self, width: int):
        super().__init__()
        self.first = conv3x3_bn(width, width)
        self.second = conv3x3_bn(width, width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return relu(x_BCHW + self.second(relu(self.first(x_BCHW))))


class Native(nn.Module):
    """(B, 3, px, px) -> (B, embedding_size), with about `millions` million parameters.

    A stage is a 3x3 convolution, strided where the map shrinks, and residual blocks. The end is ArcFace's E:
    the last 4x4 map flattened, one linear layer, BatchNorm1d with its gain frozen at 1, so that where a
    feature stands still counts. He initialisation by fan-out for convolutions, BatchNorm at 1 and 0, the
    linear layer by PyTorch's default.
    """

    def __init__(self, px: int, millions: float, embedding_size: int = 512):
        super().__init__()
        self.input_size = px
        widths = plan_widths(px, millions, embedding_size)
        plan, last_side = plan_stages(px)
        stages, width_in = [], 3
        for (stride, blocks), width in zip(plan, widths, strict=True):
            entry = nn.Sequential(*conv3x3_bn(width_in, width, stride), nn.ReLU())
            stages.append(nn.Sequential(entry, *[Block(width) for _ in range(blocks)]))
            width_in = width
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(width_in * last_side**2, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size)
        self.features.weight.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_B3PP: Tensor) -> Tensor:
        return self.features(self.fc(self.stages(x_B3PP).flatten(1)))
