"""Warnings about images to adapt to: too few, of one identity, or of mixed sharpness."""

import numpy as np

from aird_plugin.data.image_files import first_names
from aird_plugin.data.lowres import low_faces

MIN_IMAGES = 200
# Mated pairs score well above this, non-mated pairs rarely.
MAX_MEAN_COSINE = 0.5
# Two groups: each at least a tenth of the images, one three times as sharp as the other, and little variance within the groups.
MIN_FRACTION, SHARPNESS_RATIO, MAX_WITHIN_VARIANCE = 0.1, 3.0, 0.2


def dataset_warnings(images_NHWC: np.ndarray, mean_cosine: float, px: int) -> list[str]:
    """One sentence per warning about images to adapt to, uint8 (N, 112, 112, 3).

    mean_cosine: of random pairs, by the student before adaptation. px: the resolution it was trained for.
    """
    messages = []
    if len(images_NHWC) < MIN_IMAGES:
        messages.append(f"only {len(images_NHWC)} images: below {MIN_IMAGES}, single images dominate the statistics")
    if mean_cosine > MAX_MEAN_COSINE:
        messages.append(
            f"random pairs have a mean cosine of {mean_cosine:.2f}: the images may show one identity, which the student would fit"
        )
    fraction = sharper_fraction(sharpness(images_NHWC, px))
    if fraction:
        messages.append(f"{fraction:.0%} of the images are much sharper than the rest: adapt to HR and LR images separately")
    return messages


def shape_warnings(stretched: list[str], images: int) -> list[str]:
    """A warning where images are not square. stretched: their names; images: the number of all."""
    if not stretched:
        return []
    return [
        f"{len(stretched)} of {images} images are not square and were stretched ({first_names(stretched)}): `aird align` crops "
        "photos as the student was trained on them"
    ]


def sharpness(images_NHWC: np.ndarray, px: int) -> np.ndarray:
    """Mean difference in grey levels of each image to itself downsampled to px and upsampled again, plus 0.1. (N,)"""
    return np.abs(images_NHWC.astype(np.int16) - low_faces(images_NHWC, px)).mean(axis=(1, 2, 3)) + 0.1


def sharper_fraction(sharpness_N: np.ndarray) -> float | None:
    """Fraction of the sharper group where the images form two groups by sharpness, else None.

    The threshold is Otsu's, on the logarithm: it minimises the variance within both groups.
    """
    ordered_N, count = np.sort(np.log(sharpness_N)), len(sharpness_N)
    if count < 2 or ordered_N[0] == ordered_N[-1]:
        return None
    below = np.arange(1, count)
    sums = np.cumsum(ordered_N)
    low_mean, high_mean = sums[:-1] / below, (sums[-1] - sums[:-1]) / (count - below)
    between = below * (count - below) / count * (high_mean - low_mean) ** 2
    cut = int(np.argmax(between))
    fraction = 1 - (cut + 1) / count
    within = 1 - between[cut] / (ordered_N.var() * count)
    separated = high_mean[cut] - low_mean[cut] > np.log(SHARPNESS_RATIO) and within < MAX_WITHIN_VARIANCE
    return fraction if separated and MIN_FRACTION <= fraction <= 1 - MIN_FRACTION else None
