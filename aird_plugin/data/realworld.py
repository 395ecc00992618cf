"""Faces made small as cameras do it: blur, shrinking, noise and JPEG in an order of its own for each face.

After the shuffled pipelines of BSRGAN (arXiv 2103.14006) and Real-ESRGAN (arXiv 2107.10833), in one stage and for faces of a few
pixels; their ranges are made narrower, as stated:
- blur: Gaussian of 0.05 to 0.75 low pixels (Real-ESRGAN's 0.2 to 3 at its factor of 4), for a third of the faces drawn out into
  an ellipse and for a third into a line, up to 2 low pixels long, in any direction;
- shrinking: area, bilinear or bicubic, each anti-aliased (Pillow's);
- noise: for half of the faces grain of 1 to 15 grey levels (half of Real-ESRGAN's 30: a 16 px face has none to spare), for the
  others shot noise at 200 to 5,000 photons for white; grey for 40% of the faces, as in Real-ESRGAN;
- JPEG of quality 30 to 95.
What comes before the shrinking works on the 112 px face and is softened by it. Everything is drawn from the face's own bytes and
px, so that a face is the same in every run, in the bank and out of it.

N = faces, S = side in pixels.
"""

import io
import zlib

import numpy as np
from PIL import Image, ImageFilter

from aird_plugin.data.lowres import check_faces

VERSION = "realworld/1"
SIGMA_LOW_PX = (0.05, 0.75)
LENGTH_LOW_PX = 2.0
LINE_TAPS = 13
KERNELS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
GRAIN = (1.0, 15.0)
PHOTONS = (200.0, 5000.0)
GREY_SHARE = 0.4
QUALITY = (30, 95)


def realworld(faces_NHWC: np.ndarray, px: int) -> np.ndarray:
    """uint8 (N, S, S, 3) -> uint8 (N, px, px, 3), as a camera of its own saw each face. ValueError for another shape or dtype."""
    check_faces(faces_NHWC)
    small_NPPC = np.empty((len(faces_NHWC), px, px, 3), np.uint8)
    for out, face_SSC in zip(small_NPPC, faces_NHWC, strict=True):
        rng = np.random.default_rng((zlib.crc32(face_SSC.tobytes()), px))
        for step in rng.permutation(4):
            face_SSC = STEPS[step](face_SSC, px, rng)
        out[:] = face_SSC
    return small_NPPC


def _blur(face_SSC: np.ndarray, px: int, rng: np.random.Generator) -> np.ndarray:
    """A round Gaussian, then for two thirds of the faces a line: with a Gaussian's weights an ellipse, with equal ones motion."""
    low_pixel = len(face_SSC) / px
    sigma = low_pixel * rng.uniform(*SIGMA_LOW_PX)
    kind, length, angle = rng.integers(3), low_pixel * rng.uniform(0, LENGTH_LOW_PX), rng.uniform(0, np.pi)
    soft_SSC = np.asarray(Image.fromarray(face_SSC).filter(ImageFilter.GaussianBlur(sigma)))
    if kind == 0:
        return soft_SSC
    places_T = np.linspace(-0.5, 0.5, LINE_TAPS)
    # The line of an ellipse is cut at two standard deviations.
    weights_T = np.exp(-8 * places_T**2) if kind == 1 else np.ones(LINE_TAPS)
    shifts_T2 = np.rint(np.outer(places_T * length, (np.sin(angle), np.cos(angle)))).astype(int)
    return _levels(_mean_of_shifts(soft_SSC, shifts_T2, weights_T / weights_T.sum()))


def _mean_of_shifts(face_SSC: np.ndarray, shifts_T2: np.ndarray, weights_T: np.ndarray) -> np.ndarray:
    """The weighted mean of the face moved by each of the shifts (rows, columns); its edge is repeated. float32 (S, S, 3)."""
    side, border = len(face_SSC), int(np.abs(shifts_T2).max())
    wide = np.pad(face_SSC, ((border, border), (border, border), (0, 0)), mode="edge")
    mean_SSC = np.zeros(face_SSC.shape, np.float32)
    for (row, column), weight in zip(shifts_T2 + border, weights_T, strict=True):
        mean_SSC += np.float32(weight) * wide[row : row + side, column : column + side]
    return mean_SSC


def _shrink(face_SSC: np.ndarray, px: int, rng: np.random.Generator) -> np.ndarray:
    kernel = KERNELS[rng.integers(len(KERNELS))]
    return np.asarray(Image.fromarray(face_SSC).resize((px, px), kernel))


def _noise(face_SSC: np.ndarray, px: int, rng: np.random.Generator) -> np.ndarray:
    """Grain of one strength, or shot noise, whose variance is the light's (a Poisson count by its normal approximation)."""
    channels = 1 if rng.random() < GREY_SHARE else 3
    noise_SSC = rng.standard_normal((*face_SSC.shape[:2], channels), np.float32)
    if rng.random() < 0.5:
        return _levels(face_SSC + np.float32(rng.uniform(*GRAIN)) * noise_SSC)
    photons = np.exp(rng.uniform(*np.log(PHOTONS)))
    return _levels(face_SSC + np.sqrt(face_SSC * np.float32(255 / photons)) * noise_SSC)


def _compress(face_SSC: np.ndarray, px: int, rng: np.random.Generator) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(face_SSC).save(file, "JPEG", quality=int(rng.integers(QUALITY[0], QUALITY[1] + 1)))
    return np.asarray(Image.open(file))


def _levels(face_SSC: np.ndarray) -> np.ndarray:
    return np.rint(face_SSC).clip(0, 255).astype(np.uint8)


STEPS = (_blur, _shrink, _noise, _compress)
