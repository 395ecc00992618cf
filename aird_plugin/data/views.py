"""The views of a face: a flip times a seeded jitter.

View v of a face is jitter v // 2, mirrored where v is odd. Jitter 0 is the face as it is, so two views are the face and its
mirror image, as in the papers. Every other jitter is a small affine motion, a change of light and colour, and grey for half
of them; it is a function of (seed, row, jitter) alone, so that the bank, the online path and every rank see the same view.
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
    """`views` itself where it is an even count of views of a face; ValueError otherwise."""
    if isinstance(views, bool) or not isinstance(views, int) or views < 2 or views % 2:
        raise ValueError(f"views counts flip times jitter, so it is even and at least 2; got {views!r}")
    return views


def view_of(face_HWC: np.ndarray, row: int, view: int, seed: int = 0) -> np.ndarray:
    """View `view` of the face in `row`. uint8 (112, 112, 3) -> uint8 (112, 112, 3)."""
    jittered_HWC = jitter(face_HWC, row, view // 2, seed)
    return np.ascontiguousarray(jittered_HWC[:, ::-1]) if view % 2 else jittered_HWC


def mirror_odd(faces_BHWC: np.ndarray, views_B: np.ndarray) -> np.ndarray:
    """The faces, those of an odd view mirrored in place."""
    odd_B = views_B % 2 == 1
    faces_BHWC[odd_B] = faces_BHWC[odd_B, :, ::-1]
    return faces_BHWC


def jitter(face_HWC: np.ndarray, row: int, number: int, seed: int = 0) -> np.ndarray:
    """Jitter `number` of the face in `row`; number 0 is the face itself."""
    if number == 0:
        return face_HWC
    rng = np.random.default_rng((seed, row, number))
    moved = _moved(face_HWC, rng)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        moved = enhance(moved).enhance(rng.uniform(1 - MAX_LIGHT, 1 + MAX_LIGHT))
    if rng.random() < GREY_SHARE:
        moved = moved.convert("L").convert("RGB")
    return np.asarray(moved)


def _moved(face_HWC: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Turn, zoom and shift about the centre; what comes in over the edge repeats the edge."""
    side = face_HWC.shape[0]
    angle = np.deg2rad(rng.uniform(-MAX_DEGREES, MAX_DEGREES))
    zoom = np.exp(rng.uniform(-MAX_ZOOM, MAX_ZOOM))
    shift_x, shift_y = rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2)
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    middle = side / 2
    wide = Image.fromarray(np.pad(face_HWC, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="edge"))
    source_x = middle + shift_x + BORDER - cos * middle + sin * middle
    source_y = middle + shift_y + BORDER - sin * middle - cos * middle
    matrix = (cos, -sin, source_x, sin, cos, source_y)
    return wide.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
