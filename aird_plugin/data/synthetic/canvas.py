"""Anti-aliased painting in face coordinates, the primitives of `portrait.py`.

Face coordinates: u to the right, v down, the origin between eyes and nose; the image spans 2.2 units, and the chin is near
v = 0.9. Colors are RGB in 0..1.
"""

from typing import NamedTuple

import numpy as np

UNITS = 2.2
# A pixel and a half, which gives smooth edges without supersampling.
EDGE = 0.03


class Canvas(NamedTuple):
    """Face coordinates of every pixel, u and v (H, W), and the image, rgb (3, H, W), all float32."""

    u: np.ndarray
    v: np.ndarray
    rgb: np.ndarray

    def near(self, u: float, v: float, reach_u: float, reach_v: float) -> "Canvas":
        """Return the window of all pixels within reach of (u, v): a view into this canvas, possibly empty."""
        close = (np.abs(self.u - u) < reach_u) & (np.abs(self.v - v) < reach_v)
        rows, columns = np.flatnonzero(close.any(1)), np.flatnonzero(close.any(0))
        if not len(rows):
            return Canvas(self.u[:0, :0], self.v[:0, :0], self.rgb[:, :0, :0])
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        return Canvas(self.u[box], self.v[box], self.rgb[(slice(None), *box)])

    def paint(self, cover: np.ndarray, color: np.ndarray | tuple) -> None:
        """Blend a color in; cover (H, W) in 0..1 is its opacity."""
        for channel, value in zip(self.rgb, color, strict=True):
            channel += cover * (np.float32(value) - channel)

    def shade(self, cover: np.ndarray, factor: float) -> None:
        """Multiply by `factor` in proportion to the cover: below 1 a shadow, above 1 a highlight."""
        np.multiply(self.rgb, 1 + cover * np.float32(factor - 1), out=self.rgb)


def inside(distance: np.ndarray, edge: float = EDGE) -> np.ndarray:
    """Signed distance, negative inside -> cover in 0..1, falling linearly over the edge."""
    return np.clip(0.5 - distance / edge, 0, 1)


def between(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Cover of the region where both signed distances are negative."""
    return inside(np.maximum(top, bottom))


def stroke(distance: np.ndarray, half_width: np.ndarray | float, edge: float = EDGE) -> np.ndarray:
    """Cover of a line along distance 0."""
    return inside(np.abs(distance) - half_width, edge)


def ellipse(u: np.ndarray, v: np.ndarray, reach_u: float, reach_v: float) -> np.ndarray:
    """Approximate signed distance to an ellipse around (0, 0)."""
    return (np.sqrt((u / reach_u) ** 2 + (v / reach_v) ** 2) - 1) * min(reach_u, reach_v)


def glow(u: np.ndarray, v: np.ndarray, reach_u: float, reach_v: float) -> np.ndarray:
    """A smooth bump: 1 at (0, 0), 0 on and outside the ellipse."""
    return np.clip(1 - (u / reach_u) ** 2 - (v / reach_v) ** 2, 0, 1) ** 2


def bulge(u: np.ndarray, reach: float) -> np.ndarray:
    """A parabola: 1 at 0, 0 at and beyond +-reach."""
    return np.clip(1 - (u / reach) ** 2, 0, 1)


def ramp(x: np.ndarray) -> np.ndarray:
    """Clip x to 0..1."""
    return np.clip(x, 0, 1)
