"""Procedurally drawn synthetic identities, for runs and tests without data; a network has to learn to separate them.

Identity is geometry and coloring: outline, hairline, eyes, brows, nose, mouth, marks. Nuisance factors are pose, lighting,
expression, hairstyle, clothes, background and camera. Lighting, color cast and grey images make skin and hair unreliable, the
hairstyle changes between shots, and outlines differ little, so the identity is mostly in the small features.
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.synthetic.portrait import paint_portrait

# Uniform ranges, lengths in the face units of canvas.py. Their order is the order of the random draws.
IDENTITY_RANGES = {
    "melanin": (0.1, 0.9),
    "blush": (-1, 1),
    "hair_tone": (0, 1),
    "hair_red": (-1, 1),
    "iris_tone": (0, 1),
    "lip_red": (0, 1),
    "face_width": (0.62, 0.7),
    "skull": (0.82, 0.9),
    "chin": (0.84, 0.95),
    "jaw": (1.7, 4.0),
    "cheek": (0.45, 0.8),
    "ear": (0.07, 0.13),
    "neck": (0.3, 0.45),
    "hairline": (-0.67, -0.55),
    "hair_arch": (-0.2, 0.4),
    "parting": (-0.22, 0.22),
    "locks": (2, 14),
    "hair_side": (0.04, 0.1),
    "hair_top": (0.04, 0.1),
    "hair_length": (-0.2, 0.6),
    "eye_gap": (0.26, 0.38),
    "eye_v": (-0.16, -0.02),
    "eye_width": (0.1, 0.18),
    "eye_open": (0.045, 0.095),
    "eye_tilt": (-0.25, 0.3),
    "iris": (0.035, 0.065),
    "socket": (0.0, 0.3),
    "lid_fold": (0.0, 0.05),
    "lash": (0.005, 0.02),
    "brow_rise": (0.11, 0.22),
    "brow_thick": (0.015, 0.06),
    "brow_length": (0.12, 0.23),
    "brow_tilt": (-0.35, 0.4),
    "brow_arch": (0, 0.09),
    "brow_dark": (0.35, 1),
    "nose_v": (0.18, 0.35),
    "nose_width": (0.08, 0.18),
    "bridge": (0.02, 0.06),
    "nose_relief": (0.15, 0.5),
    "nose_hook": (-0.03, 0.06),
    "nostril": (0.018, 0.04),
    "mouth_v": (0.48, 0.63),
    "mouth_width": (0.15, 0.29),
    "lip_upper": (0.015, 0.06),
    "lip_lower": (0.02, 0.08),
    "lip_bow": (0, 0.02),
    "folds": (0, 0.35),
    "beard_line": (0.25, 0.5),
}
SHOT_RANGES = {
    "yaw": (-0.6, 0.6),
    "pitch": (-0.35, 0.35),
    "light_x": (-0.7, 0.7),
    "light_y": (-0.5, 0.5),
    "collar": (0, 1),
    "tousle": (0, 6.3),
    "lids": (0.35, 1.1),
    "gaze": (-0.05, 0.05),
    "smile": (-0.6, 1.0),
    "brow_lift": (-0.025, 0.035),
    "contrast": (0.7, 1.15),
    "noise": (0.005, 0.035),
}
# Standard deviations around 0, truncated at 2.5 of them. `gain`, `zoom` and `hair_lighter` are logarithms.
SHOT_SIGMAS = {
    "roll": 0.07,
    "zoom": 0.05,
    "shift_x": 0.04,
    "shift_y": 0.04,
    "gain": 0.3,
    "hair_longer": 0.35,
    "hair_fuller": 0.04,
    "hairline_lower": 0.04,
    "hair_lighter": 0.25,
}
CAST = 0.15
GREY_SHARE = 0.3
BEARD_SHARE, MOUSTACHE_SHARE, FRECKLED_SHARE, MOLES, FRECKLES = 0.25, 0.2, 0.15, 1.5, 25
PALE, DARK = np.array([0.97, 0.82, 0.72]), np.array([0.4, 0.26, 0.19])
BLACK_HAIR, BLOND_HAIR = np.array([0.08, 0.06, 0.06]), np.array([0.8, 0.66, 0.42])
BROWN_IRIS, BLUE_IRIS = np.array([0.25, 0.14, 0.07]), np.array([0.35, 0.55, 0.7])
DULL_LIPS, RED_LIPS = np.array([0.9, 0.75, 0.72]), np.array([0.85, 0.45, 0.45])
RED_SHIFT = np.array([1, -0.5, -1])
LUMINANCE = np.float32([0.299, 0.587, 0.114])


def draw_person(label: int, index: int, seed: int = 0) -> np.ndarray:
    """Draw image number `index` of synthetic identity `label`: uint8 (112, 112, 3), RGB.

    The identities of a seed are independent, so held-out identities are labels that training did not use. The image is a
    function of the three numbers; another processor may round floats differently, which can change a pixel by one grey level.
    Raises ValueError for a negative number.
    """
    if min(label, index, seed) < 0:
        raise ValueError(f"label, index and seed must be 0 or more, got {label}, {index} and {seed}")
    random = random_stream(seed, 1, label, index)
    identity, shot = sample_identity(random_stream(seed, 0, label)), sample_shot(random)
    return take_photo(paint_portrait(identity, shot), shot, random)


def random_stream(*numbers: int) -> np.random.Generator:
    """Return the random generator seeded by these numbers; the same on every machine."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(numbers)))


