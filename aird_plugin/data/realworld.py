"""Camera-like degradation: blur, downsampling, noise and JPEG in a random order per image.

It follows the shuffled pipelines of BSRGAN (arXiv 2103.14006) and Real-ESRGAN (arXiv 2107.10833), in one stage and for faces of
a few pixels, with narrower ranges:
- blur: Gaussian of 0.05 to 0.75 LR pixels (Real-ESRGAN: 0.2 to 3 at its factor of 4), anisotropic for a third of the images and
  motion blur for a third, up to 2 LR pixels long, in any direction;
- downsampling: area, bilinear or bicubic, each anti-aliased (Pillow's);
- noise: for half of the images Gaussian of 1 to 15 grey levels (half of Real-ESRGAN's 30, since a 16 px image has little detail
  to lose), for the others shot noise at 200 to 5,000 photons for white; grey for 40% of the images, as in Real-ESRGAN;
- JPEG of quality 30 to 95.
Steps before the downsampling act on the 112 px image and are smoothed by it. All draws are seeded by the image's bytes and px,
so an image degrades the same way in every run, in the bank and online.

N = images, S = side in pixels.
"""

import io
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from aird_plugin.data.lowres import check_faces

VERSION = "realworld/1"
SIGMA_LR_PX = (0.05, 0.75)
LENGTH_LR_PX = 2.0
LINE_TAPS = 13
KERNELS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
NOISE_LEVELS = (1.0, 15.0)
PHOTONS = (200.0, 5000.0)
GREY_SHARE = 0.4
QUALITY = (30, 95)


def realworld(images_NHWC: np.ndarray, px: int) -> np.ndarray:
    """uint8 (N, S, S, 3) -> uint8 (N, px, px, 3), with random parameters per image. ValueError for another shape or dtype."""
    check_faces(images_NHWC)
    small_NPPC = np.empty((len(images_NHWC), px, px, 3), np.uint8)
    for out, image_SSC in zip(small_NPPC, images_NHWC, strict=True):
        rng = image_rng(image_SSC, px)
        for step in rng.permutation(4):
            image_SSC = STEPS[step](image_SSC, px, rng)
        out[:] = image_SSC
    return small_NPPC


class BlurDraw(NamedTuple):
    """sigma in pixels; shifts (rows, columns) and their weights along a line, None for an isotropic blur."""

    sigma: float
    shifts_T2: np.ndarray | None = None
    weights_T: np.ndarray | None = None


class NoiseDraw(NamedTuple):
    """level: deviation in grey levels. shot: variance per grey level, 0 for Gaussian noise. noise_SSC: None if not drawn."""

    channels: int
    noise_SSC: np.ndarray | None
    level: float
    shot: float


def draw_blur(rng: np.random.Generator, lr_pixel: float) -> BlurDraw:
    """Isotropic Gaussian blur, for two thirds of the images also along a line, with Gaussian or equal (motion) weights."""
    sigma = lr_pixel * rng.uniform(*SIGMA_LR_PX)
    kind, length, angle = rng.integers(3), lr_pixel * rng.uniform(0, LENGTH_LR_PX), rng.uniform(0, np.pi)
    if kind == 0:
        return BlurDraw(sigma)
    offsets_T = np.linspace(-0.5, 0.5, LINE_TAPS)
    # The Gaussian along the line is truncated at two standard deviations.
    weights_T = np.exp(-8 * offsets_T**2) if kind == 1 else np.ones(LINE_TAPS)
    shifts_T2 = np.rint(np.outer(offsets_T * length, (np.sin(angle), np.cos(angle)))).astype(int)
    return BlurDraw(sigma, shifts_T2, weights_T / weights_T.sum())


def draw_noise(rng: np.random.Generator, side: int, sample: bool = True) -> NoiseDraw:
    """Gaussian noise, or shot noise, whose variance is proportional to the intensity (normal approximation of Poisson).

    sample: whether to draw the noise itself too; False leaves it to the caller (a GPU draws its own).
    """
    channels = 1 if rng.random() < GREY_SHARE else 3
    noise_SSC = rng.standard_normal((side, side, channels), np.float32) if sample else None
    if rng.random() < 0.5:
        return NoiseDraw(channels, noise_SSC, rng.uniform(*NOISE_LEVELS), 0.0)
    return NoiseDraw(channels, noise_SSC, 0.0, 255 / np.exp(rng.uniform(*np.log(PHOTONS))))


def draw_quality(rng: np.random.Generator) -> int:
    return int(rng.integers(QUALITY[0], QUALITY[1] + 1))


def image_rng(image_SSC: np.ndarray, px: int) -> np.random.Generator:
    """The generator of all of an image's draws."""
    return np.random.default_rng((zlib.crc32(image_SSC.tobytes()), px))


def _blur(image_SSC: np.ndarray, px: int, rng: np.random.Generator) -> np.ndarray:
    draw = draw_blur(rng, len(image_SSC) / px)
    blurred_SSC = np.asarray(Image.fromarray(image_SSC).filter(ImageFilter.GaussianBlur(draw.sigma)))
    if draw.shifts_T2 is None:
        return blurred_SSC
    return _to_uint8(_mean_of_shifts(blurred_SSC, draw.shifts_T2, draw.weights_T))


def _mean_of_shifts(image_SSC: np.ndarray, shifts_T2: np.ndarray, weights_T: np.ndarray) -> np.ndarray:
    """Weighted mean of the image moved by each of the shifts (rows, columns), edge repeated. float32 (S, S, 3)."""
    side, border = len(image_SSC), int(np.abs(shifts_T2).max())
    padded = np.pad(image_SSC, ((border, border), (border, border), (0, 0)), mode="edge")
    mean_SSC = np.zeros(image_SSC.shape, np.float32)
    for (row, column), weight in zip(shifts_T2 + border, weights_T, strict=True):
        mean_SSC += np.float32(weight) * padded[row : row + side, column : column + side]
    return mean_SSC


def _downsample(image_SSC: np.ndarray, px: int, rng: np.random.Generator) -> np.ndarray:
    """Resize to px by a random kernel."""
    kernel = KERNELS[rng.integers(len(KERNELS))]
    return np.asarray(Image.fromarray(image_SSC).resize((px, px), kernel))


def _noise(image_SSC: np.ndarray, px: int, rng: np.random.Generator) -> np.ndarray:
    draw = draw_noise(rng, len(image_SSC))
    spread = np.sqrt(image_SSC * np.float32(draw.shot)) if draw.shot else np.float32(draw.level)
    return _to_uint8(image_SSC + spread * draw.noise_SSC)


def _compress(image_SSC: np.ndarray, px: int, rng: np.random.Generator) -> np.ndarray:
    """JPEG of a random quality."""
    file = io.BytesIO()
    Image.fromarray(image_SSC).save(file, "JPEG", quality=draw_quality(rng))
    return np.asarray(Image.open(file))


def _to_uint8(image_SSC: np.ndarray) -> np.ndarray:
    return np.rint(image_SSC).clip(0, 255).astype(np.uint8)


STEPS = (_blur, _downsample, _noise, _compress)
