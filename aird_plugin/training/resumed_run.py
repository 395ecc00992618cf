"""Whether the run in a folder is the one that a recipe resumes: same recipe, same files that it began with; and its history."""

import dataclasses
import json
import sys
from typing import Any

from aird_plugin.config.aliases import with_current_names
from aird_plugin.config.recipe import Recipe, from_flat
from aird_plugin.data.joined_records import joined_print
from aird_plugin.models.teacher_input import TeacherInput
from aird_plugin.training.optim import ScheduleConfig, learning_rate
from aird_plugin.training.tracker import TrackerConfig
from aird_plugin.utils.files import is_same

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
# What a run began with: entry of recipe.json -> the key of its hash, and the words of the error where it has changed.
STARTED_WITH = {
    "student_init": ("sha256", "from another"),
    "teacher": ("sha256", "with another teacher"),
    "records": ("sha256", "with other training images"),
    "prior": ("prior", "with another prior"),
}
# These and the number of ranks give the images of a step.
STEP_KEYS = ("batch_size", "gradient_acc")
# Recorded at each start; a resumed run keeps those of earlier starts under `earlier`.
OF_A_START = ("versions", "code", "machine", "time", "world_size")


def earlier_starts(recipe: Recipe, saved: dict, metadata: dict) -> list[dict]:
    """The starts that `saved`, the recipe.json of the run to be resumed, records: earlier ones, and its last.

    num_epoch may be larger than before, with other milestones from its former value on: one line on stderr states what the
    learning rate does then. Raises ValueError where the saved run is another one, naming what differs.
    """
    saved = saved | {"records": former_records(saved, metadata)}
    before = former_recipe(saved["recipe"])
    if recipe.run.deterministic:
        check_reproducible(saved, metadata)
    same_steps = check_same_steps(before, saved, metadata, recipe.run.output)
    check_same_recipe(before | same_steps, json.loads(json.dumps(metadata["recipe"])), recipe.run.output)
    check_same_start(saved, metadata, recipe.run.output)
    start = {key: saved[key] for key in OF_A_START if key in saved} | {key: before[key] for key in same_steps}
    if is_longer(before.get("num_epoch"), metadata["recipe"]["num_epoch"]):
        start["num_epoch"] = before["num_epoch"]
        print(longer_run(recipe.schedule, before["num_epoch"], before["milestones"]), file=sys.stderr)
    return [*saved.get("earlier", []), start]


def former_recipe(saved: dict) -> dict:
    """A saved recipe in today's names. A run of an older version had the defaults of keys that are newer, also of its terms."""
    named = with_current_names(saved)
    if isinstance(named.get("rec"), list) and len(named["rec"]) == 1:
        named = named | {"rec": named["rec"][0]}
    least = {"rec": "-", "output": "-"}
    try:
        defaults = from_flat(least | {key: named[key] for key in ("terms", "margin") if named.get(key)})
    # A term that is not there any more: the comparison of `terms` names it.
    except ValueError:
        defaults = from_flat(least)
    return json.loads(json.dumps(defaults.flat())) | named


def former_records(saved: dict, metadata: dict) -> dict:
    """The saved entry of the training images. Older versions gave rec=("a",) another fingerprint than rec="a"."""
    was, present = (as_object(one.get("records")) for one in (saved, metadata))
    same = is_same(was.get("sha256"), joined_print([str(present.get("sha256"))]))
    return was | {"sha256": present["sha256"]} if same else was


def check_same_steps(before: dict, saved: dict, metadata: dict, output: str) -> dict:
    """The present values of `STEP_KEYS` where another number of ranks takes as many images in a step; {} for the same number.

    Steps count the learning rate, the order of the images and the length of a run. Raises ValueError where a step of the other
    number of ranks has more or fewer images: the run would end early, or go through a part of its schedule again.
    """
    was, is_now = saved.get("world_size"), metadata["world_size"]
    # Older versions recorded no number of ranks.
    if type(was) is not int or was == is_now:
        return {}
    now = {key: metadata["recipe"][key] for key in STEP_KEYS}
    images, images_now = (ranks * keys["batch_size"] * keys["gradient_acc"] for ranks, keys in ((was, before), (is_now, now)))
    if images != images_now:
        raise ValueError(
            f"{output} took {images} images a step, on {was} rank(s); {is_now} rank(s) with batch_size={now['batch_size']} and "
            f"gradient_acc={now['gradient_acc']} take {images_now}, and learning rate, order of the images and end of the run "
            f"count steps. Set batch_size or gradient_acc so that a step has {images} images, or start from its weights: another "
            f"output= with resume_from={output}"
        )
    return now


def check_same_recipe(before: dict, now: dict, output: str) -> None:
    """Raise ValueError naming the keys that differ between two flat recipes, other than those that a resumed run may change."""
    longer = is_longer(before.get("num_epoch"), now["num_epoch"])
    resumable = RESUMABLE_KEYS | {"num_epoch"} if longer else RESUMABLE_KEYS
    if longer and same_past(before["milestones"], now["milestones"], before["num_epoch"]):
        resumable |= {"milestones"}
    changed = [key for key in now if key in before and key not in resumable and before[key] != now[key]]
    if not changed:
        return
    detail = "; ".join(f"{key} was {before[key]!r}, now {now[key]!r}" for key in changed)
    if changed == ["milestones"] and longer:
        detail += f" (milestones from the former end, epoch {before['num_epoch']}, on may be added)"
    raise ValueError(f"{output} holds another run: {detail}. Use another output=, or resume=False to start again")


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
