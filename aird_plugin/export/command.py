"""`aird export`: a run -> the folder that InsightFace loads."""

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `aird export`."""
    add = parser.add_argument
    add("run", metavar="RUN", help="a run folder (recipe.json, model.pt), or the model.pt in it")
    add("--out", metavar="DIR", required=True, help="the folder to make; its name becomes the model's")
    add("--faces", metavar="PATH", help="faces to run each file back on: a .bin, a .rec or a folder. default: the run's own")
    add("--count", metavar="N", type=int, help="how many of them. default: 128, with --int8 512")
    add("--thresholds", metavar="PAIRS", help="also measure on this .bin which cosine gives which false-accept rate at which px")
    add("--server", metavar="DETECTOR", type=Path, help="also lay out a folder for InsightFace Server, with this .onnx detector")
    add("--int8", metavar="PAIRS", help="also write int8 files, calibrated on the faces and compared on this .bin")


def run(args: argparse.Namespace) -> int:
    """Export, and say what lies where. Raises ValueError or OSError, and then leaves nothing."""
    from aird_plugin.export.check import sample_faces
    from aird_plugin.export.folder import check_place, export_student
    from aird_plugin.export.manifests import check_detector
    from aird_plugin.models.load import load_model, run_folder
    from aird_plugin.runfolder import read_facts

    count = args.count if args.count is not None else 512 if args.int8 else 128
    if count < 1:
        raise ValueError(f"--count must be 1 or more, got {count}")
    folder, out = run_folder(args.run), Path(args.out)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no run folder; `aird export` takes one, for its recipe and its facts")
    check_place(out)
    if args.server:
        check_detector(args.server, out.name)
    student = load_model(folder)
    facts = read_facts(folder)
    faces_NHWC = sample_faces(args.faces or facts["records"]["path"], count)
    evaluation = folder / "evaluation.json"
    rows = json.loads(evaluation.read_text()) if evaluation.exists() else []
    exported = export_student(student, facts, out, faces_NHWC, rows, args.int8, args.thresholds, args.server)
    for file in exported.files:
        inside = "not tried (pip install insightface)" if file.insightface is None else f"{file.insightface:.6f}"
        told = f"least cosine to the student {file.onnxruntime:.6f} in onnxruntime, in InsightFace {inside}"
        print(f"{out / file.file}: {file.side} px, {told}")
    for one in exported.int8:
        told = f"{one.accuracy:.2f}% on {one.pairs} at {one.px} px (fp32 {one.accuracy_fp32:.2f})"
        print(f"{out / one.file}: {one.side} px, {told}")
    if args.server:
        print(f"{out / 'server'}: for InsightFace Server, once InsightFace's MODEL.LICENSE for {out.name!r} lies in it")
    print(f"{out / 'MODEL_CARD.md'}: read it, and fill in the licence")
    return 0
