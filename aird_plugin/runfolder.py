"""What a run folder says of the run beside its weights, and whether a run to be resumed is the one asked for."""

import json
import os
from pathlib import Path

from aird_plugin import distributed
from aird_plugin.data.degrade import named
from aird_plugin.data.lowres import FACE_SIDE
from aird_plugin.files import write_atomically
from aird_plugin.jsonfile import read_object
from aird_plugin.models.load import find_model
from aird_plugin.models.teacher import file_sha256
from aird_plugin.provenance import provenance
from aird_plugin.recipe import Recipe, from_flat

FREE_TO_CHANGE = frozenset(
    {"output", "resume", "frequent", "verbose", "save_steps", "num_workers", "val_targets", "val_protocols", "facebn", "keep",
     "bank", "bank_on", "device", "rank_timeout", "deterministic", "keep_mxnet", "gradient_compression", "save_all_states",
     "upstream"}
)  # fmt: skip
# What others read of a run's recipe.json.
TOLD = {"network": str, "embedding_size": int, "input_size": int, "px": int, "resize": str, "parameters": int, "recipe": dict,
        "records": dict, "versions": dict}  # fmt: skip
# What each start of a run tells of itself; a run that goes on keeps those before it under `earlier`.
OF_A_START = ("versions", "code", "machine", "time", "world_size")


def facts_of(recipe: Recipe, records, teacher, student, embedding_size: int) -> dict:
    """What recipe.json says beside the recipe itself, and with it every checkpoint and what is exported."""
    first = recipe.student.student_init
    return {
        "recipe": recipe.flat() | {"embedding_size": embedding_size},
        "network": recipe.student.network, "embedding_size": embedding_size, "input_size": student.input_size,
        "px": recipe.data.px, "resize": named(recipe.data.degradation).version, "face_side": FACE_SIDE,
        "parameters": sum(p.numel() for p in student.parameters()),
        "records": {"path": str(records.path), "sha256": records.fingerprint(), "faces": len(records)},
        "teacher": teacher.describe() if teacher else None,
        "student_init": {"file": Path(first).name, "sha256": file_sha256(find_model(first).file)} if first else None,
        **provenance(next(student.parameters()).device), "world_size": distributed.world_size(),
    }  # fmt: skip


def read_facts(folder: Path) -> dict:
    """What `facts_of` told of a finished run. Raises OSError, and ValueError naming what recipe.json lacks."""
    path = folder / "recipe.json"
    facts = read_object(path)
    lacking = [key for key, kind in TOLD.items() if not isinstance(facts.get(key), kind)]
    lacking = lacking or [f"records.{key}" for key in ("path", "sha256", "faces") if key not in facts["records"]]
    if lacking:
        raise ValueError(f"{path} tells no {', '.join(lacking)}; give a folder that `aird train` made")
    return facts


def settle_run_folder(training) -> None:
    """Write recipe.json, or check that a run to be resumed is this one. ValueError naming the keys that differ."""
    run = training.recipe.run
    path = Path(run.output) / "recipe.json"
    if distributed.rank() != 0:
        return
    if run.resume and path.exists() and os.path.isdir(run.checkpoints):
        told = read_object(path)
        if not isinstance(told.get("recipe"), dict):
            raise ValueError(f"{path} tells no recipe; use another output=, or resume=False to start again")
        before, now = told["recipe"], json.loads(json.dumps(training.facts["recipe"]))
        # A run of an older version had what its newer keys have by default.
        before = json.loads(json.dumps(from_flat({"rec": "-", "output": "-"}).flat())) | before
        changed = [key for key in now if key in before and key not in FREE_TO_CHANGE and before[key] != now[key]]
        if changed:
            detail = "; ".join(f"{key} was {before[key]!r}, now {now[key]!r}" for key in changed)
            raise ValueError(f"{run.output} holds another run: {detail}. Use another output=, or resume=False to start again")
        if run.deterministic:
            refuse_other_bits(told, training.facts)
        start = {key: told[key] for key in OF_A_START if key in told}
        training.facts["earlier"] = [*told.get("earlier", []), start]
    write_atomically(path, json.dumps(training.facts, indent=1).encode())


def refuse_other_bits(before: dict, now: dict) -> None:
    """ValueError where a deterministic run would go on with what changes the bits: other threads, ranks, another PyTorch."""
    for what, path in {"threads": ("machine", "threads"), "ranks": ("world_size",), "PyTorch": ("versions", "torch")}.items():
        was, is_now = (_at(facts, path) for facts in (before, now))
        if was is not None and was != is_now:
            raise ValueError(
                f"deterministic=True: this run began with {what} {was}, now {is_now}, and would not give the same bits. "
                "Start it as before (OMP_NUM_THREADS sets the threads), or set deterministic=False"
            )


def _at(facts: dict, path: tuple[str, ...]):
    """A value of nested dicts, None where it is not there: older versions told less."""
    for key in path:
        facts = facts.get(key) if isinstance(facts, dict) else None
    return facts
