"""Fixtures for all tests."""

import os
from collections import Counter
from pathlib import Path

from aird_plugin.utils.threads import bound_spinning

bound_spinning()
# Under xdist a core holds one worker already.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from aird_plugin.alignment.crop import template
from tests.skips import needs

# Unset, or every training run of the tests would run inside that checkout; only tests/bridge uses it. The other name is for
# xdist's workers, which start with the environment of a process that has loaded this file.
REAL_ARCFACE_TORCH = os.environ.pop("ARCFACE_TORCH", None) or os.environ.get("TESTS_ARCFACE_TORCH")
if REAL_ARCFACE_TORCH:
    os.environ["TESTS_ARCFACE_TORCH"] = REAL_ARCFACE_TORCH
# For the hand-made detector: (colour of the marker, side of the marker, side of the face), in pixels of the detector's square.
KINDS = {"small": ((255, 0, 0), 8, 56), "large": ((0, 255, 0), 16, 112)}
# Offset from the marker's corner to that of its face.
CORNER = 16


def pytest_terminal_summary(terminalreporter):
    """Print why tests were skipped, one line per reason, and how to enable them."""
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", []))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")


@pytest.fixture(scope="session")
def aird_data() -> Path:
    """The folder of real images and the real teacher; a test that uses it is skipped where it is absent."""
    folder = Path(os.environ.get("AIRD_DATA", "data"))
    if not (folder / "faces15k" / "train.rec").exists():
        pytest.skip(f"no real images at AIRD_DATA={folder}: set AIRD_DATA to a folder with faces15k, lfw and teacher")
    return folder


