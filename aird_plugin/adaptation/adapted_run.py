"""Adapt a run to unlabelled images and write the result as a new run folder."""

import io
import json
from dataclasses import asdict
from pathlib import Path

import torch

from aird_plugin.adaptation.adapt import adapt
from aird_plugin.adaptation.warnings import dataset_warnings, shape_warnings
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.image_files import Accounting
from aird_plugin.data.lowres import check_px, low_faces
from aird_plugin.data.unlabelled_faces import read_faces
from aird_plugin.evaluation.sides import as_network_input
from aird_plugin.models.find import run_folder
from aird_plugin.models.load import load_model
from aird_plugin.models.onnx_file import single_file
from aird_plugin.models.onnx_network import GRAPH_FILE, OnnxNetwork
from aird_plugin.models.recorded import adaptations
from aird_plugin.training.run_folder import read_metadata
from aird_plugin.utils.files import file_sha256, new_folder, write_atomically
from aird_plugin.utils.provenance import provenance
from aird_plugin.utils.warning import warning_line


def adapt_run(
    run: str | Path, images: str | Path, out: str | Path, px: int | None, keep: float, batch: int, include_bn1d: bool = False
) -> dict:
    """Adapt the student of `run` to all images at `images`, write the run folder `out`, return the entry "adapted" of its recipe.

    px: side to downsample the images to first, None for none. keep: weight of the old statistics.
    Raises ValueError or OSError before anything is written.
    """
    folder, out = run_folder(run), Path(out)
    check_folders(folder, out)
    student = load_model(folder)
    metadata = read_metadata(folder)
    side = FACE_SIDE if px is None else check_px(px)
    found = read_faces(str(images))
    images_NHWC = found.images_NHWC
    inputs_NSSC = as_network_input(images_NHWC, side, student.input_size)
    result = adapt(student, inputs_NSSC, keep, batch, include_bn1d=include_bn1d)
    adapted = {
        "faces": len(images_NHWC),
        "source": Path(images).name,
        "source_sha256": file_sha256(images) if Path(images).is_file() else None,
        "px": px,
        "keep": keep,
        "include_bn1d": include_bn1d,
        "layers": [asdict(layer) for layer in result.layers],
        "before": asdict(result.before),
        "after": asdict(result.after),
        "warnings": [
            *dataset_warnings(low_faces(images_NHWC, side), result.before.mean, metadata["px"]),
            *shape_warnings(found.stretched, len(images_NHWC)),
        ],
        "left_out": found.accounting.left_out,
        "made": provenance(),
        **({"earlier": earlier} if (earlier := adaptations(metadata)) else {}),
    }
    with new_folder(out) as partial:
        if isinstance(student, OnnxNetwork):
            write_atomically(partial / GRAPH_FILE, single_file(student.path))
        write_run(partial, result.state, metadata | {"adapted": adapted})
    return adapted


def check_folders(folder: Path, out: Path) -> None:
    """Raise ValueError where `folder` is not a run folder or `out` exists and is not an empty folder."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a run folder. An .onnx file has no BatchNorm layers: adapt the run, then export it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} already exists and is not empty; give another folder")


def write_run(out: Path, state: dict[str, torch.Tensor], metadata: dict) -> None:
    """Write model.pt and recipe.json."""
    content = io.BytesIO()
    torch.save(state, content)
    write_atomically(out / "model.pt", content.getvalue())
    write_atomically(out / "recipe.json", json.dumps(metadata, indent=1).encode())


def format_report(adapted: dict, out: str | Path) -> str:
    """Format the changes per layer, the cosines before and after, and the warnings for printing."""
    width = max(len(layer["layer"]) for layer in adapted["layers"])
    lines = [f"{'layer':{width}}  mean shift (old std)  variance ratio"]
    for layer in adapted["layers"]:
        lines.append(f"{layer['layer']:{width}}  {layer['mean_step']:20.3f}  {layer['variance_factor']:14.3f}")
    before, after = (f"{adapted[when]['mean']:.3f} +- {adapted[when]['std']:.3f}" for when in ("before", "after"))
    lines.append(f"cosines of random pairs of {adapted['faces']} images: {before} before, {after} after")
    lines += map(warning_line, adapted["warnings"])
    lines.append(f"{out}: evaluate it on your own pairs before you use it: aird evaluate {out} --pairs FILE --px N")
    if line := Accounting(Path(adapted["source"]), adapted["faces"], adapted["left_out"]).line():
        lines.append(line)
    return "\n".join(lines)
