"""Resizes and InsightFace's warp for images of different sides: one matrix per image, padded with zeros to the largest.

The matrices are those of data/lowres.py and data/degradation.py; float64 on the CPU, float32 elsewhere, as in `resize_torch`.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.lowres import CPU_BLOCK, KERNELS, MIN_PX, fixed_point_weights, two_passes
from aird_plugin.data.warp import bilinear_weights

KERNEL_NAMES = tuple(KERNELS)


def downsample_each(images_BHWC: torch.Tensor, px_B: np.ndarray, kernel_B: np.ndarray | None = None) -> torch.Tensor:
    """112 px images to their own px by Pillow's kernels. uint8 (B, 112, 112, 3) -> uint8 (B, S, S, 3), S = the largest px.

    kernel_B: indices into KERNEL_NAMES; None takes bicubic, the reference resize, for all.
    """
    kernel_B = np.zeros_like(px_B) if kernel_B is None else kernel_B
    table = weight_table("down", FACE_SIDE, images_BHWC.device)

    def resized(images_XHWC: torch.Tensor, px_X: np.ndarray, kernel_X: np.ndarray) -> torch.Tensor:
        weights_X1TS = _select(table, kernel_X * (FACE_SIDE + 1) + px_X)[:, :, : px_X.max()]
        return two_passes(images_XHWC, weights_X1TS)

    return in_blocks(resized, images_BHWC, px_B, kernel_B, largest_in=FACE_SIDE, largest_out=int(px_B.max()))


def upsample_each(images_BSSC: torch.Tensor, px_B: np.ndarray, side: int) -> torch.Tensor:
    """px images to `side` by the reference resize. uint8 (B, S, S, 3) -> uint8 (B, side, side, 3)."""
    table = weight_table("up", side, images_BSSC.device)

    def resized(images_XSSC: torch.Tensor, px_X: np.ndarray) -> torch.Tensor:
        return two_passes(images_XSSC, _select(table, px_X)[..., : images_XSSC.shape[1]])

    return in_blocks(resized, images_BSSC, px_B, largest_out=side)


def warp_each(images_BSSC: torch.Tensor, px_B: np.ndarray) -> torch.Tensor:
    """px images to 112 px as `warp_torch`, rounded once. uint8 (B, S, S, 3) -> uint8 (B, 112, 112, 3)."""
    table = weight_table("warp", FACE_SIDE, images_BSSC.device)

    def warped(images_XSSC: torch.Tensor, px_X: np.ndarray) -> torch.Tensor:
        weights_X1TS = _select(table, px_X)[..., : images_XSSC.shape[1]]
        with torch.autocast(images_XSSC.device.type, enabled=False):
            columns = images_XSSC.permute(0, 3, 1, 2).to(weights_X1TS.dtype) @ weights_X1TS.mT
            grey_X3TT = (weights_X1TS @ columns).add_(0.5).floor_().clamp_(0, 255)
        return grey_X3TT.to(torch.uint8).permute(0, 2, 3, 1)

    return in_blocks(warped, images_BSSC, px_B, largest_out=FACE_SIDE)


def in_blocks(
    work: Callable[..., torch.Tensor], images_BSSC: torch.Tensor, side_B: np.ndarray, *per_image: np.ndarray, **largest: int
) -> torch.Tensor:
    """work(images, side, *per_image) on blocks cropped to their largest side; a GPU gets the batch as one block.

    On a CPU the float64 grey levels of a block stay in a core's cache; order the images by side to keep the padding small.
    largest_in: the side of all images where side_B is not theirs. largest_out: the largest side of the results.
    """
    size_out = largest.get("largest_out", images_BSSC.shape[1])
    out_BSSC = images_BSSC.new_empty((len(images_BSSC), size_out, size_out, 3))
    block = CPU_BLOCK if images_BSSC.device.type == "cpu" else max(1, len(images_BSSC))
    for first in range(0, len(images_BSSC), block):
        chosen = slice(first, first + block)
        size = largest.get("largest_in", int(side_B[chosen].max()))
        done_XTTC = work(images_BSSC[chosen, :size, :size], side_B[chosen], *(values[chosen] for values in per_image))
        out_BSSC[chosen, : done_XTTC.shape[1], : done_XTTC.shape[2]] = done_XTTC
    return out_BSSC


@functools.lru_cache(maxsize=8)
def weight_table(what: str, side: int, device: torch.device) -> torch.Tensor:
    """The matrices of every px, each in a square of zeros: (rows, side, 112) for "up", (rows, 112, 112) otherwise.

    Row px; for "down" row kernel * 113 + px. About 11 MB in float64 per kernel, made once per process in 0.1 s.
    """
    kernels = KERNEL_NAMES if what == "down" else ("bicubic",)
    table_KRTS = np.zeros((len(kernels), FACE_SIDE + 1, side, FACE_SIDE))
    for kernel, table_RTS in zip(kernels, table_KRTS, strict=True):
        for px in range(MIN_PX, FACE_SIDE + 1):
            if what == "down":
                table_RTS[px, :px] = fixed_point_weights(FACE_SIDE, px, kernel)
            else:
                table_RTS[px, :, :px] = bilinear_weights(px, side) if what == "warp" else fixed_point_weights(px, side)
    dtype = torch.float64 if device.type == "cpu" else torch.float32
    return torch.from_numpy(table_KRTS).flatten(0, 1).to(device, dtype)


def _select(table_RTS: torch.Tensor, row_B: np.ndarray) -> torch.Tensor:
    return table_RTS.index_select(0, torch.from_numpy(row_B).to(table_RTS.device))[:, None]