@pytest.fixture
def noise_faces():
    """A function that returns uint8 noise images, smooth enough for a resize to matter."""

    def make(count: int, side: int = 112, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (count, side // 4, side // 4, 3), np.uint8)
        fine = rng.integers(0, 40, (count, side, side, 3), np.uint8)
        return (coarse.repeat(4, 1).repeat(4, 2) // 2 + fine).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """Keys of a run that takes a second: 8 identities x 6 images as RecordIO, a small random teacher, a small native student."""
    import torch

    from aird_plugin.data.images import encode_jpeg
    from aird_plugin.data.recordio.face_records import write_face_records
    from aird_plugin.models import build

    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)

    def image(label: int) -> bytes:
        coarse = np.random.default_rng(label).integers(0, 200, (7, 7, 3)).repeat(16, 0).repeat(16, 1)
        return encode_jpeg((coarse + rng.integers(0, 56, (112, 112, 3))).astype(np.uint8))

    write_face_records(folder / "faces", ((label, image(label)) for label in range(8) for _ in range(6)))
    torch.manual_seed(0)
    torch.save(build("native112_0.05m", 8).state_dict(), folder / "teacher.pt")
    return {
        "rec": str(folder / "faces"),
        "teacher": str(folder / "teacher.pt"),
        "teacher_network": "native112_0.05m",
        "network": "native16_0.05m",
        "px": 16,
        "bank": str(folder / "bank"),
        "head_init": "teacher",
        "batch_size": 8,
        "lr": 0.05,
        "num_epoch": 3,
        "schedule": "cosine",
        "device": "cpu",
        "bank_hard": 16,
        "rid_negatives": 8,
        "terms": {
            "iid": "aird_plugin.losses.instance:IID",
            "rid": "aird_plugin.losses.relation:RID",
            "align": "aird_plugin.losses.cosine:CosineRegression",
        },
        "output": str(folder / "out"),
    }


@pytest.fixture(scope="session")
def real_arcface_torch() -> str:
    """The arcface_torch checkout at ARCFACE_TORCH; a test that uses it is skipped where there is none."""
    if not REAL_ARCFACE_TORCH:
        pytest.skip("no arcface_torch: set ARCFACE_TORCH to a checkout of deepinsight/insightface")
    return REAL_ARCFACE_TORCH


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory):
    """Forty pairs of eight synthetic identities, ten folds."""
    from aird_plugin.data.images import encode_jpeg
    from aird_plugin.data.pairs import write_pairs
    from aird_plugin.data.synthetic.draw import draw_person

    images, same = [], []
    for n in range(40):
        other = n % 8 if n % 2 else (n + 3) % 8
        images += [encode_jpeg(draw_person(n % 8, n)), encode_jpeg(draw_person(other, n + 100))]
        same.append(bool(n % 2))
    path = tmp_path_factory.mktemp("pairs") / "pairs.bin"
    write_pairs(path, images, same)
    return str(path)


@pytest.fixture(scope="session")
def detectors(tmp_path_factory):
    """A folder with det_markers.onnx, which detects the faces of `photo_of`, and boxes.onnx, the same without landmarks."""
    onnx = needs("onnx")
    needs("insightface")
    folder = tmp_path_factory.mktemp("detectors")
    write_detector(onnx, folder / "det_markers.onnx")
    write_detector(onnx, folder / "boxes.onnx", landmarks=False)
    return folder


def write_detector(onnx, path, landmarks: bool = True) -> None:
    """Scores, boxes and points at strides 8, 16 and 32, two anchors per cell, of which only the first ever detects anything."""
    helper, nodes, weights, outputs = onnx.helper, [], [], {}
    colours = {8: (1.0, -0.5, -0.5), 16: (-0.5, 1.0, -0.5), 32: (0.0, 0.0, 0.0)}
    for stride, side in ((8, 56), (16, 112), (32, 112)):
        # Distances from the cell to the left, upper, right and lower edge.
        box = np.array([-CORNER, -CORNER, CORNER + side, CORNER + side]) / stride
        points = points_of(side, 0, 0).ravel() / stride
        kernel = np.multiply.outer(np.array(colours[stride]) / stride**2, np.ones((stride, stride)))
        for kind, width, bias in (("score", 1, [-15]), ("box", 4, box), ("points", 10, points)):
            if kind == "points" and not landmarks:
                continue
            name, bias = f"{kind}_{stride}", np.concatenate([bias, np.full(width, -100) if kind == "score" else bias])
            weight = np.zeros((2 * width, 3, stride, stride))
            if kind == "score":
                weight[0] = 10 * kernel
            weights += [
                onnx.numpy_helper.from_array(weight.astype(np.float32), f"{name}_weight"),
                onnx.numpy_helper.from_array(np.asarray(bias, np.float32), f"{name}_bias"),
                onnx.numpy_helper.from_array(np.array([-1, width]), f"{name}_shape"),
            ]
            inputs = ["photo", f"{name}_weight", f"{name}_bias"]
            nodes += [
                helper.make_node("Conv", inputs, [f"{name}_map"], strides=[stride] * 2),
                helper.make_node("Transpose", [f"{name}_map"], [f"{name}_last"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_last", f"{name}_shape"], [f"{name}_flat"]),
                helper.make_node("Sigmoid" if kind == "score" else "Identity", [f"{name}_flat"], [name]),
            ]
            outputs.setdefault(kind, []).append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, width]))
    photo = helper.make_tensor_value_info("photo", onnx.TensorProto.FLOAT, [1, 3, None, None])
    graph = helper.make_graph(nodes, "markers", [photo], [value for kind in outputs.values() for value in kind], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


def points_of(side: int, x: int, y: int) -> np.ndarray:
    """The landmarks of a face of this side whose marker is at (x, y)."""
    return template(side) + (x + CORNER, y + CORNER)


@pytest.fixture
def photo_of(noise_faces):
    """A function that returns grey 640 px photos with faces: (kind, x, y) each, the marker's corner at multiples of its side."""

    def make(*faces) -> np.ndarray:
        photo_HWC = np.full((640, 640, 3), 90, np.uint8)
        for number, (kind, x, y) in enumerate(faces):
            colour, marker, side = KINDS[kind]
            # Grey, because JPEG halves the resolution of colours.
            grey_HW1 = noise_faces(1, side=side, seed=number)[0, :, :, :1]
            photo_HWC[y + CORNER :, x + CORNER :][:side, :side] = grey_HW1
            photo_HWC[y:, x:][:marker, :marker] = colour
        return photo_HWC

    return make
