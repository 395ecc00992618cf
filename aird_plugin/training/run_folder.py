"""recipe.json: a run's metadata beside its weights."""

import json
import os
from pathlib import Path
from typing import Any

from torch import nn

from aird_plugin.config.recipe import Recipe
from aird_plugin.config.run_section import RunConfig
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.mixture import version_of
from aird_plugin.data.records import originals, skipped_images
from aird_plugin.models.coordinates import teacher_entry
from aird_plugin.models.find import find_model
from aird_plugin.models.load import graph_file
from aird_plugin.models.onnx_file import single_file, weights_sha256
from aird_plugin.models.onnx_network import GRAPH_FILE, OnnxNetwork
from aird_plugin.models.registry import ONNX
from aird_plugin.training.checkpoint import clear
from aird_plugin.training.resumed_run import earlier_starts
from aird_plugin.utils import distributed
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.json_files import read_object
from aird_plugin.utils.provenance import provenance

# Entries that export, adapt and report read.
REQUIRED = {
    "network": str,
    "embedding_size": int,
    "input_size": int,
    "px": int,
    "resize": str,
    "parameters": int,
    "recipe": dict,
    "records": dict,
    "versions": dict,
}


def run_metadata(recipe: Recipe, records: Any, teacher: Any, student: nn.Module, embedding_size: int) -> dict:
    """The contents of recipe.json, also stored in every checkpoint and exported file."""
    first = recipe.student.student_init
    images = originals(records)
    return {
        "recipe": recipe.flat() | {"embedding_size": embedding_size},
        "network": recipe.student.network,
        "embedding_size": embedding_size,
        "input_size": student.input_size,
        "px": recipe.data.px,
        "resize": version_of(recipe.data.degradation),
        "face_side": FACE_SIDE,
        "parameters": sum(p.numel() for p in student.parameters()),
        "records": {"path": str(images.path), "sha256": images.fingerprint(), "faces": len(images)} | skipped_entry(images),
        "teacher": teacher_entry(teacher) if teacher else None,
        "student_init": {"file": Path(first).name, "sha256": weights_sha256(find_model(first).file)} if first else None,
        **provenance(next(student.parameters()).device),
        "world_size": distributed.world_size(),
    } | ({"input": student.describe_input()} if isinstance(student, OnnxNetwork) else {})


def skipped_entry(records: Any) -> dict:
    """{"skipped": the number of unreadable images that were left out}; {} where there are none."""
    count = skipped_images(records)
    return {"skipped": count} if count else {}


def read_metadata(folder: Path) -> dict:
    """Read recipe.json of a run. Raises OSError, and ValueError naming the entries that it lacks."""
    path = folder / "recipe.json"
    metadata = read_object(path)
    lacking = [key for key, kind in REQUIRED.items() if not isinstance(metadata.get(key), kind)]
    lacking = lacking or [f"records.{key}" for key in ("path", "sha256", "faces") if key not in metadata["records"]]
    if lacking:
        raise ValueError(f"{path} has no {', '.join(lacking)}; give a folder that `aird train` made")
    return metadata


def resumed_metadata(run: RunConfig) -> dict | None:
    """The recipe.json of the run that this one resumes; None for a run that starts."""
    path = Path(run.output) / "recipe.json"
    if not (run.resume and path.exists() and os.path.isdir(run.checkpoints)):
        return None
    return read_object(path)


def write_or_verify_run(recipe: Recipe, metadata: dict) -> None:
    """Write recipe.json, or check that the run to be resumed has this recipe. ValueError naming the keys that differ.

    With resume=False the checkpoints are removed first: a kill leaves none beside the recipe.json of another run.
    """
    run = recipe.run
    path = Path(run.output) / "recipe.json"
    if distributed.rank() != 0:
        return
    saved = resumed_metadata(run)
    if not run.resume:
        clear(Path(run.checkpoints))
    elif saved is not None:
        if not isinstance(saved.get("recipe"), dict):
            raise ValueError(f"{path} has no recipe; use another output=, or resume=False to start again")
        metadata["earlier"] = earlier_starts(recipe, saved, metadata)
    write_atomically(path, json.dumps(metadata, indent=1).encode())
    if recipe.student.network == ONNX:
        write_atomically(path.with_name(GRAPH_FILE), single_file(graph_file(recipe.student.student_init)))
