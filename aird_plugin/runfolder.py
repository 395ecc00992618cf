"""What a run folder says of the run beside its weights, and whether a run to be resumed is the one asked for."""

import json
import os
import platform
from pathlib import Path

import numpy as np
import torch

from aird_plugin import __version__, distributed
from aird_plugin.data.degrade import named
from aird_plugin.data.lowres import FACE_SIDE
from aird_plugin.files import write_atomically
from aird_plugin.recipe import Recipe, from_flat

FREE_TO_CHANGE = frozenset(
    {"output", "resume", "frequent", "verbose", "save_steps", "num_workers", "val_targets", "val_protocols", "facebn", "keep",
     "bank", "bank_on", "device", "rank_timeout", "keep_mxnet", "gradient_compression", "save_all_states", "upstream"}
)  # fmt: skip


def facts_of(recipe: Recipe, records, teacher, student, embedding_size: int) -> dict:
    """What recipe.json says beside the recipe itself."""
    return {
        "recipe": recipe.flat() | {"embedding_size": embedding_size},
        "network": recipe.student.network, "embedding_size": embedding_size, "input_size": student.input_size,
        "px": recipe.data.px, "resize": named(recipe.data.degradation).version, "face_side": FACE_SIDE,
        "parameters": sum(p.numel() for p in student.parameters()),
        "records": {"path": str(records.path), "sha256": records.fingerprint(), "faces": len(records)},
        "teacher": teacher.describe() if teacher else None,
        "versions": {"aird_plugin": __version__, "torch": torch.__version__, "numpy": np.__version__,
                     "python": platform.python_version()},
        "threads": torch.get_num_threads(), "world_size": distributed.world_size(),
    }  # fmt: skip


def settle_run_folder(training) -> None:
    """Write recipe.json, or check that a run to be resumed is this one. ValueError naming the keys that differ."""
    run = training.recipe.run
    path = Path(run.output) / "recipe.json"
    if distributed.rank() != 0:
        return
    if run.resume and path.exists() and os.path.isdir(run.checkpoints):
        before, now = json.loads(path.read_text())["recipe"], json.loads(json.dumps(training.facts["recipe"]))
        # A run of an older version had what its newer keys have by default.
        before = json.loads(json.dumps(from_flat({"rec": "-", "output": "-"}).flat())) | before
        changed = [key for key in now if key in before and key not in FREE_TO_CHANGE and before[key] != now[key]]
        if changed:
            detail = "; ".join(f"{key} was {before[key]!r}, now {now[key]!r}" for key in changed)
            raise ValueError(f"{run.output} holds another run: {detail}. Use another output=, or resume=False to start again")
    write_atomically(path, json.dumps(training.facts, indent=1).encode())
