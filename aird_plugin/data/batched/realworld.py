"""data/realworld.py for a batch: four rounds, in each of which every image takes the next step of its own order.

Without a seed all draws are those of the one-image form, seeded by the image's bytes and made on the CPU. With a seed each
image's parameters come from the seed and its index, and the noise from the device's generator: other draws, same distributions.
"""

from typing import NamedTuple

import numpy as np
import torch

from aird_plugin.data.batched.gaussian import gaussian_blur
from aird_plugin.data.batched.jpeg import jpeg
from aird_plugin.data.batched.linear import KERNEL_NAMES, downsample_each, in_blocks
from aird_plugin.data.batched.noise import add_noise, blur_along_line, device_noise
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.realworld import KERNELS, BlurDraw, NoiseDraw, draw_blur, draw_noise, draw_quality, image_rng

BLUR, DOWNSAMPLE, NOISE, COMPRESS = range(4)


class Plan(NamedTuple):
    """All draws of one image. order: the four steps; kernel: an index into KERNEL_NAMES."""

    order: np.ndarray
    blur: BlurDraw
    kernel: int
    noise: NoiseDraw
    quality: int


def realworld_each(images_BHWC: torch.Tensor, px_B: np.ndarray, seed: int | None) -> torch.Tensor:
    """uint8 (B, 112, 112, 3) -> uint8 (B, S, S, 3), S = the largest px. seed: None for the draws of the one-image form."""
    if seed is None:
        plans = [draw_plan(image_rng(image, int(px)), int(px)) for image, px in zip(images_BHWC.cpu().numpy(), px_B, strict=True)]
        generator = None
    else:
        plans = [draw_plan(np.random.default_rng((seed, index)), int(px), sample=False) for index, px in enumerate(px_B)]
        generator = torch.Generator(images_BHWC.device).manual_seed(seed)
    order_B4 = np.stack([plan.order for plan in plans])
    full_BHWC, size = images_BHWC.clone(), int(px_B.max())
    small_BSSC = images_BHWC.new_empty((len(images_BHWC), size, size, 3))
    is_small_B = np.zeros(len(plans), bool)
    for step_B in order_B4.T:
        for state, side_B, mask_B in ((small_BSSC, px_B, is_small_B), (full_BHWC, np.full_like(px_B, FACE_SIDE), ~is_small_B)):
            for step, work in ((BLUR, _blur), (NOISE, _noise), (COMPRESS, _compress)):
                row_X, index_X = _rows(mask_B & (step_B == step), state.device)
                if len(row_X):
                    state[index_X] = work(state[index_X], side_B[row_X], [plans[row] for row in row_X], generator)
        row_X, index_X = _rows(step_B == DOWNSAMPLE, images_BHWC.device)
        if len(row_X):
            kernel_X = np.array([plans[row].kernel for row in row_X])
            done_XSSC = downsample_each(full_BHWC[index_X], px_B[row_X], kernel_X)
            small_BSSC[index_X, : done_XSSC.shape[1], : done_XSSC.shape[2]] = done_XSSC
            is_small_B[row_X] = True
    return small_BSSC


def draw_plan(rng: np.random.Generator, px: int, sample: bool = True) -> Plan:
    """An image's draws, in the order in which the one-image form makes them. sample: whether to draw the noise itself too."""
    order, side = rng.permutation(4), FACE_SIDE
    blur, kernel, noise, quality = BlurDraw(0.0), 0, NoiseDraw(3, None, 0.0, 0.0), 100
    for step in order:
        if step == BLUR:
            blur = draw_blur(rng, side / px)
        elif step == DOWNSAMPLE:
            kernel, side = KERNEL_NAMES.index(KERNELS[rng.integers(len(KERNELS))].name.lower()), px
        elif step == NOISE:
            noise = draw_noise(rng, side, sample)
        else:
            quality = draw_quality(rng)
    return Plan(order, blur, kernel, noise, quality)


def _rows(mask_B: np.ndarray, device: torch.device) -> tuple[np.ndarray, torch.Tensor]:
    row_X = np.flatnonzero(mask_B)
    return row_X, torch.from_numpy(row_X).to(device)


def _blur(images_XSSC: torch.Tensor, side_X: np.ndarray, plans: list[Plan], generator) -> torch.Tensor:
    blurred_XSSC = in_blocks(gaussian_blur, images_XSSC, side_X, np.array([plan.blur.sigma for plan in plans]))
    row_Y, index_Y = _rows(np.array([plan.blur.shifts_T2 is not None for plan in plans]), images_XSSC.device)
    if len(row_Y):
        shifts_YT2, weights_YT = (
            np.stack([getattr(plans[row].blur, name) for row in row_Y]) for name in ("shifts_T2", "weights_T")
        )
        blurred_XSSC[index_Y] = in_blocks(blur_along_line, blurred_XSSC[index_Y], side_X[row_Y], shifts_YT2, weights_YT)
    return blurred_XSSC


def _noise(images_XSSC: torch.Tensor, side_X: np.ndarray, plans: list[Plan], generator) -> torch.Tensor:
    draws = [plan.noise for plan in plans]
    if generator is None:
        noise_XSSC = torch.zeros(images_XSSC.shape)
        for noise_SSC, side, draw in zip(noise_XSSC, side_X, draws, strict=True):
            noise_SSC[:side, :side] = torch.from_numpy(draw.noise_SSC)
        noise_XSSC = noise_XSSC.to(images_XSSC.device)
    else:
        noise_XSSC = device_noise(images_XSSC, generator, np.array([draw.channels for draw in draws]))
    return add_noise(images_XSSC, noise_XSSC, np.array([draw.level for draw in draws]), np.array([draw.shot for draw in draws]))


def _compress(images_XSSC: torch.Tensor, side_X: np.ndarray, plans: list[Plan], generator) -> torch.Tensor:
    return in_blocks(jpeg, images_XSSC, side_X, np.array([plan.quality for plan in plans]))
