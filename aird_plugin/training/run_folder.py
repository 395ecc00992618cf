"""recipe.json: a run's metadata beside its weights, and the check that a run to be resumed is the same run."""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from torch import nn

from aird_plugin.config.aliases import today_in
from aird_plugin.config.recipe import Recipe, from_flat
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.mixture import version_of
from aird_plugin.data.records import skipped_images
from aird_plugin.models.coordinates import teacher_entry
from aird_plugin.models.find import find_model
from aird_plugin.models.load import graph_file
from aird_plugin.models.onnx_network import GRAPH_FILE, OnnxNetwork
from aird_plugin.models.registry import ONNX
from aird_plugin.models.teacher_input import TeacherInput
from aird_plugin.training.checkpoint import clear
from aird_plugin.training.optim import ScheduleConfig, learning_rate
from aird_plugin.training.tracker import TrackerConfig
from aird_plugin.utils import distributed
from aird_plugin.utils.files import file_sha256, is_same, write_atomically
from aird_plugin.utils.json_files import read_object
from aird_plugin.utils.provenance import provenance

RESUMABLE_KEYS = frozenset(
    {
        "output",
        "resume",
        "frequent",
        "gradient_diagnostics",
        "verbose",
        "save_steps",
        "num_workers",
        "val_targets",
        "val_protocols",
        "facebn",
        "keep",
        "include_bn1d",
        "bank",
        "bank_on",
        "bank_shard_images",
        "device",
        "rank_timeout",
        "deterministic",
        "keep_mxnet",
        "gradient_compression",
        "save_all_states",
        "upstream",
        *(field.name for field in dataclasses.fields(TrackerConfig)),
    }
)
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
# Entries of what a run began with: the key of its hash, and the beginning of the sentence on another one.
STARTED_WITH = {
    "student_init": ("sha256", "from another"),
    "teacher": ("sha256", "with another teacher"),
    "records": ("sha256", "with other training images"),
    "prior": ("prior", "with another prior"),
}
# Recorded at each start; a resumed run keeps those of earlier starts under `earlier`.
OF_A_START = ("versions", "code", "machine", "time", "world_size")


