"""The reference resize: downsample an image to `px` and upsample it again. Training, evaluation and export all use it.

The operator is Pillow's anti-aliased bicubic (kernel a = -0.5, widened by the scale when downsampling; MATLAB's imresize has the
same kernel and differs only at the border), on uint8 RGB, rounded to uint8 after each of its two passes and after each step.
`low_faces` calls Pillow. `low_faces_torch` is its batched counterpart: two small matrix products with Pillow's own 22-bit
fixed-point weights; equal to Pillow bit for bit in float64 (the CPU), within one grey level per step in float32.

N or B = images, H = W = side in pixels.
"""

import functools
import math

import numpy as np
import torch
from PIL import Image

from aird_plugin.data.constants import FACE_SIDE

RESIZE = "pillow-bicubic-antialias/1"
MIN_PX = 4
WEIGHT_BITS = 22
# Images per block on a CPU: their float64 grey levels stay in a core's cache between the passes.
CPU_BLOCK = 8


def check_px(px: int) -> int:
    """Return `px` if it is a valid side; raise ValueError otherwise."""
    if isinstance(px, bool) or not isinstance(px, int | np.integer) or not MIN_PX <= px <= FACE_SIDE:
        raise ValueError(f"px is the side of the LR image, a whole number from {MIN_PX} to {FACE_SIDE}; got {px!r}")
    return int(px)


def check_faces(images_NHWC: np.ndarray | torch.Tensor) -> None:
    """Raise ValueError unless the images are uint8 (N, side, side, 3)."""
    shape = tuple(images_NHWC.shape)
    if str(images_NHWC.dtype).removeprefix("torch.") != "uint8" or len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:
        raise ValueError(f"images are uint8 (N, side, side, 3) RGB; got {images_NHWC.dtype} {shape}")


def resize_faces(images_NHWC: np.ndarray, side: int) -> np.ndarray:
    """Resize every image to (side, side) by Pillow's bicubic. uint8 (N, H, H, 3) -> uint8 (N, side, side, 3)."""
    check_faces(images_NHWC)
    if images_NHWC.shape[1] == side:
        return images_NHWC
    out_NHWC = np.empty((len(images_NHWC), side, side, 3), np.uint8)
    for out, image in zip(out_NHWC, images_NHWC, strict=True):
        out[:] = to_square(image, side)
    return out_NHWC


def to_square(image_HWC: np.ndarray, side: int) -> np.ndarray:
    """Resize one image to (side, side, 3) by Pillow's bicubic; a non-square image is stretched. uint8 in, uint8 out."""
    return np.asarray(Image.fromarray(image_HWC).resize((side, side), Image.Resampling.BICUBIC))


def low_faces(images_NHWC: np.ndarray, px: int, grow: bool = True) -> np.ndarray:
    """Downsample each image to `px` and, with `grow`, upsample it to its own side again.

    uint8 (N, S, S, 3) -> uint8 (N, S or px, S or px, 3). px equal to S leaves the images untouched.
    Raises ValueError for another shape or dtype, or px outside 4..112.
    """
    check_px(px)
    check_faces(images_NHWC)
    small_NHWC = resize_faces(images_NHWC, px)
    return resize_faces(small_NHWC, images_NHWC.shape[1]) if grow else small_NHWC


def low_faces_torch(images_BHWC: torch.Tensor, px: int, grow: bool = True) -> torch.Tensor:
    """`low_faces` for a batch on any device; uint8 in, uint8 out. Equal to Pillow on the CPU, within a grey level elsewhere."""
    check_px(px)
    small_BHWC = resize_torch(images_BHWC, px)
    return resize_torch(small_BHWC, images_BHWC.shape[1]) if grow else small_BHWC


def resize_torch(images_BHWC: torch.Tensor, side: int) -> torch.Tensor:
    """`resize_faces` as two matrix products, columns first as in Pillow, rounded to uint8 between them."""
    check_faces(images_BHWC)
    if images_BHWC.shape[1] == side:
        return images_BHWC
    on_cpu = images_BHWC.device.type == "cpu"
    dtype, block = (torch.float64, CPU_BLOCK) if on_cpu else (torch.float32, max(1, len(images_BHWC)))
    weights_TS = torch.from_numpy(fixed_point_weights(images_BHWC.shape[1], side)).to(images_BHWC.device, dtype)
    return torch.cat([two_passes(block_BHWC, weights_TS) for block_BHWC in images_BHWC.split(block)])


def two_passes(images_BHWC: torch.Tensor, weights_TS: torch.Tensor) -> torch.Tensor:
    """Columns, then rows, by the same weights, or by weights (B, 1, T, S) of each image; rounded to uint8 after each pass."""
    # Autocast would round the weights to half precision, which changes whole grey levels.
    with torch.autocast(images_BHWC.device.type, enabled=False):
        columns_BCHT = _round(images_BHWC.permute(0, 3, 1, 2).to(weights_TS.dtype) @ weights_TS.mT)
        resized_BCTT = _round(weights_TS @ columns_BCHT)
    return resized_BCTT.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def to_input(images_BHWC: torch.Tensor) -> torch.Tensor:
    """uint8 (B, S, S, 3) RGB -> float32 (B, 3, S, S) in [-1, 1], InsightFace's normalisation; channels_last in memory."""
    images_BCHW = images_BHWC.permute(0, 3, 1, 2).float()
    return images_BCHW.sub_(127.5).div_(127.5)


def _round(grey_levels: torch.Tensor) -> torch.Tensor:
    """Add half a level, then truncate, as Pillow does in integers."""
    return grey_levels.add_(0.5).floor_().clamp_(0, 255)


# Drawn sizes use about 100 of them per kernel; with fewer entries the cache would evict what the next batch needs.
@functools.lru_cache(maxsize=512)
def fixed_point_weights(source: int, target: int, kernel: str = "bicubic") -> np.ndarray:
    """Pillow's weights from `source` to `target` pixels: float64 (target, source), multiples of 2**-22, rows sum to about 1.

    kernel: bicubic, bilinear or box, each anti-aliased.
    """
    scale = source / target
    widening = max(scale, 1.0)
    weight, reach = KERNELS[kernel]
    support = reach * widening
    weights_TS = np.zeros((target, source))
    for row in range(target):
        center = (row + 0.5) * scale
        first = max(int(center - support + 0.5), 0)
        last = min(int(center + support + 0.5), source)
        taps = np.array([weight((column - center + 0.5) * (1.0 / widening)) for column in range(first, last)])
        weights_TS[row, first:last] = taps / taps.sum()
    scaled = weights_TS * (1 << WEIGHT_BITS)
    return np.trunc(scaled + np.copysign(0.5, scaled)) / (1 << WEIGHT_BITS)


def _bicubic(x: float, a: float = -0.5) -> float:
    """The cubic convolution kernel (Keys, 1981) at a distance of x pixels; a = -0.5 as in Pillow."""
    x = math.fabs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    if x < 2.0:
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return 0.0


def _bilinear(x: float) -> float:
    return max(1.0 - math.fabs(x), 0.0)


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


# Kernel -> its weight at a distance in source pixels, and the distance that it reaches.
KERNELS = {"bicubic": (_bicubic, 2.0), "bilinear": (_bilinear, 1.0), "box": (_box, 0.5)}
