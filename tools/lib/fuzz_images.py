"""Readers of images for fuzz_targets.py: records, pairs, single images, uploads to the demo."""

import io
import json
import pickle
from pathlib import Path

import numpy as np


def face(seed: int = 0, side: int = 112) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    return coarse.repeat(side // 7, 0).repeat(side // 7, 1)


def encoded(kind: str, side: int = 28, **options) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(face(1, side)).save(file, kind, **options)
    return file.getvalue()


def record_seeds(folder: Path) -> list[bytes]:
    from aird_plugin.data.recordio.face_records import write_face_records

    write_face_records(folder, ((label, encoded("PNG", 7)) for label in range(3) for _ in range(2)))
    return [(folder / "train.rec").read_bytes(), b""]


def read_records(content: bytes, folder: Path) -> None:
    from aird_plugin.data.recordio.face_records import FaceRecords

    (folder / "a.rec").write_bytes(content)
    records = FaceRecords(folder / "a.rec")
    for row in range(len(records)):
        records.payload(row)
    records.fingerprint()


def index_seeds(folder: Path) -> list[bytes]:
    record_seeds(folder)
    return [(folder / "train.idx").read_bytes()]


def read_with_index(content: bytes, folder: Path) -> None:
    from aird_plugin.data.recordio.reader import RecordReader

    if not (folder / "train.rec").exists():
        record_seeds(folder)
    (folder / "train.idx").write_bytes(content)
    reader = RecordReader(folder / "train.rec")
    reader.heads(reader.keys)
    for key in reader:
        reader[key]


def pair_seeds(folder: Path) -> list[bytes]:
    from aird_plugin.data.pairs import write_pairs

    images = [encoded("JPEG") for _ in range(4)]
    write_pairs(folder / "a.bin", images, [1, 0])
    arrays = [np.frombuffer(image, np.uint8) for image in images]
    python2 = [pickle.dumps((images, [True, False]), protocol) for protocol in (0, 2)]
    return [(folder / "a.bin").read_bytes(), pickle.dumps((arrays, np.array([True, False])), 2), *python2]


def read_pair_file(content: bytes, folder: Path) -> None:
    from aird_plugin.data.pairs import pair_faces, read_pairs

    (folder / "a.bin").write_bytes(content)
    pairs = read_pairs(folder / "a.bin")
    pair_faces(pairs._replace(images=pairs.images[:4]))


def image_seeds(folder: Path) -> list[bytes]:
    from aird_plugin.data.images import FILE_FORMATS

    return [encoded("JPEG", progressive=True), *map(encoded, FILE_FORMATS)]


def read_image(content: bytes, folder: Path) -> None:
    from aird_plugin.data.images import FILE_FORMATS, decode

    decode(content, "an image", upright=True, formats=FILE_FORMATS)


def upload_seeds(folder: Path) -> list[bytes]:
    import base64

    image = base64.b64encode(encoded("PNG", 112)).decode()
    request = {"faces": [{"png": image, "px": 20}, {"png": image, "px": 112}], "px": 16, "degradation": "bicubic"}
    return [json.dumps(request).encode(), *image_seeds(folder)]


def read_upload(content: bytes, folder: Path) -> None:
    """As a comparison request if it looks like JSON, else as an image."""
    from aird_plugin.demo.api import read_comparison_request
    from aird_plugin.demo.face_crop import extract_face

    if content.startswith(b"{"):
        read_comparison_request(content)
    else:
        extract_face(content)
