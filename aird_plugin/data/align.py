"""Five landmarks of a face in a photo -> the aligned square that InsightFace's recognisers take.

Points are (x, y) in pixels of the photo, the middle of its first pixel being (0, 0), in InsightFace's order: the two eyes, from
left to right as they stand in the picture, the tip of the nose, the two corners of the mouth from left to right.
"""

import numpy as np

SIDE = 112
# InsightFace's `arcface_dst` (insightface/utils/face_align.py): where the five points come to lie in a 112 px crop.
ARCFACE_112 = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
# A mirrored face reaches 0.23, one seen wholly from the side 0.78. (Points in another order may reach that too.)
LEAST_LIKENESS = 0.5


def template(side: int = SIDE) -> np.ndarray:
    """Where the five points come to lie. float64 (5, 2), for a crop of `side` px."""
    return np.array(ARCFACE_112) * (side / SIDE)


def similarity(points_52: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The turn, scale and shift that brings the points nearest to the template, in least squares. float64 (2, 3).

    That is Umeyama's transform (1991), which InsightFace takes from scikit-image; in the plane, with x + iy for a point, it is an
    ordinary least-squares line w = a z + b. Raises ValueError for points of another shape, not finite, or all the same.
    """
    z_5, w_5 = _as_complex(points_52), _as_complex(template(side))
    away_5 = z_5 - z_5.mean()
    spread = np.vdot(away_5, away_5).real
    if spread < 1e-6:
        raise ValueError(f"five points that are one and the same, {tuple(np.asarray(points_52)[0].tolist())}, are no face")
    a = np.vdot(away_5, w_5) / spread
    b = w_5.mean() - a * z_5.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def face_px(points_52: np.ndarray) -> float:
    """How many pixels of the photo one side of the crop spans: what `px` means everywhere in this project."""
    return float(SIDE / np.hypot(*similarity(points_52)[:, 0]))


def likeness(points_52: np.ndarray) -> float:
    """How far turn, scale and shift alone make the points the template: 1 wholly, 0 not at all. ValueError as `similarity`."""
    similarity(points_52)
    z_5, w_5 = (points - points.mean() for points in (_as_complex(points_52), _as_complex(template())))
    return float(abs(np.vdot(z_5, w_5)) / (np.linalg.norm(z_5) * np.linalg.norm(w_5)))


def check_points(points_52: np.ndarray, width: int, height: int) -> None:
    """ValueError where the points are no face of a photo of this size: all the same, mirrored, shapeless, or off the picture."""
    alike = likeness(points_52)
    if not alike >= LEAST_LIKENESS:
        raise ValueError(
            f"the points are mirrored, or of no face (likeness {alike:.2f}, wanted {LEAST_LIKENESS}); the order is "
            "both eyes, nose, both corners of the mouth, each from left to right in the picture"
        )
    x, y = np.mean(points_52, 0)
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"the points lie around ({x:.0f}, {y:.0f}), outside a photo of {width}x{height}")


def align_face(photo_HWC: np.ndarray, points_52: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The aligned crop, uint8 (side, side, 3), of a uint8 photo; black where it reaches beyond the photo.

    As InsightFace's norm_crop: bilinear, between four pixels, without antialiasing however large the face. Within one grey
    level of OpenCV 5; OpenCV 4 rounds positions to 1/32 px, which on noise makes up to 7. ValueError as `similarity`.
    """
    matrix = similarity(points_52, side)
    back_22 = np.linalg.inv(matrix[:, :2])
    rows, columns = np.mgrid[:side, :side]
    x, y = np.tensordot(back_22, np.stack([columns - matrix[0, 2], rows - matrix[1, 2]]), 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    # Not Pillow's transform: it cuts decimals off and repeats the rim. torch's and scikit-image's want the whole photo in floats.
    right_part, lower_part = (x - left)[..., None], (y - top)[..., None]
    upper = _pixels(photo_HWC, top, left) * (1 - right_part) + _pixels(photo_HWC, top, left + 1) * right_part
    lower = _pixels(photo_HWC, top + 1, left) * (1 - right_part) + _pixels(photo_HWC, top + 1, left + 1) * right_part
    return (upper * (1 - lower_part) + lower * lower_part + 0.5).astype(np.uint8)


def _pixels(photo_HWC: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The photo's pixels at these places, zero outside."""
    height, width = photo_HWC.shape[:2]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return photo_HWC[rows.clip(0, height - 1), columns.clip(0, width - 1)] * inside[..., None]


def _as_complex(points_52: np.ndarray) -> np.ndarray:
    points_52 = np.asarray(points_52, np.float64)
    if points_52.shape != (5, 2) or not np.isfinite(points_52).all():
        raise ValueError(f"a face has five finite points (x, y); got shape {points_52.shape}: {points_52.tolist()}")
    return points_52 @ (1, 1j)
