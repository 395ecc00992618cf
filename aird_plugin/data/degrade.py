"""What happens to a face on its way to a network, by name: lens, sensor and codec make it small, InsightFace's aligner large.

A degradation has two halves. `shrink` makes the px face from the 112 px one; `arrive` brings that to the side a network takes.

name              shrink to px                                   arrive at the network's side
bicubic           the one resize                                 the one resize; what every figure has that names no other
insightface-warp  the one resize                                 FaceAnalysis's bilinear warp to 112 px, then the one resize
blur              out of focus by a low pixel, the one resize    the one resize
noise             the one resize, grain of 8 grey levels         the one resize
jpeg              the one resize, JPEG of quality 30             the one resize
realworld         blur, shrinking, noise, JPEG, shuffled         the one resize

112 px faces stay untouched under each name. N or B = faces, S = side in pixels.
"""

import functools
import io
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter

from aird_plugin.data.lowres import FACE_SIDE, RESIZE, check_faces, check_px, low_faces, resize_faces, resize_torch
from aird_plugin.data.realworld import VERSION as REALWORLD
from aird_plugin.data.realworld import realworld

BICUBIC = "bicubic"
GRAIN = 8.0
QUALITY = 30
BLOCK = 256


def shrink(faces_NHWC: np.ndarray, px: int, degradation: str = BICUBIC) -> np.ndarray:
    """112 px faces -> px faces. uint8 (N, 112, 112, 3) -> uint8 (N, px, px, 3); px 112 leaves them untouched.

    What is drawn is drawn from the face's own bytes, so that a face has it in every run. Raises ValueError for another name,
    shape or dtype, or px outside 4..112.
    """
    how = named(degradation)
    if check_px(px) == faces_NHWC.shape[1]:
        check_faces(faces_NHWC)
        return faces_NHWC
    return how.shrink(faces_NHWC, px)


def shrink_torch(faces_BHWC: torch.Tensor, px: int, degradation: str = BICUBIC) -> torch.Tensor:
    """`shrink` for a batch on any device; where it is more than the one resize, by way of the CPU."""
    if named(degradation).shrink is _resize or px == faces_BHWC.shape[1]:
        return resize_torch(faces_BHWC, check_px(px))
    return torch.from_numpy(shrink(faces_BHWC.cpu().numpy(), px, degradation)).to(faces_BHWC.device)


def arrive(faces_NSSC: np.ndarray, side: int, degradation: str = BICUBIC) -> np.ndarray:
    """px faces -> faces of `side` as a network takes them. uint8 (N, px, px, 3) -> uint8 (N, side, side, 3)."""
    if named(degradation).warped and faces_NSSC.shape[1] != FACE_SIDE:
        check_faces(faces_NSSC)
        blocks = (torch.from_numpy(faces_NSSC[start : start + BLOCK]) for start in range(0, len(faces_NSSC), BLOCK))
        faces_NSSC = np.concatenate([warp_torch(block).numpy() for block in blocks])
    return resize_faces(faces_NSSC, side)


def arrive_torch(faces_BSSC: torch.Tensor, side: int, degradation: str = BICUBIC) -> torch.Tensor:
    """`arrive` for a batch on any device; equal on the CPU, within a grey level elsewhere."""
    if named(degradation).warped and faces_BSSC.shape[1] != FACE_SIDE:
        faces_BSSC = warp_torch(faces_BSSC)
    return resize_torch(faces_BSSC, side)


def warp_torch(faces_BSSC: torch.Tensor) -> torch.Tensor:
    """Aligned px faces -> 112 px as InsightFace's `norm_crop` makes them from a photograph in which the face is that small.

    That is cv2.warpAffine by five points that lie where the template has them: bilinear, no anti-aliasing, rounded once. The
    photograph goes on beyond the face; here its edge is repeated. uint8 (B, px, px, 3) -> uint8 (B, 112, 112, 3).
    """
    check_faces(faces_BSSC)
    dtype = torch.float64 if faces_BSSC.device.type == "cpu" else torch.float32
    weights_TS = torch.from_numpy(bilinear_weights(faces_BSSC.shape[1], FACE_SIDE)).to(faces_BSSC.device, dtype)
    columns = torch.einsum("bhwc,tw->bhtc", faces_BSSC.to(dtype), weights_TS)
    grey = torch.einsum("bhtc,rh->brtc", columns, weights_TS)
    return torch.floor(grey + 0.5).clamp_(0, 255).to(torch.uint8)


@functools.lru_cache(maxsize=64)
def bilinear_weights(source: int, target: int) -> np.ndarray:
    """Bilinear interpolation without anti-aliasing, pixel centres at half, the edge repeated: float64 (target, source)."""
    place_T = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    left_T = np.minimum(place_T.astype(int), source - 2)
    weights_TS = np.zeros((target, source))
    weights_TS[np.arange(target), left_T] = 1 - (place_T - left_T)
    weights_TS[np.arange(target), left_T + 1] = place_T - left_T
    return weights_TS


def _resize(faces_NHWC, px):
    return low_faces(faces_NHWC, px, grow=False)


def _blurred(faces_NHWC, px):
    focus = ImageFilter.GaussianBlur(faces_NHWC.shape[1] / px)
    soft_NHWC = np.stack([np.asarray(Image.fromarray(face).filter(focus)) for face in faces_NHWC])
    return _resize(soft_NHWC, px)


def _grained(faces_NHWC, px):
    small_NSSC = _resize(faces_NHWC, px)
    seeds = (zlib.crc32(face.tobytes()) for face in small_NSSC)
    grain_NSSC = np.stack([np.random.default_rng(seed).normal(0, GRAIN, small_NSSC.shape[1:]) for seed in seeds])
    return np.rint(small_NSSC + grain_NSSC).clip(0, 255).astype(np.uint8)


def _compressed(faces_NHWC, px):
    small_NSSC = np.empty((len(faces_NHWC), px, px, 3), np.uint8)
    for out, face in zip(small_NSSC, _resize(faces_NHWC, px), strict=True):
        file = io.BytesIO()
        Image.fromarray(face).save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
        out[:] = np.asarray(Image.open(file))
    return small_NSSC


class Degradation(NamedTuple):
    """shrink: faces, px -> px faces. version: how results call that half. warped: they arrive by InsightFace's aligner."""

    shrink: Callable[[np.ndarray, int], np.ndarray]
    version: str = RESIZE
    warped: bool = False


DEGRADATIONS = {
    BICUBIC: Degradation(_resize),
    "insightface-warp": Degradation(_resize, warped=True),
    "blur": Degradation(_blurred, f"{RESIZE}, blur/1"),
    "noise": Degradation(_grained, f"{RESIZE}, noise/1"),
    "jpeg": Degradation(_compressed, f"{RESIZE}, jpeg/1"),
    "realworld": Degradation(realworld, f"{REALWORLD}, {RESIZE}"),
}


def named(degradation: str) -> Degradation:
    """The degradation of that name; ValueError for another one."""
    if degradation not in DEGRADATIONS:
        raise ValueError(f"degradation is one of {', '.join(DEGRADATIONS)}; got {degradation!r}")
    return DEGRADATIONS[degradation]
