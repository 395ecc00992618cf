"""The folder that goes into ~/.insightface/models/: the 112 px file, beside it the px file with its manifest, and a card.

OUT/NAME.onnx              takes 112 px; InsightFace routes it by its shape, everywhere
OUT/MODEL_CARD.md
OUT/thresholds.json        with --thresholds, the table of the card for programs
OUT/native/NAME_16.onnx    a native student as it is, with
OUT/native/manifest.json   the manifest V2 by which InsightFace 2.1 takes a recogniser of another size
OUT/int8/NAME*_int8.onnx   with --int8, each file's int8 twin
OUT/server/                with --server, what InsightFace Server mounts: the 112 px file, the detector, a manifest V1
"""

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import nn

from aird_plugin.data.lowres import FACE_SIDE
from aird_plugin.evaluation.embed import embed
from aird_plugin.export.card import model_card
from aird_plugin.export.check import compare_insightface, compare_onnxruntime, seen_by
from aird_plugin.export.graph import for_112_px, write_onnx
from aird_plugin.export.manifests import write_package_manifest, write_server_folder
from aird_plugin.export.origin import origin
from aird_plugin.export.quantise import Quantised, compare_accuracy, quantise
from aird_plugin.export.thresholds import threshold_table
from aird_plugin.files import write_atomically
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.teacher import file_sha256

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Checked:
    """A file that was run back. insightface: least cosine there, None where InsightFace is not installed."""

    file: str
    side: int
    onnxruntime: float
    insightface: float | None


@dataclass
class Exported:
    """What lies in the folder."""

    folder: Path
    files: list[Checked] = field(default_factory=list)
    int8: list[Quantised] = field(default_factory=list)
    thresholds: dict | None = None


def export_student(
    student: nn.Module, facts: dict, out: Path, faces_NHWC: np.ndarray, rows: list[dict], int8_pairs: str | None = None,
    threshold_pairs: str | None = None, server_detector: Path | None = None,
) -> Exported:  # fmt: skip
    """Write the folder `out` for a student in eval mode, each file run back on `faces_NHWC` (uint8, 112 px).

    facts: the run's recipe.json. rows: the run's verification, for the card. int8_pairs: also write int8 twins, calibrated on
    the faces and compared on these pairs. threshold_pairs: measure cosines for false-accept rates on these.
    server_detector: also lay out a folder for InsightFace Server, with this detector (as `check_detector` passed it).
    Raises ValueError for a folder that is not empty, a name that InsightFace would not take, or a file whose embeddings differ;
    then nothing lies under `out`.
    """
    check_place(out)
    partial = out.with_name(f".{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        exported = Exported(out)
        expected_ND = embed(student, seen_by(student.input_size, faces_NHWC), flip=False, label="student")
        told = origin(facts)
        wide = partial / f"{out.name}.onnx"
        write_onnx(for_112_px(student), wide, told)
        exported.files.append(run_back(wide, partial, FACE_SIDE, faces_NHWC, expected_ND))
        if student.input_size != FACE_SIDE:
            small = partial / "native" / f"{out.name}_{student.input_size}.onnx"
            write_onnx(student, small, told)
            write_package_manifest(small, student.input_size, expected_ND.shape[1])
            exported.files.append(run_back(small, partial, student.input_size, faces_NHWC, expected_ND))
        if int8_pairs:
            exported.int8 = [int8_twin(partial, file, faces_NHWC, facts["px"], int8_pairs) for file in exported.files]
        if server_detector:
            write_server_folder(partial / "server", wide, server_detector, expected_ND.shape[1])
        if threshold_pairs:
            exported.thresholds = threshold_table(OnnxTeacher(wide), threshold_pairs) | {"sha256": file_sha256(wide)}
            write_atomically(partial / "thresholds.json", json.dumps(exported.thresholds, indent=1).encode())
        write_atomically(partial / "MODEL_CARD.md", model_card(out.name, facts, rows, exported).encode())
        if out.exists():
            out.rmdir()
        partial.rename(out)
        return exported
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_place(out: Path) -> None:
    """ValueError where the folder could not be made, or its name could not be a model's."""
    if not NAME.fullmatch(out.name):
        raise ValueError(f"--out {out}: the folder's name becomes the model's: letters, digits, '.', '_' and '-' (at most 128)")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} is there already and is not empty; name another folder")


def run_back(file: Path, root: Path, side: int, faces_NHWC: np.ndarray, expected_ND: np.ndarray) -> Checked:
    """Both comparisons of one file."""
    faces_NSSC = seen_by(side, faces_NHWC)
    return Checked(
        str(file.relative_to(root)), side, compare_onnxruntime(file, faces_NSSC, expected_ND),
        compare_insightface(file, faces_NSSC, expected_ND, manifest=side != FACE_SIDE),
    )  # fmt: skip


def int8_twin(root: Path, file: Checked, faces_NHWC: np.ndarray, px: int, pairs: str) -> Quantised:
    """The int8 file of one fp32 file, measured."""
    source = root / file.file
    target = root / "int8" / f"{source.stem}_int8.onnx"
    target.parent.mkdir(exist_ok=True)
    quantise(source, target, seen_by(file.side, faces_NHWC))
    # A file that shrinks inside is asked about untouched faces: it makes the px itself.
    asked = FACE_SIDE if file.side == FACE_SIDE and len(list(root.glob("native/*.onnx"))) else px
    return compare_accuracy(source, target, root, pairs, asked)