def sample_identity(random: np.random.Generator) -> SimpleNamespace:
    """Sample everything that is constant for an identity."""
    identity = SimpleNamespace(**{name: float(random.uniform(*span)) for name, span in IDENTITY_RANGES.items()})
    identity.skin = mix(PALE, DARK, identity.melanin) * (1 + 0.05 * identity.blush * RED_SHIFT)
    identity.hair_colour = mix(BLACK_HAIR, BLOND_HAIR, identity.hair_tone**2) * (1 + 0.2 * identity.hair_red * RED_SHIFT)
    identity.iris_colour = mix(BROWN_IRIS, BLUE_IRIS, identity.iris_tone)
    identity.lip_colour = identity.skin * mix(DULL_LIPS, RED_LIPS, identity.lip_red)
    identity.beard = float(random.uniform(0.3, 0.9)) * bool(random.random() < BEARD_SHARE)
    identity.moustache = float(random.uniform(0.4, 0.9)) * bool(random.random() < MOUSTACHE_SHARE)
    freckles = FRECKLES if random.random() < FRECKLED_SHARE else 0
    moles = random.poisson(MOLES)
    places = random.uniform((-0.45, -0.25), (0.45, 0.6), (freckles + moles, 2))
    sizes = np.append(np.full(freckles, 0.008), random.uniform(0.015, 0.035, moles))
    factors = np.append(np.full(freckles, 0.75), random.uniform(0.3, 0.6, moles))
    identity.spots = np.column_stack([places, sizes, factors]).tolist()
    return identity


def sample_shot(random: np.random.Generator) -> SimpleNamespace:
    """Sample everything that changes from image to image."""
    shot = SimpleNamespace(**{name: float(random.uniform(*span)) for name, span in SHOT_RANGES.items()})
    for name, sigma in SHOT_SIGMAS.items():
        setattr(shot, name, sigma * float(np.clip(random.normal(), -2.5, 2.5)))
    shot.zoom = float(np.exp(shot.zoom))
    shot.mouth_open = max(0.0, 0.06 * float(random.normal()))
    shot.backdrop, shot.clothes = random.uniform(0.05, 0.95, (2, 3))
    # Five plane waves: two frequencies and a phase each, then their amplitude in every color channel.
    shot.waves = (random.normal(size=(5, 3)) * [5, 5, 3]).astype(np.float32)
    shot.wave_colours = (0.06 * random.normal(size=(3, 5)) + 0.08 * random.normal(size=5)).astype(np.float32)
    shot.cast = np.exp(CAST * random.normal(size=3))
    shot.grey = bool(random.random() < GREY_SHARE)
    return shot


def take_photo(rgb: np.ndarray, shot: SimpleNamespace, random: np.random.Generator) -> np.ndarray:
    """Apply lighting, exposure, color cast, contrast, grey conversion and noise: (3, H, W) in 0..1 -> uint8 (H, W, 3)."""
    axis = np.linspace(-1, 1, FACE_SIDE, dtype=np.float32)
    light = np.maximum(1 + shot.light_x * axis[None, :] + shot.light_y * axis[:, None], 0.15)
    rgb = rgb * light * np.asarray(np.exp(shot.gain) * shot.cast, np.float32)[:, None, None]
    rgb = (rgb - 0.5) * shot.contrast + 0.5
    if shot.grey:
        rgb = np.broadcast_to(np.tensordot(LUMINANCE, rgb, 1), rgb.shape)
    rgb = rgb + shot.noise * random.standard_normal(rgb.shape, dtype=np.float32)
    return np.ascontiguousarray((np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))


def draw_jpegs(shots: Sequence[tuple[int, int]], seed: int, workers: int = 1) -> Iterator[bytes]:
    """Yield the JPEG of each (label, index) of `seed`, in order. The bytes do not depend on the number of processes `workers`."""
    jobs = [(label, index, seed) for label, index in shots]
    if workers <= 1:
        yield from map(_draw_jpeg, jobs)
        return
    with multiprocessing.Pool(workers) as pool:
        yield from pool.imap(_draw_jpeg, jobs, chunksize=16)


def _draw_jpeg(job: tuple[int, int, int]) -> bytes:
    return encode_jpeg(draw_person(*job))


def mix(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Blend two colors: the first at share 0, the second at share 1."""
    return (1 - share) * first + share * second
