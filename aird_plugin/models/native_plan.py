"""Names and sizes of native students: parses names such as `native16_1m_dw_prelu` and computes the stage widths."""

import math
import re
from typing import NamedTuple

MIN_PX, MAX_PX = 8, 112
MIN_MILLIONS, MAX_MILLIONS = 0.02, 100.0
# Stages with a larger side get no residual block: at 112 px it would cost more than the rest of the network.
MAX_BLOCK_SIDE = 32
LAST_SIDE = 4
# Channel steps to try, coarsest first: vector units work best on multiples of 16.
CHANNEL_STEPS = (16, 8, 4, 2, 1)
TOLERANCE = 0.05
NAME_FORMAT = "native{px}_{millions}m, optionally followed by _dw, _prelu and _gdc, e.g. native16_1m or native16_1m_dw_prelu"


class Spec(NamedTuple):
    """A native student's parsed name: input side, million parameters, separable or plain convolutions, PReLU or ReLU, and
    whether a global depthwise convolution stands before the linear layer (`gdc`)."""

    px: int
    millions: float
    separable: bool = False
    prelu: bool = False
    gdc: bool = False


def is_native_name(name: object) -> bool:
    """Whether the name starts like a native student's, well formed or not."""
    return isinstance(name, str) and name.startswith("native")


def parse_name(name: str) -> Spec:
    """`native16_1m` -> px 16, 1.0 million parameters, plain, ReLU. Raises ValueError for a bad form or range."""
    match = re.fullmatch(r"native(\d+)_(\d+(?:\.\d+)?)m(_dw)?(_prelu)?(_gdc)?", name)
    if match is None:
        raise ValueError(f"network {name!r}: native students are named {NAME_FORMAT}")
    spec = Spec(int(match[1]), float(match[2]), *(suffix is not None for suffix in match.groups()[2:]))
    if not MIN_PX <= spec.px <= MAX_PX:
        raise ValueError(f"network {name!r}: px must be {MIN_PX} to {MAX_PX}, got {spec.px}")
    if not MIN_MILLIONS <= spec.millions <= MAX_MILLIONS:
        raise ValueError(
            f"network {name!r}: millions of parameters must be {MIN_MILLIONS} to {MAX_MILLIONS}, got {spec.millions}"
        )
    return spec


def plan_stages(px: int) -> tuple[list[tuple[int, int]], int]:
    """Stages from px down to about 4 px: ([(stride of first convolution, residual blocks), ...], last side).

    16 -> 16, 8, 4; 32 -> 32, 16, 8, 4; 112 -> 56, 28, 14, 7, 4. The last stage has two blocks, the others one, or none where
    the side exceeds `MAX_BLOCK_SIDE`.
    """
    stages, side = [], px
    if side <= MAX_BLOCK_SIDE:
        stages.append((1, 1))
    for _ in range(round(math.log2(px / LAST_SIDE))):
        side = (side + 1) // 2
        stages.append((2, 1 if side <= MAX_BLOCK_SIDE else 0))
    stages[-1] = (stages[-1][0], 2)
    return stages, side


def count_parameters(spec: Spec, widths: list[int], embedding_size: int) -> int:
    """Number of parameters of `Native` with these stage widths, without buffers."""
    stages, last_side = plan_stages(spec.px)
    slope = 1 if spec.prelu else 0

    def convolution(width_in: int, width: int, separable: bool) -> int:
        if separable:
            return (9 + 2 + slope) * width_in + width_in * width + 2 * width
        return 9 * width_in * width + 2 * width

    count, width_in = 0, 3
    for (_, blocks), width in zip(stages, widths, strict=True):
        # The first convolution, over the RGB channels, is never separable.
        count += convolution(width_in, width, spec.separable and width_in != 3) + slope * width
        count += blocks * 2 * (convolution(width, width, spec.separable) + slope * width)
        width_in = width
    features = width_in * last_side**2
    if spec.gdc:
        count += features + 2 * width_in
        features = width_in
    return count + (features + 3) * embedding_size


def plan_widths(spec: Spec, embedding_size: int) -> list[int]:
    """Channels of each stage for the requested number of parameters, within 5%.

    Widths double from stage to stage, so that a 3x3 convolution costs the same in every stage. They are multiples of the coarsest
    of `CHANNEL_STEPS` that meets the tolerance. Raises ValueError where none does.
    """
    target = spec.millions * 1e6
    stages, _ = plan_stages(spec.px)
    shares = [0.5**i for i in reversed(range(len(stages)))]
    for step in CHANNEL_STEPS:
        best_error, best_widths, quarters, count = math.inf, [], 0, 0
        while count < 1.5 * target:
            quarters += 1
            widths = [max(step, round(quarters / 4 * share / step) * step) for share in shares]
            count = count_parameters(spec, widths, embedding_size)
            if abs(count - target) < best_error:
                best_error, best_widths = abs(count - target), widths
        if best_error <= TOLERANCE * target:
            return best_widths
    raise ValueError(
        f"no native student of {spec.px} px with {embedding_size}-d embeddings has {spec.millions} million parameters; "
        f"the nearest has {count_parameters(spec, best_widths, embedding_size) / 1e6:.3g} million"
    )
