"""A complete bank of any number of images in sparse files, to be opened and trained from; nothing in it was computed.

Embeddings, LR images and lists are holes, which read as zeros and take no disk; labels, offsets and class centers are real. The
record file has 64 noise images, to which all offsets point.
"""

import json
import os
from pathlib import Path

import numpy as np
import torch

from aird_plugin.config.recipe import Recipe, from_flat
from aird_plugin.data.bank.files import new_array
from aird_plugin.data.bank.inputs import image_cache_inputs, teacher_cache_inputs
from aird_plugin.data.bank.sharded import shard_name
from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.indexed_records import FORMAT, index_folder, stamp
from aird_plugin.data.recordio.face_records import FaceRecords, write_face_records
from aird_plugin.models import build
from aird_plugin.models.load import load_teacher
from aird_plugin.utils.files import checksum

IMAGES, PX, WIDTH, SAME, HARD = 64, 8, 8, 4, 16
TEACHER = "native112_0.05m"
BLOCK = 1 << 20


def synthetic_keys(folder: Path, batch: int, shard_images: int) -> dict:
    """The recipe of a run on the bank in `folder`: identity loss, cosine regression and RID."""
    return {
        "rec": str(folder / "faces"),
        "teacher": str(folder / "teacher.pt"),
        "teacher_network": TEACHER,
        "network": f"native{PX}_0.05m",
        "px": PX,
        "bank": str(folder / "bank"),
        "bank_same": SAME,
        "bank_hard": HARD,
        "bank_shard_images": shard_images,
        "rid_negatives": HARD,
        "batch_size": batch,
        "num_epoch": 1,
        "device": "cpu",
        "terms": {"align": "aird_plugin.losses.cosine:CosineRegression", "rid": "aird_plugin.losses.relation:RID"},
        "output": str(folder / "run"),
    }


def write_synthetic_bank(folder: Path, images: int, identities: int, shard_images: int) -> Recipe:
    """Write records, their index, a teacher and both caches; returns the recipe."""
    rng = np.random.default_rng(0)
    noise = (encode_jpeg(rng.integers(0, 256, (112, 112, 3), np.uint8)) for _ in range(IMAGES))
    write_face_records(folder / "faces", ((label // 2, image) for label, image in enumerate(noise)))
    torch.manual_seed(0)
    torch.save(build(TEACHER, WIDTH).state_dict(), folder / "teacher.pt")
    recipe = from_flat(synthetic_keys(folder, 1, shard_images))
    digest = write_synthetic_index(recipe, FaceRecords(folder / "faces" / "train.rec"), images, identities)
    teacher = load_teacher(str(folder / "teacher.pt"), TEACHER, "cpu").describe()
    config, labels = recipe.bank, index_folder(recipe.bank.bank, recipe.data.rec) / "labels.npy"
    center_CD = rng.normal(size=(identities, WIDTH)).astype(np.float32)
    lists = {"same": ((SAME,), np.int32), "hard": ((HARD,), np.int32)}
    arrays = {"embeddings": ((config.views, WIDTH), np.float16), **lists}
    inputs = teacher_cache_inputs(config, digest, images, teacher)
    write_shards(config.teacher_folder, inputs, arrays, shard_images, labels, {"centres": center_CD})
    inputs = image_cache_inputs(config, digest, images, PX)
    low = {"low": ((config.views // 2, PX, PX, 3), np.uint8)}
    write_shards(config.low_folder(PX), inputs, low, shard_images, labels, {})
    return recipe


def write_synthetic_index(recipe: Recipe, records: FaceRecords, images: int, identities: int) -> str:
    """Write an index of so many images, of equally many each identity; returns its fingerprint."""
    folder = index_folder(recipe.bank.bank, recipe.data.rec)
    folder.mkdir(parents=True)
    label_N = new_array(folder / "labels.npy", (images,), np.int32)
    offset_N = new_array(folder / "offsets.npy", (images,), np.int64)
    for start in range(0, images, BLOCK):
        rows = np.arange(start, min(start + BLOCK, images))
        label_N[rows[0] : rows[-1] + 1] = rows * identities // images
        offset_N[rows[0] : rows[-1] + 1] = records.offset_N[rows % IMAGES]
    manifest = {
        "format": FORMAT,
        "files": [stamp(str(path)) for path in (records.reader.path, records.reader.idx_path)],
        "starts": [0],
        "path": str(records.path),
        "num_classes": identities,
        "fingerprint": "synthetic",
        "sources": ["synthetic"],
        "left_out": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return "synthetic"


def write_shards(folder: Path, inputs: dict, arrays: dict, shard_images: int, labels: Path, whole: dict[str, np.ndarray]) -> None:
    """Write a complete cache: sparse arrays in shards, the labels as another name of a file, `whole` as it is."""
    sums: dict[str, int] = {}
    known: dict[tuple, int] = {}
    images = inputs["num_faces"]
    for number, first in enumerate(range(0, images, shard_images)):
        shard, rows = folder / shard_name(number), min(shard_images, images - first)
        shard.mkdir(parents=True)
        for name, (shape, dtype) in arrays.items():
            path = shard / f"{name}.npy"
            np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(rows, *shape))
            # Shards of holes are alike.
            if (name, rows) not in known:
                known[name, rows] = checksum(path)
            sums[f"{shard.name}/{path.name}"] = known[name, rows]
    os.link(labels, folder / "person.npy")
    for name, array in whole.items():
        np.save(folder / f"{name}.npy", array)
    sums |= {path.name: checksum(path) for path in folder.glob("*.npy")}
    manifest = {"inputs": inputs, "shard_images": shard_images, "crc32": sums}
    (folder / "manifest.json").write_text(json.dumps(manifest))
