"""`aird export`: a run -> a model folder for InsightFace."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aird_plugin.cli.evaluation_flags import US_SPELLINGS
from aird_plugin.cli.input_arguments import INPUT_FLAGS, parse_input
from aird_plugin.utils.warning import warn

if TYPE_CHECKING:
    from aird_plugin.export.contents import ExportResult

# Files that may lie beside the networks, described for the output.
BESIDE = {
    "thresholds.json": "the cosine threshold of each px and false-accept rate",
    "means.json": "the means that --training-centre subtracts",
    "model.safetensors": "the student's weights",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird export`."""
    add = parser.add_argument
    add("run", metavar="RUN", help="a run folder (recipe.json, model.pt), or the model.pt in it")
    add("--out", metavar="DIR", required=True, help="output folder; its name is the model's name")
    add(
        "--faces",
        metavar="PATH",
        help="images on which each file is checked: a .bin, a .rec or a folder. default: the run's training images",
    )
    add("--count", metavar="N", type=int, help="number of images for the check. default: 128, with --int8 512")
    add("--thresholds", metavar="PAIRS", help="also measure the cosine threshold per px and false-accept rate on this .bin")
    add(
        "--teacher",
        metavar="FILE",
        type=Path,
        help="with --thresholds: the HR recogniser .onnx that `aird recognise` uses for larger faces; also measure it, and the "
        "student against its embeddings",
    )
    add("--teacher-input", **INPUT_FLAGS["--teacher-input"])
    add("--server", metavar="DETECTOR", type=Path, help="also write a folder for InsightFace Server with this .onnx detector")
    add(
        "--training-centre",
        *US_SPELLINGS["--training-centre"],
        action="store_true",
        help="make the graph subtract the student's mean embedding over its training images; means.json has the teacher's mean, "
        "to subtract from its embeddings of HR images",
    )
    add("--safetensors", action="store_true", help="also write the student's weights as model.safetensors")
    add("--int8", metavar="PAIRS", help="also write int8 files, calibrated on the images of the check and evaluated on this .bin")


def run(args: argparse.Namespace) -> int:
    """Export a student to .onnx files that InsightFace loads, and print the files.

    Raises ValueError or OSError, and then writes nothing. Exit status 1 where an int8 file was left out; the fp32 files are
    written.
    """
    from aird_plugin.evaluation.pair_files import missing_impostors
    from aird_plugin.export.check import sample_faces
    from aird_plugin.export.contents import ExportOptions
    from aird_plugin.export.folder import export_student
    from aird_plugin.models.coordinates import foreign_teacher
    from aird_plugin.models.load import load_model, load_teacher
    from aird_plugin.models.onnx_network import OnnxNetwork
    from aird_plugin.models.training_means import read_means
    from aird_plugin.training.run_folder import read_metadata

    folder, out = check_arguments(args)
    if args.thresholds and (problem := missing_impostors(args.thresholds)):
        warn(f"{problem}: thresholds.json will hold no threshold")
    given = parse_input("--teacher-input", args.teacher_input, args.teacher)
    student = load_model(folder)
    teacher = load_teacher(args.teacher, teacher_input=given) if args.teacher else None
    if teacher and (problem := foreign_teacher(folder, student, teacher)):
        raise ValueError(problem)
    metadata = read_metadata(folder)
    count = args.count if args.count is not None else 512 if args.int8 else 128
    rec = metadata["recipe"].get("rec")
    images_NHWC = sample_faces(args.faces or (rec if isinstance(rec, list) else metadata["records"]["path"]), count)
    rows = recorded_rows(folder)
    means = read_means(folder, student) if args.training_centre else None
    if means and teacher and not isinstance(student, OnnxNetwork):
        # Without a mean of the HR recogniser, thresholds against it would mean nothing.
        means.center("teacher", teacher)
    options = ExportOptions(args.int8, args.thresholds, args.teacher, args.server, means, args.safetensors, given)
    result = export_student(student, metadata, out, images_NHWC, rows, options)
    print_result(result, args.server is not None)
    return 1 if result.rejected else 0


def check_arguments(args: argparse.Namespace) -> tuple[Path, Path]:
    """The run folder and the folder to write. Raises ValueError for arguments that cannot lead to an export."""
    from aird_plugin.evaluation.pair_files import check_pairs_file
    from aird_plugin.export.folder import check_place
    from aird_plugin.export.manifests import check_detector
    from aird_plugin.models.find import run_folder

    if args.count is not None and args.count < 1:
        raise ValueError(f"--count must be 1 or more, got {args.count}")
    folder, out = run_folder(args.run), Path(args.out)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no run folder; `aird export` needs one for its recipe.json")
    check_place(out)
    if args.teacher and not (args.thresholds and args.teacher.is_file() and args.teacher.suffix == ".onnx"):
        raise ValueError(f"--teacher {args.teacher}: give an existing .onnx file, and --thresholds PAIRS to measure it on")
    if args.server:
        check_detector(args.server, out.name)
    for file in dict.fromkeys(file for file in (args.int8, args.thresholds) if file):
        check_pairs_file(file)
    return folder, out


def recorded_rows(folder: Path) -> list[dict]:
    """The rows of the run's evaluation.json, for the card. Warns of rows of other weights, which are left out."""
    from aird_plugin.models.find import MODEL_FILE
    from aird_plugin.utils.provenance import rows_made_with

    evaluation = folder / "evaluation.json"
    recorded = json.loads(evaluation.read_text()) if evaluation.exists() else []
    rows = rows_made_with(recorded, "student", folder / MODEL_FILE)
    if len(rows) < len(recorded):
        warn(f"{evaluation} is of other weights than {folder / MODEL_FILE}: the card has no accuracy from it")
    return rows


def print_result(result: "ExportResult", server: bool) -> None:
    """A line per file; warnings and errors to stderr."""
    out = result.folder
    for file in result.files:
        cosine = file.insightface
        insightface = f"not checked: {cosine}" if isinstance(cosine, str) else f"{cosine:.6f} in InsightFace"
        text = f"minimum cosine to the student {file.onnxruntime:.6f} in onnxruntime, {insightface}"
        print(f"{out / file.file}: {file.side} px, {text}")
    for one in result.int8:
        text = f"{one.accuracy:.2f}% on {one.pairs} at {one.px} px (fp32 {one.accuracy_fp32:.2f})"
        print(f"{out / one.file}: {one.side} px, {text}")
        if one.note:
            warn(f"{one.file} {one.note}")
    for name, about in BESIDE.items():
        if (out / name).exists():
            print(f"{out / name}: {about}")
    if server:
        print(f"{out / 'server'}: for InsightFace Server; add InsightFace's MODEL.LICENSE for {out.name!r}")
    print(f"{out / 'MODEL_CARD.md'}: fill in the licence before you share the model")
    for problem in result.rejected:
        print(f"error: {problem}; the fp32 files are in {out}", file=sys.stderr)
