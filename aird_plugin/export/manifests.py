"""InsightFace's two kinds of manifest.json: version 2 for its Python package, version 1 for its Server."""

import hashlib
import json
import shutil
from pathlib import Path

from aird_plugin.data.lowres import FACE_SIDE
from aird_plugin.files import write_atomically

PREPROCESSING = "insightface-arcface-1"
# Only InsightFace signs one; without it the Server does not start.
LICENSE = "MODEL.LICENSE"
# Scores, boxes and landmarks at three or five strides.
WITH_LANDMARKS = (9, 15)


def write_package_manifest(file: Path, side: int, width: int) -> None:
    """Version 2, beside a file that its shape alone would not make a recogniser (InsightFace 2.1). width: of the embedding."""
    task = {
        "file": file.name,
        "sha256": _sha256(file),
        "preprocessing": {"mean": 127.5, "std": 127.5},
        "preprocessing_version": PREPROCESSING,
        "input_size": [side, side],
        "embedding_dimension": width,
    }
    _write(file.parent, {"manifest_version": 2, "model_id": file.stem, "tasks": {"recognition": task}, "license": LICENSE})


def write_server_folder(folder: Path, recogniser: Path, detector: Path, width: int) -> None:
    """The folder that InsightFace Server mounts as its models: copies of both files, and a manifest of version 1.

    recogniser: the file that takes 112 px, the only size that the Server can align to. A key more or less than these is an error
    there; mean and std are 127.5 by its own rule.
    """
    folder.mkdir()
    for file in (recogniser, detector):
        shutil.copyfile(file, folder / file.name)
    _write(folder, {
        "manifest_version": 1,
        "model_id": recogniser.stem,
        "model_version": _sha256(recogniser)[:12],
        "files": {"detector": detector.name, "recognizer": recogniser.name},
        "recognition": {
            "input_size": [FACE_SIDE, FACE_SIDE], "embedding_dimension": width, "preprocessing": PREPROCESSING,
        },
        "license": LICENSE,
    })  # fmt: skip


def check_detector(detector: Path, name: str) -> None:
    """ValueError or FileNotFoundError for a file that could not be the detector beside a recogniser of this name."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("looking into an .onnx file needs `pip install aird_plugin[onnx]`") from error
    if not detector.is_file() or detector.suffix != ".onnx":
        raise FileNotFoundError(f"--server {detector}: no such .onnx file; name a face detector, for example det_10g.onnx")
    if detector.stem == name:
        raise ValueError(f"--server {detector}: detector and recogniser would have one name; name another --out")
    try:
        outputs = len(onnx.load(detector, load_external_data=False).graph.output)
    # protobuf's DecodeError and onnx's own errors have no base class in common.
    except Exception as error:
        raise ValueError(f"--server {detector} is no ONNX file: {error}") from error
    if outputs not in WITH_LANDMARKS:
        wanted = " or ".join(map(str, WITH_LANDMARKS))
        raise ValueError(f"--server {detector} has {outputs} outputs; a detector with landmarks has {wanted}")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _write(folder: Path, manifest: dict) -> None:
    write_atomically(folder / "manifest.json", json.dumps(manifest, indent=1).encode())
