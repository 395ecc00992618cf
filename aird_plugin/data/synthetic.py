"""Synthetic people, drawn by rule: faces that a network really has to learn, for runs and tests without data.

Identity is geometry and colouring: outline, hairline, eyes, brows, nose, mouth, marks. Nuisance is pose,
light, expression, hairdo, clothes, background and camera. Light, colour cast and grey pictures blur skin and
hair, the same head wears its hair differently, and outlines differ little: who it is, is mostly written in the
small features.
"""

from types import SimpleNamespace

import numpy as np

from aird_plugin.data.canvas import SIDE
from aird_plugin.data.portrait import paint_portrait

# Uniform ranges, lengths in the face units of canvas.py. Their order is the order of the random draws.
PERSON = {
    "melanin": (0.1, 0.9), "blush": (-1, 1), "hair_tone": (0, 1), "hair_red": (-1, 1),
    "iris_tone": (0, 1), "lip_red": (0, 1),
    "face_width": (0.62, 0.7), "skull": (0.82, 0.9), "chin": (0.84, 0.95), "jaw": (1.7, 4.0),
    "cheek": (0.45, 0.8), "ear": (0.07, 0.13), "neck": (0.3, 0.45),
    "hairline": (-0.67, -0.55), "hair_arch": (-0.2, 0.4), "parting": (-0.22, 0.22), "locks": (2, 14),
    "hair_side": (0.04, 0.1), "hair_top": (0.04, 0.1), "hair_length": (-0.2, 0.6),
    "eye_gap": (0.26, 0.38), "eye_v": (-0.16, -0.02), "eye_width": (0.1, 0.18), "eye_open": (0.045, 0.095),
    "eye_tilt": (-0.25, 0.3), "iris": (0.035, 0.065), "socket": (0.0, 0.3), "lid_fold": (0.0, 0.05),
    "lash": (0.005, 0.02),
    "brow_rise": (0.11, 0.22), "brow_thick": (0.015, 0.06), "brow_length": (0.12, 0.23),
    "brow_tilt": (-0.35, 0.4), "brow_arch": (0, 0.09), "brow_dark": (0.35, 1),
    "nose_v": (0.18, 0.35), "nose_width": (0.08, 0.18), "bridge": (0.02, 0.06), "nose_relief": (0.15, 0.5),
    "nose_hook": (-0.03, 0.06), "nostril": (0.018, 0.04),
    "mouth_v": (0.48, 0.63), "mouth_width": (0.15, 0.29), "lip_upper": (0.015, 0.06),
    "lip_lower": (0.02, 0.08), "lip_bow": (0, 0.02),
    "folds": (0, 0.35), "beard_line": (0.25, 0.5),
}  # fmt: skip
SHOT = {
    "yaw": (-0.6, 0.6), "pitch": (-0.35, 0.35), "light_x": (-0.7, 0.7), "light_y": (-0.5, 0.5),
    "collar": (0, 1), "tousle": (0, 6.3), "lids": (0.35, 1.1), "gaze": (-0.05, 0.05), "smile": (-0.6, 1.0),
    "brow_lift": (-0.025, 0.035), "contrast": (0.7, 1.15), "noise": (0.005, 0.035),
}  # fmt: skip
# Standard deviations around 0, cut at 2.5 of them. `gain`, `zoom` and `hair_lighter` are logarithms.
SHOT_NORMAL = {
    "roll": 0.07, "zoom": 0.05, "shift_x": 0.04, "shift_y": 0.04, "gain": 0.3,
    "hair_longer": 0.35, "hair_fuller": 0.04, "hairline_lower": 0.04, "hair_lighter": 0.25,
}  # fmt: skip
CAST = 0.15
GREY_SHARE = 0.3
BEARD_SHARE, MOUSTACHE_SHARE, FRECKLED_SHARE, MOLES, FRECKLES = 0.25, 0.2, 0.15, 1.5, 25
PALE, DARK = np.array([0.97, 0.82, 0.72]), np.array([0.4, 0.26, 0.19])
BLACK_HAIR, BLOND_HAIR = np.array([0.08, 0.06, 0.06]), np.array([0.8, 0.66, 0.42])
BROWN_IRIS, BLUE_IRIS = np.array([0.25, 0.14, 0.07]), np.array([0.35, 0.55, 0.7])
DULL_LIPS, RED_LIPS = np.array([0.9, 0.75, 0.72]), np.array([0.85, 0.45, 0.45])
RED_SHIFT = np.array([1, -0.5, -1])
LUMINANCE = np.float32([0.299, 0.587, 0.114])


