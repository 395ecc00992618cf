"""Soft-edged painting in face coordinates: what `portrait.py` draws synthetic people with.

Face coordinates: u to the right, v down, the origin between eyes and nose; the picture spans 2.2 units, a
chin lies near v = 0.9. Colours are RGB in 0..1.
"""

from typing import NamedTuple

import numpy as np

SIDE = 112
UNITS = 2.2
# A pixel and a half: shapes need no supersampling to have smooth edges.
EDGE = 0.03


class Canvas(NamedTuple):
    """Face coordinates of every pixel, u and v (H, W), and the picture, rgb (3, H, W), all float32."""

    u: np.ndarray
    v: np.ndarray
    rgb: np.ndarray

    def near(self, u: float, v: float, reach_u: float, reach_v: float) -> "Canvas":
        """The window on all pixels within reach of (u, v), a view that paints through; may be empty."""
        close = (np.abs(self.u - u) < reach_u) & (np.abs(self.v - v) < reach_v)
        rows, columns = close.any(1).nonzero()[0], close.any(0).nonzero()[0]
        if not len(rows):
            return Canvas(self.u[:0, :0], self.v[:0, :0], self.rgb[:, :0, :0])
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        return Canvas(self.u[box], self.v[box], self.rgb[(slice(None), *box)])

    def paint(self, cover: np.ndarray, colour: np.ndarray | tuple) -> None:
        """Blend a colour in; cover (H, W) in 0..1 says how much of it."""
        for channel, value in zip(self.rgb, colour, strict=True):
            channel += cover * (np.float32(value) - channel)

    def shade(self, cover: np.ndarray, factor: float) -> None:
        """Multiply by a factor where cover is one: below 1 a shadow, above 1 a highlight."""
        np.multiply(self.rgb, 1 + cover * np.float32(factor - 1), out=self.rgb)


def inside(distance: np.ndarray, edge: float = EDGE) -> np.ndarray:
    """Signed distance, negative inside, -> cover in 0..1 that falls linearly over the edge."""
    return np.clip(0.5 - distance / edge, 0, 1)


def between(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Cover of what has both signed distances negative."""
    return inside(np.maximum(top, bottom))


def stroke(distance: np.ndarray, half_width: np.ndarray | float, edge: float = EDGE) -> np.ndarray:
    """Cover of a line along distance 0."""
    return inside(np.abs(distance) - half_width, edge)


def ellipse(u: np.ndarray, v: np.ndarray, reach_u: float, reach_v: float) -> np.ndarray:
    """Signed distance, roughly, to an ellipse around (0, 0)."""
    return (np.sqrt((u / reach_u) ** 2 + (v / reach_v) ** 2) - 1) * min(reach_u, reach_v)


def glow(u: np.ndarray, v: np.ndarray, reach_u: float, reach_v: float) -> np.ndarray:
    """A smooth bump: 1 at (0, 0), 0 from the ellipse's rim on."""
    return np.clip(1 - (u / reach_u) ** 2 - (v / reach_v) ** 2, 0, 1) ** 2


def bulge(u: np.ndarray, reach: float) -> np.ndarray:
    """A parabola: 1 at 0, 0 at and beyond +-reach."""
    return np.clip(1 - (u / reach) ** 2, 0, 1)


def ramp(x: np.ndarray) -> np.ndarray:
    """x held to 0..1."""
    return np.clip(x, 0, 1)
