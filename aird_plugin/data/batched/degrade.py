"""Every degradation for a batch of 112 px images, each image with its own px and degradation.

Without a seed it equals the one-image forms of data/degradation.py on the CPU, bit for bit except for ties in the warp, which may
round to the next grey level. A GPU's float32 resizes are within a grey level. With a seed, noise and the parameters of realworld
are other draws from the same distributions, made without the images' bytes, so a GPU does not have to copy those to the CPU.
"""

from collections.abc import Sequence

import numpy as np
import torch

from aird_plugin.data.batched.gaussian import gaussian_blur
from aird_plugin.data.batched.jpeg import jpeg
from aird_plugin.data.batched.linear import downsample_each, in_blocks, upsample_each, warp_each
from aird_plugin.data.batched.noise import add_noise, device_noise
from aird_plugin.data.batched.realworld import realworld_each
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import BICUBIC, NOISE_LEVELS, QUALITY, downsample, get_degradation, noisy_image
from aird_plugin.data.lowres import check_faces, check_px, resize_torch


def degrade_each(
    images_BHWC: torch.Tensor, px_B: np.ndarray, degradations: Sequence[str], side: int, seed: int | None = None
) -> torch.Tensor:
    """Downsample each image to its px by its degradation and resize it to `side`. uint8 (B, 112, 112, 3) -> (B, side, side, 3).

    An image of px 112 stays untouched before the resize. seed: None for the draws of the one-image forms.
    Raises ValueError for another shape or dtype, an unknown degradation, or px outside 4..112.
    """
    check_faces(images_BHWC)
    if images_BHWC.shape[1] != FACE_SIDE or not len(images_BHWC) == len(px_B) == len(degradations):
        raise ValueError(
            f"degrade_each takes {FACE_SIDE} px images, each with a px and a degradation; got images {tuple(images_BHWC.shape)}, "
            f"{len(px_B)} px and {len(degradations)} degradations"
        )
    px_B = np.array([check_px(px) for px in np.asarray(px_B).tolist()], np.int64)
    for name in set(degradations):
        get_degradation(name)
    out_BTTC = images_BHWC.new_empty((len(px_B), side, side, 3))
    name_B = np.array(["untouched" if px == FACE_SIDE else name for px, name in zip(px_B, degradations, strict=True)])
    for name in np.unique(name_B):
        # By px, so that a block on the CPU holds images of similar sides.
        row_X = np.flatnonzero(name_B == name)
        row_X = row_X[np.argsort(px_B[row_X], kind="stable")]
        index_X = torch.from_numpy(row_X).to(images_BHWC.device)
        images_XHWC = images_BHWC[index_X]
        if name == "untouched":
            out_BTTC[index_X] = resize_torch(images_XHWC, side)
        else:
            out_BTTC[index_X] = _degrade(images_XHWC, px_B[row_X], str(name), side, seed)
    return out_BTTC


def _degrade(images_XHWC: torch.Tensor, px_X: np.ndarray, name: str, side: int, seed: int | None) -> torch.Tensor:
    warped = get_degradation(name).warped
    small_XSSC = DOWNSAMPLE[name](images_XHWC, px_X, seed) if name in DOWNSAMPLE else _one_by_one(images_XHWC, px_X, name)
    if not warped:
        return upsample_each(small_XSSC, px_X, side)
    return resize_torch(warp_each(small_XSSC, px_X), side)


def _bicubic(images_XHWC: torch.Tensor, px_X: np.ndarray, seed: int | None) -> torch.Tensor:
    return downsample_each(images_XHWC, px_X)


def _blurred(images_XHWC: torch.Tensor, px_X: np.ndarray, seed: int | None) -> torch.Tensor:
    blurred_XHWC = in_blocks(gaussian_blur, images_XHWC, np.full_like(px_X, FACE_SIDE), FACE_SIDE / px_X)
    return downsample_each(blurred_XHWC, px_X)


def _noisy(images_XHWC: torch.Tensor, px_X: np.ndarray, seed: int | None) -> torch.Tensor:
    small_XSSC = downsample_each(images_XHWC, px_X)
    if seed is not None:
        # Another stream than realworld's, whose generator has the batch's seed itself.
        generator = torch.Generator(small_XSSC.device).manual_seed(seed ^ 1)
        noise_XSSC = device_noise(small_XSSC, generator, np.full(len(px_X), 3))
        return add_noise(small_XSSC, noise_XSSC, np.full(len(px_X), NOISE_LEVELS), np.zeros(len(px_X)))
    noisy_XSSC = small_XSSC.cpu()
    for image_SSC, px in zip(noisy_XSSC.numpy(), px_X, strict=True):
        image_SSC[:px, :px] = noisy_image(image_SSC[:px, :px])
    return noisy_XSSC.to(small_XSSC.device)


def _compressed(images_XHWC: torch.Tensor, px_X: np.ndarray, seed: int | None) -> torch.Tensor:
    return in_blocks(jpeg, downsample_each(images_XHWC, px_X), px_X, np.full_like(px_X, QUALITY))


def _one_by_one(images_XHWC: torch.Tensor, px_X: np.ndarray, name: str) -> torch.Tensor:
    """The one-image form on the CPU, for a degradation without a batched form."""
    size = int(px_X.max())
    small_XSSC = torch.zeros(len(px_X), size, size, 3, dtype=torch.uint8)
    for small_SSC, image_HWC, px in zip(small_XSSC.numpy(), images_XHWC.cpu().numpy(), px_X.tolist(), strict=True):
        small_SSC[:px, :px] = downsample(image_HWC[None], px, name)[0]
    return small_XSSC.to(images_XHWC.device)


DOWNSAMPLE = {
    BICUBIC: _bicubic,
    "insightface-warp": _bicubic,
    "blur": _blurred,
    "noise": _noisy,
    "jpeg": _compressed,
    "realworld": realworld_each,
}
