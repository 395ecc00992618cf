"""`aird adapt`: a run and a user's faces -> an adapted run. Heavy imports stand inside the functions."""

import argparse
import io
import json
from dataclasses import asdict
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `aird adapt`."""
    add = parser.add_argument
    add("run", metavar="MODEL", help="a run folder (recipe.json, model.pt), or the model.pt in it")
    add("faces", metavar="FACES", help="unlabelled aligned faces: a folder of pictures, a .bin or a .rec")
    add("--out", metavar="DIR", required=True, help="the folder to make; `aird evaluate` and `aird export` take it as a run")
    add("--px", metavar="N", type=int, help="shrink the faces to N px first. default: take them as they are")
    add("--keep", metavar="F", type=float, default=0.1, help="weight of the old statistics, 0 to 1. default: 0.1")
    add("--batch", metavar="N", type=int, default=96, help="faces in a batch. default: 96")


def run(args: argparse.Namespace) -> int:
    """Adapt, tell what moved, write the folder. Raises ValueError or OSError, and then leaves nothing."""
    from aird_plugin.adaptation.adapt import adapt
    from aird_plugin.adaptation.doubts import doubts
    from aird_plugin.data.lowres import FACE_SIDE, check_px, low_faces
    from aird_plugin.data.unlabelled import read_faces
    from aird_plugin.evaluation.protocol import as_seen
    from aird_plugin.models.load import load_model, run_folder
    from aird_plugin.provenance import provenance
    from aird_plugin.runfolder import read_facts

    folder, out = run_folder(args.run), Path(args.out)
    check_folders(folder, out)
    student = load_model(folder)
    facts = read_facts(folder)
    px = FACE_SIDE if args.px is None else check_px(args.px)
    faces_NHWC = read_faces(args.faces)
    adapted = adapt(student, as_seen(faces_NHWC, px, student.input_size), args.keep, args.batch)
    warnings = doubts(low_faces(faces_NHWC, px), adapted.before.mean, facts["px"])
    done = {
        "faces": len(faces_NHWC), "source": Path(args.faces).name, "px": args.px, "keep": args.keep,
        "layers": [asdict(layer) for layer in adapted.layers], "before": asdict(adapted.before),
        "after": asdict(adapted.after), "warnings": warnings, "made": provenance(),
    }  # fmt: skip
    write(out, adapted.state, facts | {"adapted": done})
    print(report(done, out))
    return 0


def check_folders(folder: Path, out: Path) -> None:
    """ValueError where the one is no run, or the other is taken."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no run folder. An .onnx file has no BatchNorm left: adapt the run, then export it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} is there already and is not empty; name another folder")


def write(out: Path, state: dict, facts: dict) -> None:
    """model.pt, then recipe.json, without which it is no run."""
    import torch

    from aird_plugin.files import write_atomically

    content = io.BytesIO()
    torch.save(state, content)
    write_atomically(out / "model.pt", content.getvalue())
    write_atomically(out / "recipe.json", json.dumps(facts, indent=1).encode())


def report(done: dict, out: Path) -> str:
    """What the user reads: layers, scores, doubts."""
    width = max(len(layer["layer"]) for layer in done["layers"])
    lines = [f"{'layer':{width}}  mean moved by (old std)  variance times"]
    for layer in done["layers"]:
        lines.append(f"{layer['layer']:{width}}  {layer['mean_step']:23.3f}  {layer['variance_factor']:14.3f}")
    before, after = (f"{done[when]['mean']:.3f} +- {done[when]['std']:.3f}" for when in ("before", "after"))
    lines.append(f"cosines of random pairs of your {done['faces']} faces: {before} before, {after} after")
    lines += [f"warning: {doubt}" for doubt in done["warnings"]]
    lines.append(f"{out}: measure it on pairs of your own before you use it: aird evaluate {out} --pairs FILE --px N")
    return "\n".join(lines)
