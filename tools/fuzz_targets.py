"""What reads strangers' files, as functions of bytes, with small sound files to begin from.

A target lays its bytes where such a file would lie and reads it as the project does. It may return, or raise one of
`aird_plugin.errors.EXPECTED`; everything else is a fault: another error, a crash, a hang, memory beyond `budget`.
"""

import contextlib
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

MB = 1 << 20


class Target(NamedTuple):
    """seeds: sound files. read: bytes and a folder to lay them in -> anything. fixed_mb, times: what memory it may take.

    That is so many megabytes and so many times the file's size.
    """

    seeds: Callable[[Path], list[bytes]]
    read: Callable[[bytes, Path], object]
    fixed_mb: int = 8
    times: int = 64

    def budget(self, size: int) -> int:
        """Bytes that reading a file of `size` bytes may have in use at once."""
        return self.fixed_mb * MB + self.times * size


def face(seed: int = 0, side: int = 112) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    return coarse.repeat(side // 7, 0).repeat(side // 7, 1)


def encoded(kind: str, side: int = 28, **options) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(face(1, side)).save(file, kind, **options)
    return file.getvalue()


def record_seeds(folder: Path) -> list[bytes]:
    from aird_plugin.data.facerec import write_face_records

    write_face_records(folder, ((person, encoded("PNG", 7)) for person in range(3) for _ in range(2)))
    return [(folder / "train.rec").read_bytes(), b""]


def read_records(content: bytes, folder: Path) -> None:
    from aird_plugin.data.facerec import FaceRecords

    (folder / "a.rec").write_bytes(content)
    records = FaceRecords(folder / "a.rec")
    for row in range(len(records)):
        records.payload(row)
    records.fingerprint()


def index_seeds(folder: Path) -> list[bytes]:
    record_seeds(folder)
    return [(folder / "train.idx").read_bytes()]


def read_with_index(content: bytes, folder: Path) -> None:
    from aird_plugin.data.recordio import RecordReader

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
    return [encoded("JPEG", progressive=True), *(encoded(kind) for kind in ("JPEG", "PNG", "BMP", "WEBP"))]


def read_image(content: bytes, folder: Path) -> None:
    from aird_plugin.data.images import decode

    decode(content, "a picture", upright=True)


def weight_seeds(folder: Path) -> list[bytes]:
    import torch

    state = {"stages.0.0.0.weight": torch.ones(2, 3, 3, 3), "features.running_mean": torch.zeros(4)}
    files = [io.BytesIO() for _ in range(3)]
    torch.save(state, files[0])
    torch.save(state, files[1], _use_new_zipfile_serialization=False)
    with without_checksums():
        torch.save(state, files[2])
    return [file.getvalue() for file in files]


@contextlib.contextmanager
def without_checksums():
    """torch.save leaves them out: they would keep every mutation from what reads behind them, but nobody hostile."""
    import torch

    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(True)


def read_weight_file(content: bytes, folder: Path) -> None:
    from aird_plugin.models.weights import load_network

    (folder / "model.pt").write_bytes(content)
    load_network(folder / "model.pt", "native16_0.02m")


def checkpoint_seeds(folder: Path) -> list[bytes]:
    from aird_plugin import checkpoint

    with without_checksums():
        place = checkpoint.save(folder / "checkpoints", 3, {"student": {}}, {})
    return [(place / "shared.pt").read_bytes()]


def read_checkpoint(content: bytes, folder: Path) -> None:
    from aird_plugin import checkpoint

    place = folder / "checkpoints" / "step_00000003"
    if not place.exists():
        checkpoint_seeds(folder)
    (place / "shared.pt").write_bytes(content)
    checkpoint.load_latest(folder / "checkpoints")


def array_seeds(folder: Path) -> list[bytes]:
    file = io.BytesIO()
    np.save(file, np.zeros((3, 2), np.float16))
    return [file.getvalue()]


def read_array(content: bytes, folder: Path) -> None:
    from aird_plugin.data.bank import open_array

    (folder / "low.npy").write_bytes(content)
    open_array(folder, "low").sum()


def manifest_seeds(folder: Path) -> list[bytes]:
    return [json.dumps({"inputs": {"px": 16}, "sha256": {"low.npy": "0" * 64}}).encode(), b"{}"]


def read_bank_manifest(content: bytes, folder: Path) -> None:
    from aird_plugin.data.bank import read_manifest

    (folder / "manifest.json").write_bytes(content)
    read_manifest(folder, {"px": 16})


def recipe_seeds(folder: Path) -> list[bytes]:
    terms = "terms={'iid':'aird_plugin.losses.instance:Instance'}"
    return ["\n".join(["rec=faces", "output=runs/a", "px=16", "margin_list=(1.0,0.5,0.0)", terms, "iid_scale=8.0"]).encode()]


def read_recipe_keys(content: bytes, folder: Path) -> None:
    from aird_plugin.recipe import from_flat, parse_override

    lines = content.decode("utf-8", "replace").splitlines()
    from_flat({"rec": "-", "output": "-"} | dict(parse_override(line) for line in lines))


def upload_seeds(folder: Path) -> list[bytes]:
    import base64

    picture = base64.b64encode(encoded("PNG", 112)).decode()
    asked = {"faces": [{"png": picture, "px": 20}, {"png": picture, "px": 112}], "px": 16, "degradation": "bicubic"}
    return [json.dumps(asked).encode(), *image_seeds(folder)]


def read_upload(content: bytes, folder: Path) -> None:
    """As a question where it looks like one, else as a picture."""
    from aird_plugin.demo.answers import read_question
    from aird_plugin.demo.pictures import face_in

    if content.startswith(b"{"):
        read_question(content)
    else:
        face_in(content)


def run_seeds(folder: Path) -> list[bytes]:
    return [json.dumps({"network": "native16_0.02m", "recipe": {"px": 16}}).encode()]


def read_run(content: bytes, folder: Path) -> None:
    from aird_plugin.evaluation.load import load_model

    (folder / "recipe.json").write_bytes(content)
    (folder / "model.pt").write_bytes(b"nothing")
    load_model(folder)


# An image's memory is bounded by its pixels, which are few bytes in the file: 2**26 of them, and what decoders need beside.
PIXELS_MB = 640
TARGETS = {
    "records": Target(record_seeds, read_records),
    "index": Target(index_seeds, read_with_index),
    "pairs": Target(pair_seeds, read_pair_file, fixed_mb=PIXELS_MB),
    "image": Target(image_seeds, read_image, fixed_mb=PIXELS_MB),
    "weights": Target(weight_seeds, read_weight_file),
    "checkpoint": Target(checkpoint_seeds, read_checkpoint),
    "array": Target(array_seeds, read_array),
    "manifest": Target(manifest_seeds, read_bank_manifest),
    "recipe": Target(recipe_seeds, read_recipe_keys),
    "upload": Target(upload_seeds, read_upload, fixed_mb=PIXELS_MB),
    "run": Target(run_seeds, read_run),
}
