"""The one resize: shrink a face to `px` and grow it back. Everything that trains, tests or exports goes through it.

The operator is Pillow's anti-aliased bicubic (kernel a = -0.5, widened by the scale when shrinking; MATLAB's imresize has the
same kernel and differs at the border alone), on uint8 RGB, rounded to uint8 after each of its two passes and after each step.
`low_faces` is Pillow itself. `low_faces_torch` is its batched twin: two small matrix products with Pillow's own 22-bit
fixed-point weights; equal to Pillow bit for bit in float64 (the CPU), within one grey level a step in float32.

N or B = faces, H = W = side in pixels.
"""

import functools
import math

import numpy as np
import torch
from PIL import Image

RESIZE = "pillow-bicubic-antialias/1"
FACE_SIDE = 112
MIN_PX = 4
WEIGHT_BITS = 22
# Faces whose grey levels in float64 stay in a core's cache between the passes.
CPU_BLOCK = 8


def check_px(px: int) -> int:
    """`px` itself where it is a side the resize can make; ValueError otherwise."""
    if isinstance(px, bool) or not isinstance(px, int | np.integer) or not MIN_PX <= px <= FACE_SIDE:
        raise ValueError(f"px is the side of the shrunken face, a whole number from {MIN_PX} to {FACE_SIDE}; got {px!r}")
    return int(px)


def check_faces(faces_NHWC) -> None:
    """ValueError unless the faces are uint8 (N, side, side, 3)."""
    shape = tuple(faces_NHWC.shape)
    if str(faces_NHWC.dtype).removeprefix("torch.") != "uint8" or len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:
        raise ValueError(f"faces are uint8 (N, side, side, 3) RGB; got {faces_NHWC.dtype} {shape}")


def resize_faces(faces_NHWC: np.ndarray, side: int) -> np.ndarray:
    """Pillow's bicubic of every face to (side, side). uint8 (N, H, H, 3) -> uint8 (N, side, side, 3)."""
    check_faces(faces_NHWC)
    if faces_NHWC.shape[1] == side:
        return faces_NHWC
    out_NHWC = np.empty((len(faces_NHWC), side, side, 3), np.uint8)
    for out, face in zip(out_NHWC, faces_NHWC, strict=True):
        out[:] = to_square(face, side)
    return out_NHWC


def to_square(face_HWC: np.ndarray, side: int) -> np.ndarray:
    """Pillow's bicubic of one face to (side, side, 3); what is not square is stretched. uint8 in, uint8 out."""
    return np.asarray(Image.fromarray(face_HWC).resize((side, side), Image.Resampling.BICUBIC))


def low_faces(faces_NHWC: np.ndarray, px: int, grow: bool = True) -> np.ndarray:
    """Shrink each face to `px` and, with `grow`, back to its own side.

    uint8 (N, S, S, 3) -> uint8 (N, S or px, S or px, 3). px equal to S leaves the faces untouched.
    Raises ValueError for another shape or dtype, or px outside 4..112.
    """
    check_px(px)
    check_faces(faces_NHWC)
    small_NHWC = resize_faces(faces_NHWC, px)
    return resize_faces(small_NHWC, faces_NHWC.shape[1]) if grow else small_NHWC


def low_faces_torch(faces_BHWC: torch.Tensor, px: int, grow: bool = True) -> torch.Tensor:
    """`low_faces` for a batch on any device; uint8 in, uint8 out. Equal to Pillow on the CPU, within a level elsewhere."""
    check_px(px)
    small_BHWC = resize_torch(faces_BHWC, px)
    return resize_torch(small_BHWC, faces_BHWC.shape[1]) if grow else small_BHWC


def resize_torch(faces_BHWC: torch.Tensor, side: int) -> torch.Tensor:
    """`resize_faces` as two matrix products, columns first as Pillow does, rounded to uint8 between them."""
    check_faces(faces_BHWC)
    if faces_BHWC.shape[1] == side:
        return faces_BHWC
    on_cpu = faces_BHWC.device.type == "cpu"
    dtype, together = (torch.float64, CPU_BLOCK) if on_cpu else (torch.float32, max(1, len(faces_BHWC)))
    weights_TS = torch.from_numpy(fixed_point_weights(faces_BHWC.shape[1], side)).to(faces_BHWC.device, dtype)
    return torch.cat([_two_passes(block_BHWC, weights_TS) for block_BHWC in faces_BHWC.split(together)])


def _two_passes(faces_BHWC: torch.Tensor, weights_TS: torch.Tensor) -> torch.Tensor:
    # Autocast would round the weights to half precision, and whole grey levels with them.
    with torch.autocast(faces_BHWC.device.type, enabled=False):
        columns_BCHT = _round(faces_BHWC.permute(0, 3, 1, 2).to(weights_TS.dtype) @ weights_TS.T)
        made_BCTT = _round(weights_TS @ columns_BCHT)
    return made_BCTT.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def to_input(faces_BHWC: torch.Tensor) -> torch.Tensor:
    """uint8 (B, S, S, 3) RGB -> float32 (B, 3, S, S) in [-1, 1], as InsightFace feeds its networks; channels_last in memory."""
    faces_BCHW = faces_BHWC.permute(0, 3, 1, 2).float()
    return faces_BCHW.sub_(127.5).div_(127.5)


def _round(grey_levels: torch.Tensor) -> torch.Tensor:
    """Half a level is added before the cut, as Pillow does in integers."""
    return grey_levels.add_(0.5).floor_().clamp_(0, 255)


@functools.lru_cache(maxsize=64)
def fixed_point_weights(source: int, target: int) -> np.ndarray:
    """Pillow's weights from `source` to `target` pixels, float64 (target, source): whole multiples of 2**-22, rows near 1."""
    scale = source / target
    widening = max(scale, 1.0)
    support = 2.0 * widening
    weights_TS = np.zeros((target, source))
    for row in range(target):
        centre = (row + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), source)
        taps = np.array([_bicubic((column - centre + 0.5) / widening) for column in range(first, last)])
        weights_TS[row, first:last] = taps / taps.sum()
    scaled = weights_TS * (1 << WEIGHT_BITS)
    return np.trunc(scaled + np.copysign(0.5, scaled)) / (1 << WEIGHT_BITS)


def _bicubic(x: float, a: float = -0.5) -> float:
    x = math.fabs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    if x < 2.0:
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return 0.0
