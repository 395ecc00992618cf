"""What every test may lean on."""

import os
from pathlib import Path

import numpy as np
import pytest

# It would send every training run of the tests into that checkout; only tests/bridge asks for it.
REAL_ARCFACE_TORCH = os.environ.pop("ARCFACE_TORCH", None)


@pytest.fixture(scope="session")
def aird_data() -> Path:
    """The folder of real faces and the real teacher; a test that asks for it is skipped where it is absent."""
    folder = Path(os.environ.get("AIRD_DATA", "data"))
    if not (folder / "faces15k" / "train.rec").exists():
        pytest.skip(f"no real faces at AIRD_DATA={folder}")
    return folder


@pytest.fixture
def noise_faces():
    """A maker of uint8 faces of noise, smooth enough for a resize to matter."""

    def make(count: int, side: int = 112, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (count, side // 4, side // 4, 3), np.uint8)
        fine = rng.integers(0, 40, (count, side, side, 3), np.uint8)
        return (coarse.repeat(4, 1).repeat(4, 2) // 2 + fine).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """Keys of a run that takes a second: 8 people x 6 faces as RecordIO, a small random teacher, a small native student."""
    import torch

    from aird_plugin.data.facerec import write_face_records
    from aird_plugin.data.images import encode_jpeg
    from aird_plugin.models import build

    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)

    def face(person: int) -> bytes:
        coarse = np.random.default_rng(person).integers(0, 200, (7, 7, 3)).repeat(16, 0).repeat(16, 1)
        return encode_jpeg((coarse + rng.integers(0, 56, (112, 112, 3))).astype(np.uint8))

    write_face_records(folder / "faces", ((person, face(person)) for person in range(8) for _ in range(6)))
    torch.manual_seed(0)
    torch.save(build("native112_0.05m", 8).state_dict(), folder / "teacher.pt")
    return {
        "rec": str(folder / "faces"), "teacher": str(folder / "teacher.pt"), "teacher_network": "native112_0.05m",
        "network": "native16_0.05m", "px": 16, "bank": str(folder / "bank"), "head_init": "teacher", "batch_size": 8,
        "lr": 0.05, "num_epoch": 3, "schedule": "cosine", "device": "cpu", "bank_hard": 16, "rid_negatives": 8,
        "terms": {"iid": "aird_plugin.losses.instance:Instance", "rid": "aird_plugin.losses.relation:Relation",
                  "align": "aird_plugin.losses.alignment:Alignment"},
        "output": str(folder / "out"),
    }  # fmt: skip


@pytest.fixture(scope="session")
def real_arcface_torch() -> str:
    """The public project's checkout that ARCFACE_TORCH names; a test that asks for it is skipped where there is none."""
    if not REAL_ARCFACE_TORCH:
        pytest.skip("no arcface_torch checkout at ARCFACE_TORCH")
    return REAL_ARCFACE_TORCH


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory):
    """Forty pairs of eight drawn people, ten folds."""
    from aird_plugin.data.images import encode_jpeg
    from aird_plugin.data.pairs import write_pairs
    from aird_plugin.data.synthetic import draw_person

    images, same = [], []
    for n in range(40):
        other = n % 8 if n % 2 else (n + 3) % 8
        images += [encode_jpeg(draw_person(n % 8, n)), encode_jpeg(draw_person(other, n + 100))]
        same.append(bool(n % 2))
    path = tmp_path_factory.mktemp("pairs") / "pairs.bin"
    write_pairs(path, images, same)
    return str(path)
