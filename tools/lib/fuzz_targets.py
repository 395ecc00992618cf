"""Every reader of untrusted files as a function of bytes, with small valid files as seeds.

A target writes the bytes to the place of such a file and reads it as the project does. It may return or raise one of
`aird_plugin.utils.errors.EXPECTED`; anything else is a fault: another exception, a crash, a hang, memory beyond `budget`.
"""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tools.lib import fuzz_images as images

MB = 1 << 20


class Target(NamedTuple):
    """seeds: folder -> valid files. read: (bytes, scratch folder) -> anything.

    fixed_mb, times: the memory limit is fixed_mb megabytes plus `times` times the file's size.
    """

    seeds: Callable[[Path], list[bytes]]
    read: Callable[[bytes, Path], object]
    fixed_mb: int = 8
    times: int = 64

    def budget(self, size: int) -> int:
        """Largest allowed peak memory, in bytes, for a file of `size` bytes."""
        return self.fixed_mb * MB + self.times * size


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
    """Make torch.save omit checksums: they stop every mutation before the actual reader, but not an attacker."""
    import torch

    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(True)


def read_weight_file(content: bytes, folder: Path) -> None:
    from aird_plugin.models.from_weights import load_network

    (folder / "model.pt").write_bytes(content)
    load_network(folder / "model.pt", "native16_0.02m")


def checkpoint_seeds(folder: Path) -> list[bytes]:
    from aird_plugin.training import checkpoint

    with without_checksums():
        saved = checkpoint.save(folder / "checkpoints", 3, {"student": {}}, {})
    return [(saved / "shared.pt").read_bytes()]


def read_checkpoint(content: bytes, folder: Path) -> None:
    from aird_plugin.training import checkpoint

    saved = folder / "checkpoints" / "step_00000003"
    if not saved.exists():
        checkpoint_seeds(folder)
    (saved / "shared.pt").write_bytes(content)
    checkpoint.load_latest(folder / "checkpoints")


def array_seeds(folder: Path) -> list[bytes]:
    file = io.BytesIO()
    np.save(file, np.zeros((3, 2), np.float16))
    return [file.getvalue()]


def read_array(content: bytes, folder: Path) -> None:
    from aird_plugin.data.bank.sharded import open_array

    (folder / "low.npy").write_bytes(content)
    open_array(folder, "low").tobytes()


def manifest_seeds(folder: Path) -> list[bytes]:
    return [json.dumps({"inputs": {"px": 16}, "crc32": {"low.npy": 0}}).encode(), b"{}"]


def read_bank_manifest(content: bytes, folder: Path) -> None:
    from aird_plugin.data.bank.inputs import read_manifest

    (folder / "manifest.json").write_bytes(content)
    read_manifest(folder, {"px": 16})


def recipe_seeds(folder: Path) -> list[bytes]:
    terms = "terms={'iid':'aird_plugin.losses.instance:IID'}"
    return ["\n".join(["rec=faces", "output=runs/a", "px=16", "margin_list=(1.0,0.5,0.0)", terms, "iid_scale=8.0"]).encode()]


def read_recipe_keys(content: bytes, folder: Path) -> None:
    from aird_plugin.config.recipe import from_flat, parse_override

    lines = content.decode("utf-8", "replace").splitlines()
    from_flat({"rec": "-", "output": "-"} | dict(parse_override(line) for line in lines))


def run_seeds(folder: Path) -> list[bytes]:
    return [json.dumps({"network": "native16_0.02m", "recipe": {"px": 16}}).encode()]


def read_run(content: bytes, folder: Path) -> None:
    from aird_plugin.models.load import load_model

    (folder / "recipe.json").write_bytes(content)
    (folder / "model.pt").write_bytes(b"nothing")
    load_model(folder)


def gallery_seeds(folder: Path) -> list[bytes]:
    from aird_plugin.recognition.gallery_file import write_arrays

    arrays = {"templates": np.eye(2, 4, dtype=np.float32), "px": np.ones(2, np.float32)}
    arrays |= {"network": np.zeros(2, np.int32), "count": np.ones(2, np.int32)}
    write_arrays(folder / "g.npz", arrays, ["a", "b"], {"networks": [{"name": "hr", "identity": "ab"}]})
    return [(folder / "g.npz").read_bytes()]


def read_gallery(content: bytes, folder: Path) -> None:
    from aird_plugin.recognition.gallery_file import read_arrays

    (folder / "g.npz").write_bytes(content)
    read_arrays(folder / "g.npz")


def frame_seeds(folder: Path) -> list[bytes]:
    from insightface.app.common import Face

    from aird_plugin.recognition.frame_store import FrameFaces, FrameStore

    face = Face(bbox=np.arange(4.0), px=16.0, quality=0.1, det_score=0.9, embedding=np.ones(4), embedded_by="hr", network_id="a")
    store = FrameStore(folder)
    for number, faces in enumerate(([face], [], [Face(face, embedding=None)])):
        store.append(FrameFaces(number, f"{number}.jpg", broken=False, faces=faces))
    store.flush()
    return [(folder / "frames" / "00000000.npz").read_bytes()]


def read_frames(content: bytes, folder: Path) -> None:
    from aird_plugin.recognition.frame_store import read_block

    (folder / "block.npz").write_bytes(content)
    read_block(folder / "block.npz", 0)


# Images may have up to 2**26 pixels in a small file; the limit includes the decoders' buffers.
PIXELS_MB = 640
TARGETS = {
    "records": Target(images.record_seeds, images.read_records),
    "index": Target(images.index_seeds, images.read_with_index),
    "pairs": Target(images.pair_seeds, images.read_pair_file, fixed_mb=PIXELS_MB),
    "image": Target(images.image_seeds, images.read_image, fixed_mb=PIXELS_MB),
    "weights": Target(weight_seeds, read_weight_file),
    "checkpoint": Target(checkpoint_seeds, read_checkpoint),
    "array": Target(array_seeds, read_array),
    "manifest": Target(manifest_seeds, read_bank_manifest),
    "recipe": Target(recipe_seeds, read_recipe_keys),
    "upload": Target(images.upload_seeds, images.read_upload, fixed_mb=PIXELS_MB),
    "run": Target(run_seeds, read_run),
    "gallery": Target(gallery_seeds, read_gallery),
    "frames": Target(frame_seeds, read_frames),
}
