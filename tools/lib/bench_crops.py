"""Crops of complete photo folders, for rebuild_bench.py: by landmarks, and at the mean landmarks where no face is detected."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from aird_plugin.alignment.crop import align_face
from aird_plugin.alignment.log import CROPPED, POINTS, TABLE, UNREADABLE, AlignmentLog, summary
from aird_plugin.alignment.photos import CropSettings, crop_photo
from aird_plugin.cli.align import open_landmark_source
from aird_plugin.data.images import decode
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.progress import progress

Encode = Callable[[np.ndarray], bytes]


def crop(root: Path, folder: Path, photos: list[str], points: str | None, detector: str | None, encode: Encode) -> None:
    """Write crops of these photos under `folder`, in the same layout, as `aird align` does; resumable."""
    landmarks = open_landmark_source(SimpleNamespace(points=points, detector=detector), photos, score=0.5, det_size=640)
    settings = {"folder": root.resolve().name, "faces from": landmarks.describe(), "encoding": encode.__name__}
    with AlignmentLog(folder, settings) as log:
        left = [photo for photo in photos if photo not in log.done]
        for photo in progress(left, len(photos), f"aligning {root.name}", "photos", initial=len(photos) - len(left)):
            log.write(crop_photo(root, folder, photo, landmarks, CropSettings(encode=encode)))
    print(summary(log))
    if log.counts[UNREADABLE]:
        raise ValueError(f"{log.counts[UNREADABLE]} photos cannot be read, see {folder / TABLE}: copy them again")


def crop_at_mean(root: Path, folder: Path, encode: Encode) -> None:
    """Crop each photo without a detected face at the mean landmarks of the others. All must have one size, as in LFW."""
    with (folder / TABLE).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    found = [row for row in rows if row["status"] == CROPPED]
    without = sorted({row["source"] for row in rows} - {row["source"] for row in found})
    mean_52 = np.mean([[float(row[column]) for column in POINTS] for row in found], 0).reshape(5, 2)
    sizes = {}
    for photo in without:
        photo_HWC = decode((root / photo).read_bytes(), photo, upright=True)
        sizes[photo_HWC.shape[:2]] = photo
        write_atomically((folder / photo).with_suffix(".jpg"), encode(align_face(photo_HWC, mean_52)))
    if len(sizes) > 1:
        raise ValueError(
            f"{' and '.join(sizes.values())} differ in size, so the mean landmarks fit only one; use LFW-a as published"
        )
    print(f"{len(without)} photos without a detected face were cropped at the mean landmarks of the others")


def grey_jpeg(face_HWC: np.ndarray) -> bytes:
    """Encode as our crops of LFW-a, which is grey."""
    file = io.BytesIO()
    Image.fromarray(face_HWC).convert("L").save(file, "JPEG", quality=90)
    return file.getvalue()
