"""A pack of small random networks: a detector of markers, an HR recogniser, an exported native student with thresholds."""

import json
import shutil

import numpy as np
import pytest
import torch

from aird_plugin.__main__ import main
from aird_plugin.data.images import encode_jpeg
from aird_plugin.export.graph import write_onnx, write_student
from aird_plugin.export.manifests import write_package_manifest
from aird_plugin.models import build
from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.crops import CROPS
from aird_plugin.utils.files import file_sha256

DIM = 16
# Two faces that move by 8 px a frame; the detector's markers stand at multiples of 8 and 16.
N_FRAMES = 5


def write_hr(onnx, path, seed: int = 0) -> None:
    """A random 112 px recogniser as other tools write it, without our metadata."""
    torch.manual_seed(seed)
    write_onnx(build("native112_0.05m", DIM), path, {})
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)


def write_export(folder, hr, seed: int = 1, side: int = 16) -> None:
    """A random student as `aird export` writes it, trained by its metadata with the network of `hr`."""
    torch.manual_seed(seed)
    student = build(f"native{side}_0.05m", DIM).eval()
    weights = f"{seed:064x}"
    metadata = {"teacher": {"file": hr.name, "sha256": file_sha256(hr)}, "weights": weights, "exported": {}}
    write_student(student, folder / f"{folder.name}.onnx", metadata)
    native = folder / "native" / f"{folder.name}_{side}.onnx"
    write_onnx(student, native, metadata)
    write_package_manifest(native, side, DIM)
    own, other = weights, file_sha256(hr)
    entries = [
        entry(own, own, "lr-lr", {16: 0.6, 32: 0.5}, 0.5),
        entry(own, other, "lr-hr", {16: 0.4, 32: 0.35}, 0.5),
        entry(other, other, "lr-lr", {16: 0.9, 32: 0.3}, 0.4),
        entry(other, other, "lr-hr", {16: 0.8, 32: 0.2}, 0.9),
    ]
    table = {"pairs": "p.bin", "degradation": "bicubic", "rows": [row(16, 0.5, 0.5)], "weights": weights}
    (folder / "thresholds.json").write_text(json.dumps(table | {"recognition": {"crops": CROPS, "entries": entries}}))


def entry(network: str, other: str, protocol: str, thresholds: dict[int, float], tar: float) -> dict:
    rows = [row(px, cosine, tar if px == 32 else 0.6) for px, cosine in thresholds.items()]
    return {"network": network, "other": other, "protocol": protocol, "rows": rows}


def row(px: int, cosine: float, tar: float) -> dict:
    points = [{"far": far, "cosine": cosine + shift, "tar": tar, "n_impostor": 2000} for far, shift in ((0.1, -0.1), (0.01, 0.0))]
    return {"px": px, "to_px": None, "points": [*points, {"far": 0.001, "cosine": None, "tar": None, "n_impostor": 2000}]}


@pytest.fixture(scope="session")
def pack(tmp_path_factory, detectors):
    """A folder as below ~/.insightface/models: det_markers.onnx, hr.onnx, tiny/."""
    import onnx

    folder = tmp_path_factory.mktemp("root") / "models" / "pack"
    folder.mkdir(parents=True)
    shutil.copy(detectors / "det_markers.onnx", folder)
    write_hr(onnx, folder / "hr.onnx")
    write_export(folder / "tiny", folder / "hr.onnx")
    return folder


@pytest.fixture(scope="session")
def analysis(pack):
    """The pack with its detector at 640 px."""
    analysis = TinyFaceAnalysis(pack)
    analysis.prepare(-1, det_size=(640, 640))
    return analysis


@pytest.fixture
def frame(photo_of) -> np.ndarray:
    """A BGR frame with a face of 112 px and two of 56 px, which the limits of `routed` send to different networks."""
    return np.ascontiguousarray(photo_of(("large", 0, 0), ("small", 256, 256), ("small", 400, 80))[..., ::-1])


@pytest.fixture
def routed(pack):
    """The pack with a student for faces below 60 px."""
    analysis = TinyFaceAnalysis(pack, limits={"tiny": 60})
    analysis.prepare(-1, det_size=(640, 640))
    return analysis


@pytest.fixture
def frames(tmp_path, photo_of):
    """A folder of frames: the first face in each, the second from frame 2 on; frame 3 is broken."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for n in range(N_FRAMES):
        faces = [("large", 16 * n, 0), *([("small", 400, 400 + 8 * n)] if n >= 2 else [])]
        content = b"\xff\xd8\xff broken" if n == 3 else encode_jpeg(photo_of(*faces))
        (folder / f"{n:03d}.jpg").write_bytes(content)
    return folder


@pytest.fixture
def gallery(tmp_path, frames, pack, capsys):
    """A gallery with the first face as ann, made by the command."""
    (tmp_path / "people").mkdir()
    shutil.copy(frames / "000.jpg", tmp_path / "people" / "ann.jpg")
    assert main(["enrol", str(tmp_path / "people"), "--out", str(tmp_path / "g.npz"), "--models", str(pack)]) == 0
    assert "1 identity enrolled, 1 in all" in capsys.readouterr().out
    return str(tmp_path / "g.npz")
