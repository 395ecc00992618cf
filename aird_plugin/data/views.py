"""The views of an image: a flip times a seeded jitter.

View v is jitter v // 2, mirrored where v is odd. Jitter 0 is the image itself, so two views are the image and its mirror
image, as in the papers. Every other jitter is a small affine transform and a change of brightness, contrast and saturation,
and half of them are grey. A jitter is a function of (seed, row, jitter), so the bank, the online path and every rank agree.
"""

import numpy as np
from PIL import Image, ImageEnhance

VIEWS_VERSION = "flip-affine-colour-grey/1"
BORDER = 24
MAX_DEGREES = 8.0
MAX_SHIFT = 4.0
MAX_ZOOM = 0.08
MAX_LIGHT = 0.25
GREY_SHARE = 0.5


def check_views(views: int) -> int:
    """Return `views` if it is even and at least 2; raise ValueError otherwise."""
    if isinstance(views, bool) or not isinstance(views, int) or views < 2 or views % 2:
        raise ValueError(f"views is 2 (the flip) times the number of jitters, so even and at least 2; got {views!r}")
    return views


def mirror_odd(images_BHWC: np.ndarray, views_B: np.ndarray) -> np.ndarray:
    """Mirror the images of odd views in place, and return all."""
    odd_B = views_B % 2 == 1
    images_BHWC[odd_B] = images_BHWC[odd_B, :, ::-1]
    return images_BHWC


def jitter(image_HWC: np.ndarray, row: int, number: int, seed: int = 0) -> np.ndarray:
    """Return jitter `number` of the image in `row`; number 0 is the image itself."""
    if number == 0:
        return image_HWC
    rng = np.random.default_rng((seed, row, number))
    jittered = _affine(image_HWC, rng)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        jittered = enhance(jittered).enhance(rng.uniform(1 - MAX_LIGHT, 1 + MAX_LIGHT))
    if rng.random() < GREY_SHARE:
        jittered = jittered.convert("L").convert("RGB")
    return np.asarray(jittered)


def _affine(image_HWC: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Rotate, zoom and shift about the center; the border repeats the edge pixels."""
    side = image_HWC.shape[0]
    angle = np.deg2rad(rng.uniform(-MAX_DEGREES, MAX_DEGREES))
    zoom = np.exp(rng.uniform(-MAX_ZOOM, MAX_ZOOM))
    shift_x, shift_y = rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2)
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    center = side / 2
    wide = Image.fromarray(np.pad(image_HWC, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="edge"))
    source_x = center + shift_x + BORDER - cos * center + sin * center
    source_y = center + shift_y + BORDER - sin * center - cos * center
    matrix = (cos, -sin, source_x, sin, cos, source_y)
    return wide.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
