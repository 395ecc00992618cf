"""The exported folder for ~/.insightface/models/.

OUT/NAME.onnx              112 px input; InsightFace recognises the model type from this shape
OUT/MODEL_CARD.md
OUT/thresholds.json        with --thresholds: the card's threshold table as JSON, and those of `aird recognise`
OUT/means.json             with --training-centre: the teacher's mean, and the student's where the graph does not subtract it; so
                           in native/ and int8/
OUT/native/NAME_16.onnx    native students only: the network with its own input size
OUT/native/manifest.json   manifest V2, with which InsightFace 2.1 loads a recognition model of another input size
OUT/int8/NAME*_int8.onnx   with --int8: an int8 version of each file
OUT/server/                with --server: the folder for InsightFace Server (112 px file, detector, manifest V1)
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.evaluation.embed import embed
from aird_plugin.export.card import model_card
from aird_plugin.export.check import compare_insightface, compare_onnxruntime, resize_to_side
from aird_plugin.export.contents import ExportOptions, ExportResult, VerifiedFile
from aird_plugin.export.graph import write_onnx, write_student
from aird_plugin.export.manifests import check_server_input, write_package_manifest, write_server_folder
from aird_plugin.export.origin import origin
from aird_plugin.export.quantise import Int8Rejected, Quantised, compare_accuracy, quantise
from aird_plugin.export.thresholds import write_thresholds
from aird_plugin.models.file_formats import save_safetensors
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.training_means import TrainingMeans, write_means
from aird_plugin.utils.files import file_sha256, new_folder, write_atomically
from aird_plugin.utils.torch_files import state_sha256

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def export_student(
    student: nn.Module,
    metadata: dict,
    out: Path,
    images_NHWC: np.ndarray,
    rows: list[dict],
    options: ExportOptions,
) -> ExportResult:
    """Write the folder `out` for a student in eval mode, and verify each file on `images_NHWC` (uint8, 112 px).

    metadata: the run's recipe.json. rows: the run's verification results, for the card.
    Raises ValueError for a folder that is not empty, an invalid model name, or a file whose embeddings differ; then `out` is
    not written.
    """
    check_place(out)
    with new_folder(out) as partial:
        result, wide = write_contents(student, metadata, out, partial, images_NHWC, options)
        write_atomically(partial / "MODEL_CARD.md", model_card(out.name, metadata, rows, result, wide).encode())
    return result


def write_contents(
    student: nn.Module, metadata: dict, out: Path, partial: Path, images_NHWC: np.ndarray, options: ExportOptions
) -> tuple[ExportResult, OnnxTeacher]:
    """Write and verify all but the card in the folder `partial`, which becomes `out`; also returns the 112 px file, opened."""
    result = ExportResult(out)
    result.centered = options.means is not None and not isinstance(student, OnnxNetwork)
    # The weights themselves identify the model, in whatever file they are.
    weights = {"weights": state_sha256(student.state_dict())}
    provenance = origin(metadata) | weights | ({"training_centre": True} if result.centered else {})
    network = options.means.center("student", student) if result.centered else student
    files = write_networks(student, network, partial, out.name, provenance)
    expected_ND = embed(network, resize_to_side(student.input_size, images_NHWC), flip=False, label="student")
    any_batch = not isinstance(student, OnnxNetwork)
    result.files = [verify_file(file, partial, images_NHWC, expected_ND, any_batch) for file in files]
    if options.int8_pairs:
        write_int8_files(result, partial, files, images_NHWC, metadata["px"], options.int8_pairs)
    if options.server_detector:
        check_server_input(files[0])
        write_server_folder(partial / "server", files[0].path, options.server_detector, expected_ND.shape[1])
    if options.threshold_pairs:
        result.thresholds = write_thresholds(partial, files[-1], files[0], weights["weights"], options)
    if options.safetensors:
        save_safetensors(partial / "model.safetensors", student.state_dict())
    if options.means:
        write_means_beside(partial, options.means, result.centered)
    return result, files[0]


def write_means_beside(root: Path, means: TrainingMeans, in_graph: bool) -> None:
    """means.json in each folder that holds exported files."""
    beside = replace(means, student_D=None) if in_graph else means
    for folder in (root, root / "native", root / "int8"):
        if files := {file.name: file_sha256(file) for file in sorted(folder.glob("*.onnx"))}:
            write_means(folder, beside, {"files": files})


def write_networks(student: nn.Module, network: nn.Module, root: Path, name: str, provenance: dict) -> list[OnnxTeacher]:
    """Write the 112 px file, and of a native student the one with its own input size. network: the student, maybe centered."""
    wide = root / f"{name}.onnx"
    write_student(network, wide, provenance)
    files = [OnnxTeacher(wide)]
    if student.input_size != FACE_SIDE:
        small = root / "native" / f"{name}_{student.input_size}.onnx"
        write_onnx(network, small, provenance)
        files.append(OnnxTeacher(small))
        write_package_manifest(small, student.input_size, files[-1].dim)
    return files


def check_place(out: Path) -> None:
    """Raise ValueError where the folder is not empty, or its name is no valid model name."""
    if not NAME.fullmatch(out.name):
        raise ValueError(
            f"--out {out}: the folder's name is the model's name; use letters, digits, '.', '_' and '-' (at most 128)"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} exists and is not empty; name another folder")


def verify_file(
    network: OnnxTeacher, root: Path, images_NHWC: np.ndarray, expected_ND: np.ndarray, any_batch: bool = True
) -> VerifiedFile:
    """Compare one file with the student in onnxruntime and InsightFace."""
    side = network.input_size
    images_NSSC = resize_to_side(side, images_NHWC)
    return VerifiedFile(
        str(network.path.relative_to(root)),
        side,
        compare_onnxruntime(network, images_NSSC, expected_ND, any_batch),
        compare_insightface(network, images_NSSC, expected_ND, manifest=side != FACE_SIDE),
    )


def write_int8_files(
    result: ExportResult, root: Path, networks: list[OnnxTeacher], images_NHWC: np.ndarray, px: int, pairs: str
) -> None:
    """Write the int8 version of each fp32 file. One that loses too much accuracy is left out, and the fp32 files stay."""
    for network in networks:
        try:
            result.int8.append(write_int8(root, network, images_NHWC, px, pairs))
        except Int8Rejected as error:
            int8_file(root, network).unlink()
            result.rejected.append(str(error))
    if not result.int8:
        (root / "int8").rmdir()


def int8_file(root: Path, source: OnnxTeacher) -> Path:
    """Where the int8 version of a file is written."""
    return root / "int8" / f"{source.path.stem}_int8.onnx"


def write_int8(root: Path, source: OnnxTeacher, images_NHWC: np.ndarray, px: int, pairs: str) -> Quantised:
    """Write and evaluate the int8 version of one fp32 file."""
    target = int8_file(root, source)
    target.parent.mkdir(exist_ok=True)
    quantise(source, target, resize_to_side(source.input_size, images_NHWC))
    # A 112 px file that downsamples in its graph is evaluated on 112 px images.
    eval_px = FACE_SIDE if source.input_size == FACE_SIDE and len(list(root.glob("native/*.onnx"))) else px
    return compare_accuracy(source, target, root, pairs, eval_px)
