"""Five landmarks of a face in a photo -> the aligned square crop that InsightFace's recognition models take.

Landmarks are (x, y) in pixels of the photo, with the center of its first pixel at (0, 0), in InsightFace's order: left eye, right
eye, nose tip, left and right corner of the mouth, where left and right are those of the image.
"""

from types import ModuleType

import numpy as np

from aird_plugin.data.constants import FACE_SIDE

# InsightFace's `arcface_dst` (insightface/utils/face_align.py): positions of the five landmarks in a 112 px crop.
ARCFACE_112 = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
# A mirrored face reaches 0.23, a full profile 0.78. (Landmarks in another order may reach that too.)
MIN_LIKENESS = 0.5


def skimage_transform() -> ModuleType:
    """`skimage.transform`. Raises ImportError that names the extra where scikit-image is missing."""
    try:
        import skimage.transform
    except ImportError as error:
        raise ImportError("aligning faces needs scikit-image: `pip install aird_plugin[insightface]`") from error
    return skimage.transform


def template(side: int = FACE_SIDE) -> np.ndarray:
    """Positions of the five landmarks in a crop of `side` px. float64 (5, 2)."""
    return np.array(ARCFACE_112) * (side / FACE_SIDE)


def similarity(points_52: np.ndarray, side: int = FACE_SIDE) -> np.ndarray:
    """The least-squares rotation, scale and shift from the landmarks to the template. float64 (2, 3).

    Umeyama (1991), from scikit-image as in InsightFace's `estimate_norm`. Raises ValueError for landmarks of another shape, not
    finite, or all the same.
    """
    points_52 = np.asarray(points_52, np.float64)
    if points_52.shape != (5, 2) or not np.isfinite(points_52).all():
        raise ValueError(f"a face has five finite landmarks (x, y); got shape {points_52.shape}: {points_52.tolist()}")
    if ((points_52 - points_52.mean(0)) ** 2).sum() < 1e-6:
        raise ValueError(f"the five landmarks are all at {tuple(points_52[0].tolist())}; a face has five distinct ones")
    transform = skimage_transform().SimilarityTransform.from_estimate(points_52, template(side))
    if not transform:
        raise ValueError(f"no similarity transform fits the landmarks {points_52.tolist()}: {transform}")
    return transform.params[:2]


def face_px(points_52: np.ndarray) -> float:
    """Pixels of the photo along one side of the crop: the meaning of `px` everywhere in this project."""
    return float(FACE_SIDE / np.hypot(*similarity(points_52)[:, 0]))


def similarities(points_F52: np.ndarray) -> np.ndarray:
    """`similarity` to the 112 px template of many faces at once, without scikit-image. float64 (F, 2, 3).

    With points as complex numbers the least-squares transform is z -> a z + b in closed form: a is the covariance of landmarks
    and template over the landmarks' variance. A face whose landmarks are not finite or all the same gets a matrix of nan.
    """
    points_F52 = np.asarray(points_F52, np.float64).reshape(-1, 5, 2)
    face_F5, target_5 = points_F52[..., 0] + 1j * points_F52[..., 1], template() @ (1, 1j)
    center_F, target_center = face_F5.mean(1), target_5.mean()
    offset_F5 = face_F5 - center_F[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        spread_F = (np.abs(offset_F5) ** 2).sum(1)
        a_F = (offset_F5.conj() @ (target_5 - target_center)) / np.where(spread_F < 1e-6, np.nan, spread_F)
        b_F = target_center - a_F * center_F
    return np.stack([a_F.real, -a_F.imag, b_F.real, a_F.imag, a_F.real, b_F.imag], 1).reshape(-1, 2, 3)


def likeness(points_52: np.ndarray) -> float:
    """Correlation with the template after the best rotation, scale and shift, 0..1. Raises ValueError as `similarity`."""
    scale = FACE_SIDE / face_px(points_52)
    spread, template_spread = (np.linalg.norm(points - np.mean(points, 0)) for points in (points_52, template()))
    return float(scale * spread / template_spread)


def check_points(points_52: np.ndarray, width: int, height: int) -> None:
    """Raise ValueError for landmarks that are no face in a photo of this size: all the same, mirrored, shapeless, or outside."""
    alike = likeness(points_52)
    if not alike >= MIN_LIKENESS:
        raise ValueError(
            f"the landmarks are mirrored, or of no face (likeness {alike:.2f}, required {MIN_LIKENESS}); the order is "
            "left eye, right eye, nose tip, left and right corner of the mouth, as in the image"
        )
    x, y = np.mean(points_52, 0)
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"the landmarks lie around ({x:.0f}, {y:.0f}), outside a photo of {width}x{height}")


def align_face(photo_HWC: np.ndarray, points_52: np.ndarray, side: int = FACE_SIDE) -> np.ndarray:
    """The aligned crop, uint8 (side, side, 3), of a uint8 photo; black outside the photo.

    Like InsightFace's `norm_crop`: bilinear, without antialiasing whatever the size of the face. Within one grey level of
    OpenCV 5; OpenCV 4 rounds positions to 1/32 px, which on noise makes up to 7. ValueError as `similarity`.
    """
    to_photo = np.linalg.inv(np.vstack([similarity(points_52, side), (0, 0, 1)]))
    part_HWC, corner = _covered(photo_HWC, to_photo, side)
    to_photo[:2, 2] -= corner
    # scikit-image and not Pillow, whose transform truncates decimals and repeats the rim.
    # Without clip=False a bright photo's rim would not fade to black.
    options = {"output_shape": (side, side), "order": 1, "clip": False, "preserve_range": True}
    crop_HWC = skimage_transform().warp(part_HWC, to_photo, **options)
    return (crop_HWC + 0.5).astype(np.uint8)


def _covered(photo_HWC: np.ndarray, to_photo: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the photo under the crop, at least one pixel, and its corner (x, y): `warp` copies its input to float64."""
    corners = to_photo[:2] @ [(0, side - 1, 0, side - 1), (0, 0, side - 1, side - 1), (1, 1, 1, 1)]
    limit = np.array(photo_HWC.shape[1::-1])
    first = np.floor(corners.min(1)).clip(0, limit - 1).astype(int)
    last = (np.floor(corners.max(1)) + 2).clip(first + 1, limit).astype(int)
    return photo_HWC[first[1] : last[1], first[0] : last[0]], first
