"""Resize and degradations on the device against the CPU's one-image forms."""

from collections.abc import Iterator

import numpy as np
import torch

from aird_plugin.data.batched.degrade import degrade_each
from aird_plugin.data.degradation import DEGRADATIONS, downsample, resize_to_network
from aird_plugin.data.lowres import low_faces, low_faces_torch
from aird_plugin.data.records import decode_face, open_records
from aird_plugin.diagnostics.gpu.check import CheckContext, Row, bounded
from aird_plugin.diagnostics.gpu.synthetic import faces

COUNT, SIDES, PX = 16, (8, 16, 24, 32, 64), 16


def synthetic_images(context: CheckContext) -> np.ndarray:
    """uint8 (N, 112, 112, 3)."""
    records = open_records(str(faces(context)))
    return np.stack([decode_face(records, row) for row in range(COUNT)])


def check_resize(context: CheckContext) -> Iterator[Row]:
    """The reference resize: down to each size and up again, within one grey level."""
    images_NHWC = synthetic_images(context)
    on_device_NHWC = torch.from_numpy(images_NHWC).to(context.device)
    worst, changed = 0, 0.0
    for px in SIDES:
        for grow in (False, True):
            expected = low_faces(images_NHWC, px, grow).astype(int)
            distance = np.abs(low_faces_torch(on_device_NHWC, px, grow).cpu().numpy() - expected)
            worst, changed = max(worst, int(distance.max())), max(changed, float((distance > 0).mean()))
    yield bounded("resize, grey levels", worst, 1, f"at most {changed:.2%} of the values differ")


def check_degradations(context: CheckContext) -> Iterator[Row]:
    """Every degradation on the device, at 16 px and resized to 112 px; mean difference in grey levels."""
    images_NHWC = synthetic_images(context)
    px_N = np.full(COUNT, PX)
    for name in DEGRADATIONS:
        expected = resize_to_network(downsample(images_NHWC, PX, name), 112, name).astype(int)
        images = torch.from_numpy(images_NHWC).to(context.device)
        # Without a seed the random numbers are the CPU's.
        found = degrade_each(images, px_N, [name] * COUNT, 112).cpu().numpy()
        distance = np.abs(found - expected)
        detail = f"at most {int(distance.max())}"
        yield bounded(f"degradation {name}, mean difference in grey levels", float(distance.mean()), 0.05, detail)
