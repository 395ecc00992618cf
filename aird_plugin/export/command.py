"""`aird export`: a run -> the folder that InsightFace loads."""

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `aird export`."""
    add = parser.add_argument
    add("run", metavar="RUN", help="a run folder (recipe.json, model.pt)")
    add("--out", metavar="DIR", required=True, help="the folder to make; its name becomes the model's")
    add("--faces", metavar="PATH", help="faces to run each file back on: a .bin, a .rec or a folder. default: the run's own")
    add("--count", metavar="N", type=int, default=128, help="how many of them. default: 128")


def run(args: argparse.Namespace) -> int:
    """Export, and say what lies where. Raises ValueError or OSError, and then leaves nothing."""
    from aird_plugin.evaluation.load import load_model
    from aird_plugin.export.check import sample_faces
    from aird_plugin.export.folder import check_place, export_student

    if args.count < 1:
        raise ValueError(f"--count must be 1 or more, got {args.count}")
    folder, out = Path(args.run), Path(args.out)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no run folder; `aird export` takes one, for its recipe and its facts")
    check_place(out)
    student = load_model(folder)
    facts = json.loads((folder / "recipe.json").read_text())
    faces_NHWC = sample_faces(args.faces or facts["records"]["path"], args.count)
    evaluation = folder / "evaluation.json"
    rows = json.loads(evaluation.read_text()) if evaluation.exists() else []
    exported = export_student(student, facts, out, faces_NHWC, rows)
    for file in exported.files:
        inside = "not tried (pip install insightface)" if file.insightface is None else f"{file.insightface:.6f}"
        told = f"least cosine to the student {file.onnxruntime:.6f} in onnxruntime, in InsightFace {inside}"
        print(f"{out / file.file}: {file.side} px, {told}")
    print(f"{out / 'MODEL_CARD.md'}: read it, and fill in the licence")
    return 0