def draw_person(person: int, face: int, seed: int = 0) -> np.ndarray:
    """Photo number `face` of synthetic person number `person`: uint8 (112, 112, 3), RGB.

    The people of a seed are independent of each other: those held out are simply numbers that training did
    not use. The picture depends on the three numbers alone; another processor may round floats otherwise,
    which can move a pixel by one grey level. Raises ValueError for a negative number.
    """
    if min(person, face, seed) < 0:
        raise ValueError(f"person, face and seed count from 0, got {person}, {face} and {seed}")
    random = random_stream(seed, 1, person, face)
    who, shot = sample_person(random_stream(seed, 0, person)), sample_shot(random)
    return take_photo(paint_portrait(who, shot), shot, random)


def random_stream(*numbers: int) -> np.random.Generator:
    """The generator that belongs to these numbers, on every machine."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(numbers)))


def sample_person(random: np.random.Generator) -> SimpleNamespace:
    """Everything that stays with a person."""
    who = SimpleNamespace(**{name: float(random.uniform(*span)) for name, span in PERSON.items()})
    who.skin = mix(PALE, DARK, who.melanin) * (1 + 0.05 * who.blush * RED_SHIFT)
    who.hair_colour = mix(BLACK_HAIR, BLOND_HAIR, who.hair_tone**2) * (1 + 0.2 * who.hair_red * RED_SHIFT)
    who.iris_colour = mix(BROWN_IRIS, BLUE_IRIS, who.iris_tone)
    who.lip_colour = who.skin * mix(DULL_LIPS, RED_LIPS, who.lip_red)
    who.beard = float(random.uniform(0.3, 0.9)) * bool(random.random() < BEARD_SHARE)
    who.moustache = float(random.uniform(0.4, 0.9)) * bool(random.random() < MOUSTACHE_SHARE)
    freckles = FRECKLES if random.random() < FRECKLED_SHARE else 0
    moles = random.poisson(MOLES)
    places = random.uniform((-0.45, -0.25), (0.45, 0.6), (freckles + moles, 2))
    sizes = np.append(np.full(freckles, 0.008), random.uniform(0.015, 0.035, moles))
    factors = np.append(np.full(freckles, 0.75), random.uniform(0.3, 0.6, moles))
    who.spots = np.column_stack([places, sizes, factors]).tolist()
    return who


def sample_shot(random: np.random.Generator) -> SimpleNamespace:
    """Everything that changes from photo to photo."""
    shot = SimpleNamespace(**{name: float(random.uniform(*span)) for name, span in SHOT.items()})
    for name, sigma in SHOT_NORMAL.items():
        setattr(shot, name, sigma * float(np.clip(random.normal(), -2.5, 2.5)))
    shot.zoom = float(np.exp(shot.zoom))
    shot.mouth_open = max(0.0, 0.06 * float(random.normal()))
    shot.backdrop, shot.clothes = random.uniform(0.05, 0.95, (2, 3))
    # Five plane waves: two frequencies and a phase each, then their strength in every colour.
    shot.waves = (random.normal(size=(5, 3)) * [5, 5, 3]).astype(np.float32)
    shot.wave_colours = (0.06 * random.normal(size=(3, 5)) + 0.08 * random.normal(size=5)).astype(np.float32)
    shot.cast = np.exp(CAST * random.normal(size=3))
    shot.grey = bool(random.random() < GREY_SHARE)
    return shot


def take_photo(rgb: np.ndarray, shot: SimpleNamespace, random: np.random.Generator) -> np.ndarray:
    """Light, exposure, colour cast, contrast, grey film, noise: (3, H, W) in 0..1 -> uint8 (H, W, 3)."""
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    light = np.maximum(1 + shot.light_x * axis[None, :] + shot.light_y * axis[:, None], 0.15)
    rgb = rgb * light * np.float32(np.exp(shot.gain) * shot.cast)[:, None, None]
    rgb = (rgb - 0.5) * shot.contrast + 0.5
    if shot.grey:
        rgb = np.broadcast_to(np.tensordot(LUMINANCE, rgb, 1), rgb.shape)
    rgb = rgb + shot.noise * random.standard_normal(rgb.shape, dtype=np.float32)
    return np.ascontiguousarray((np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))


def mix(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """The first colour at share 0, the second at share 1."""
    return (1 - share) * first + share * second
