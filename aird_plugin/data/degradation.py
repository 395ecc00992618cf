"""Degradations by name: how a 112 px image becomes an LR image, and how the LR image reaches the network's input.

A degradation has two steps. `downsample` makes the px image from the 112 px one; `resize_to_network` brings it to the network's
input side.

name              downsample to px                                    resize to the network's side
bicubic           reference resize                                    reference resize; the default of all published figures
insightface-warp  reference resize                                    FaceAnalysis's bilinear warp to 112 px, reference resize
blur              Gaussian blur of one LR pixel, reference resize     reference resize
noise             reference resize, Gaussian noise of 8 grey levels   reference resize
jpeg              reference resize, JPEG of quality 30                reference resize
realworld         blur, downsampling, noise, JPEG in random order     reference resize

112 px images stay untouched under each name. N or B = images, S = side in pixels.
"""

import io
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.lowres import RESIZE, check_faces, check_px, low_faces, resize_faces, resize_torch
from aird_plugin.data.realworld import VERSION as REALWORLD
from aird_plugin.data.realworld import realworld
from aird_plugin.data.warp import warp_torch

BICUBIC = "bicubic"
NOISE_LEVELS = 8.0
QUALITY = 30
BLOCK = 256


def downsample(images_NHWC: np.ndarray, px: int, degradation: str = BICUBIC) -> np.ndarray:
    """112 px images -> px images. uint8 (N, 112, 112, 3) -> uint8 (N, px, px, 3); px 112 leaves them untouched.

    Random draws are seeded by the image's bytes, so an image degrades the same way in every run. Raises ValueError for another
    name, shape or dtype, or px outside 4..112.
    """
    spec = get_degradation(degradation)
    if check_px(px) == images_NHWC.shape[1]:
        check_faces(images_NHWC)
        return images_NHWC
    return spec.downsample(images_NHWC, px)


def downsample_torch(images_BHWC: torch.Tensor, px: int, degradation: str = BICUBIC) -> torch.Tensor:
    """`downsample` for a batch on any device; anything but the reference resize runs on the CPU."""
    if get_degradation(degradation).downsample is _resize or px == images_BHWC.shape[1]:
        return resize_torch(images_BHWC, check_px(px))
    return torch.from_numpy(downsample(images_BHWC.cpu().numpy(), px, degradation)).to(images_BHWC.device)


def resize_to_network(images_NSSC: np.ndarray, side: int, degradation: str = BICUBIC) -> np.ndarray:
    """px images -> network input of `side` px. uint8 (N, px, px, 3) -> uint8 (N, side, side, 3)."""
    if get_degradation(degradation).warped and images_NSSC.shape[1] != FACE_SIDE:
        check_faces(images_NSSC)
        blocks = (torch.from_numpy(images_NSSC[start : start + BLOCK]) for start in range(0, len(images_NSSC), BLOCK))
        images_NSSC = np.concatenate([warp_torch(block).numpy() for block in blocks])
    return resize_faces(images_NSSC, side)


def resize_to_network_torch(images_BSSC: torch.Tensor, side: int, degradation: str = BICUBIC) -> torch.Tensor:
    """`resize_to_network` for a batch on any device; equal on the CPU, within a grey level elsewhere."""
    if get_degradation(degradation).warped and images_BSSC.shape[1] != FACE_SIDE:
        images_BSSC = warp_torch(images_BSSC)
    return resize_torch(images_BSSC, side)


def _resize(images_NHWC: np.ndarray, px: int) -> np.ndarray:
    return low_faces(images_NHWC, px, grow=False)


def _blurred(images_NHWC: np.ndarray, px: int) -> np.ndarray:
    blur = ImageFilter.GaussianBlur(images_NHWC.shape[1] / px)
    blurred_NHWC = np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images_NHWC])
    return _resize(blurred_NHWC, px)


def _noisy(images_NHWC: np.ndarray, px: int) -> np.ndarray:
    return np.stack([noisy_image(image_SSC) for image_SSC in _resize(images_NHWC, px)])


def noisy_image(image_SSC: np.ndarray) -> np.ndarray:
    """The image with Gaussian noise, seeded by its bytes. uint8 (S, S, 3) -> uint8 (S, S, 3)."""
    noise_SSC = np.random.default_rng(zlib.crc32(image_SSC.tobytes())).normal(0, NOISE_LEVELS, image_SSC.shape)
    return np.rint(image_SSC + noise_SSC).clip(0, 255).astype(np.uint8)


def _compressed(images_NHWC: np.ndarray, px: int) -> np.ndarray:
    small_NSSC = np.empty((len(images_NHWC), px, px, 3), np.uint8)
    for out, image in zip(small_NSSC, _resize(images_NHWC, px), strict=True):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
        out[:] = np.asarray(Image.open(file))
    return small_NSSC


class Degradation(NamedTuple):
    """downsample: (images, px) -> px images. version: its name in results. warped: InsightFace's aligner upsamples them."""

    downsample: Callable[[np.ndarray, int], np.ndarray]
    version: str = RESIZE
    warped: bool = False


DEGRADATIONS = {
    BICUBIC: Degradation(_resize),
    "insightface-warp": Degradation(_resize, warped=True),
    "blur": Degradation(_blurred, f"{RESIZE}, blur/1"),
    "noise": Degradation(_noisy, f"{RESIZE}, noise/1"),
    "jpeg": Degradation(_compressed, f"{RESIZE}, jpeg/1"),
    "realworld": Degradation(realworld, f"{REALWORLD}, {RESIZE}"),
}


def get_degradation(degradation: str) -> Degradation:
    """Return the degradation with this name; raise ValueError for an unknown one."""
    if degradation not in DEGRADATIONS:
        raise ValueError(f"degradation is one of {', '.join(DEGRADATIONS)}; got {degradation!r}")
    return DEGRADATIONS[degradation]
