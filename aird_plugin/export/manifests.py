"""InsightFace's manifest.json: version 2 for its Python package, version 1 for InsightFace Server."""

import json
import shutil
from pathlib import Path

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.utils.files import file_sha256, write_atomically

PREPROCESSING = "insightface-arcface-1"
# Signed by InsightFace only; the Server does not start without it.
LICENSE = "MODEL.LICENSE"
# Number of outputs: scores, boxes and landmarks at three or five strides.
WITH_LANDMARKS = (9, 15)


def write_package_manifest(file: Path, side: int, width: int) -> None:
    """Write a version 2 manifest beside a file whose input is not 112 px (InsightFace 2.1). width: embedding width."""
    task = {
        "file": file.name,
        "sha256": file_sha256(file),
        "preprocessing": {"mean": 127.5, "std": 127.5},
        "preprocessing_version": PREPROCESSING,
        "input_size": [side, side],
        "embedding_dimension": width,
    }
    _write(file.parent, {"manifest_version": 2, "model_id": file.stem, "tasks": {"recognition": task}, "license": LICENSE})


def write_server_folder(folder: Path, recogniser: Path, detector: Path, width: int) -> None:
    """Write the model folder of InsightFace Server: copies of both files, and a version 1 manifest.

    recogniser: the 112 px file; the Server aligns to no other size. The Server rejects missing and additional keys; its mean and
    std are fixed to 127.5.
    """
    folder.mkdir()
    for file in (recogniser, detector):
        shutil.copyfile(file, folder / file.name)
    _write(
        folder,
        {
            "manifest_version": 1,
            "model_id": recogniser.stem,
            "model_version": file_sha256(recogniser)[:12],
            "files": {"detector": detector.name, "recognizer": recogniser.name},
            "recognition": {
                "input_size": [FACE_SIDE, FACE_SIDE],
                "embedding_dimension": width,
                "preprocessing": PREPROCESSING,
            },
            "license": LICENSE,
        },
    )


def check_server_input(recogniser: OnnxTeacher) -> None:
    """Raise ValueError for a recogniser that the Server would feed another way than it needs."""
    if not recogniser.takes_usual_input:
        raise ValueError(
            f"--server: InsightFace Server feeds a recogniser by InsightFace's rule, and this one takes {recogniser.input}; "
            "leave --server out"
        )


def check_detector(detector: Path, name: str) -> None:
    """Raise ValueError or FileNotFoundError for a file that cannot be the detector beside a model of this name."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("reading an .onnx file needs `pip install aird_plugin[onnx]`") from error
    if not detector.is_file() or detector.suffix != ".onnx":
        raise FileNotFoundError(f"--server {detector}: no such .onnx file; name a face detector, for example det_10g.onnx")
    if detector.stem == name:
        raise ValueError(f"--server {detector}: detector and model would have the same file name; use another --out")
    try:
        outputs = len(onnx.load(detector, load_external_data=False).graph.output)
    # protobuf's DecodeError and onnx's errors share no base class.
    except Exception as error:
        raise ValueError(f"--server {detector} is not an ONNX file: {error}") from error
    if outputs not in WITH_LANDMARKS:
        allowed = " or ".join(map(str, WITH_LANDMARKS))
        raise ValueError(f"--server {detector} has {outputs} outputs; a detector with landmarks has {allowed}")


def _write(folder: Path, manifest: dict) -> None:
    write_atomically(folder / "manifest.json", json.dumps(manifest, indent=1).encode())