def run_metadata(recipe: Recipe, records: Any, teacher: Any, student: nn.Module, embedding_size: int) -> dict:
    """The contents of recipe.json, also stored in every checkpoint and exported file."""
    first = recipe.student.student_init
    return {
        "recipe": recipe.flat() | {"embedding_size": embedding_size},
        "network": recipe.student.network,
        "embedding_size": embedding_size,
        "input_size": student.input_size,
        "px": recipe.data.px,
        "resize": version_of(recipe.data.degradation),
        "face_side": FACE_SIDE,
        "parameters": sum(p.numel() for p in student.parameters()),
        "records": {"path": str(records.path), "sha256": records.fingerprint(), "faces": len(records)} | skipped_entry(records),
        "teacher": teacher_entry(teacher) if teacher else None,
        "student_init": {"file": Path(first).name, "sha256": file_sha256(find_model(first).file)} if first else None,
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


def write_or_verify_run(recipe: Recipe, metadata: dict) -> None:
    """Write recipe.json, or check that the run to be resumed has this recipe. ValueError naming the keys that differ.

    num_epoch may be larger than before, with other milestones from its former value on: one line says what the learning rate
    does then. With resume=False the checkpoints are removed first: a kill leaves none beside the recipe.json of another run.
    """
    run = recipe.run
    path = Path(run.output) / "recipe.json"
    if distributed.rank() != 0:
        return
    if not run.resume:
        clear(Path(run.checkpoints))
    elif path.exists() and os.path.isdir(run.checkpoints):
        saved = read_object(path)
        if not isinstance(saved.get("recipe"), dict):
            raise ValueError(f"{path} has no recipe; use another output=, or resume=False to start again")
        before, now = today_in(saved["recipe"]), json.loads(json.dumps(metadata["recipe"]))
        # A run of an older version had the defaults of keys that are newer.
        before = json.loads(json.dumps(from_flat({"rec": "-", "output": "-"}).flat())) | before
        longer = is_longer(before.get("num_epoch"), now["num_epoch"])
        resumable = RESUMABLE_KEYS | {"num_epoch"} if longer else RESUMABLE_KEYS
        if longer and same_past(before["milestones"], now["milestones"], before["num_epoch"]):
            resumable |= {"milestones"}
        changed = [key for key in now if key in before and key not in resumable and before[key] != now[key]]
        if changed:
            detail = "; ".join(f"{key} was {before[key]!r}, now {now[key]!r}" for key in changed)
            if changed == ["milestones"] and longer:
                detail += f" (milestones from the former end, epoch {before['num_epoch']}, on may be added)"
            raise ValueError(f"{run.output} holds another run: {detail}. Use another output=, or resume=False to start again")
        if run.deterministic:
            check_reproducible(saved, metadata)
        check_same_start(saved, metadata, run.output)
        start = {key: saved[key] for key in OF_A_START if key in saved}
        if longer:
            start["num_epoch"] = before["num_epoch"]
            print(longer_run(recipe.schedule, before["num_epoch"], before["milestones"]), file=sys.stderr)
        metadata["earlier"] = [*saved.get("earlier", []), start]
    write_atomically(path, json.dumps(metadata, indent=1).encode())
    if recipe.student.network == ONNX:
        write_atomically(path.with_name(GRAPH_FILE), graph_file(recipe.student.student_init).read_bytes())


def is_longer(before: Any, now: int) -> bool:
    """Whether a saved num_epoch, of any origin, is below the present one."""
    return type(before) is int and 1 <= before < now


def same_past(before: Any, now: list, end: int) -> bool:
    """Whether two lists of milestones, the first of any origin, agree before epoch `end`."""
    numbers = isinstance(before, list) and all(isinstance(one, int | float) for one in before)
    return numbers and sorted(one for one in before if one < end) == sorted(one for one in now if one < end)


def longer_run(schedule: ScheduleConfig, before: int, milestones: Any = None) -> str:
    """One line on a raised num_epoch. The learning rate is that of a run of the new length, from the checkpoint on.

    milestones: the former ones, where they may differ.
    """
    rate = learning_rate(schedule, before, 1)
    if schedule.schedule == "step":
        stay = "stay" if milestones is None or list(milestones) == list(schedule.milestones) else f"were {tuple(milestones)}"
        rule = f"the milestones {schedule.milestones} {stay}, and the learning rate is {rate:.3g} "
        rule += f"from epoch {before} on, until a milestone"
    else:
        rule = f"the {schedule.schedule} schedule is stretched over {schedule.num_epoch} epochs: "
        rule += f"the learning rate, which fell to 0 at epoch {before}, is {rate:.3g} there now and falls to 0 at the new end"
    return f"num_epoch was {before}, now {schedule.num_epoch}, and the run goes on from its newest checkpoint: {rule}"


def check_same_start(before: dict, now: dict, output: str) -> None:
    """ValueError where a file that the run began with has changed: initial weights, teacher or its input, or training images.

    The recipe names the same path; a bank in another folder, or none, would not notice.
    """
    for entry, (key, began) in STARTED_WITH.items():
        was, present = (as_object(metadata.get(entry)) for metadata in (before, now))
        same = is_same(was.get(key), present.get(key))
        if same is False or (same and was.get("input") != present.get("input")):
            name = was.get("file") or was.get("path") or ""
            raise ValueError(
                f"{output} began {began} {name} (sha256 {was[key][:16]}, now {present[key][:16]}). "
                "Use another output=, or resume=False to start again"
            )
    # Older versions did not record how the student is fed.
    fed, fed_now = before.get("input"), now.get("input")
    if fed and fed != fed_now:
        raise ValueError(
            f"{output} fed its student {TeacherInput.of(fed)}, now {TeacherInput.of(fed_now)}; the manifest.json beside "
            "student_init may have changed. State student_input as it was, use another output=, or resume=False to start again"
        )


def as_object(value: Any) -> dict[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def check_reproducible(before: dict, now: dict) -> None:
    """ValueError where a deterministic run would resume with other threads, ranks or another PyTorch, which change the bits."""
    for what, path in {"threads": ("machine", "threads"), "ranks": ("world_size",), "PyTorch": ("versions", "torch")}.items():
        was, is_now = (_at(metadata, path) for metadata in (before, now))
        if was is not None and was != is_now:
            raise ValueError(
                f"deterministic=True: this run began with {what} {was}, now {is_now}, and the bits would differ. "
                "Start it as before (OMP_NUM_THREADS sets the threads), or set deterministic=False"
            )


def _at(metadata: Any, path: tuple[str, ...]) -> Any:
    """A value of nested dicts, None where it is missing: older versions recorded less."""
    for key in path:
        metadata = metadata.get(key) if isinstance(metadata, dict) else None
    return metadata
