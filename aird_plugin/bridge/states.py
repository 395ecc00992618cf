"""The embedded host's checkpoints, written and read inside arcface_torch, so that a run may go on in either host.

Upstream resumes at whole epochs, on the same number of ranks, from a file that a kill can cut. Its own resuming is used all the
same: the newest of our checkpoints is handed over in its format.
"""

import json
from pathlib import Path

import torch

from aird_plugin import checkpoint, distributed
from aird_plugin.evaluation.during import write_student
from aird_plugin.schedule import build_optimizer


def save(hosted, step: int) -> None:
    """A checkpoint as the embedded host writes it, and model.pt."""
    lesson, head = hosted.lesson, hosted.head
    shared = {
        "student": lesson.student.state_dict(),
        "objective": lesson.objective.state_dict(),
        "margin": hosted.margin.module.state_dict() if hosted.margin else {},
        "optimizer": optimizer_state(hosted, shared_parameters(lesson)),
        "scaler": {},
        "facts": json.dumps(lesson.facts),
    }
    own = {"weight": head.weight.detach(), "optimizer": optimizer_state(hosted, [head.weight])}
    checkpoint.save(Path(lesson.recipe.run.checkpoints), step, shared, own)
    write_student(lesson)


def restore(hosted) -> int:
    """Load the newest checkpoint and have upstream resume from it; gives the step to go on with, 0 for a fresh run."""
    lesson, head = hosted.lesson, hosted.head
    run = lesson.recipe.run
    state = checkpoint.load_for(Path(run.checkpoints), run.resume)
    if state is None:
        return 0
    shared, heads = state
    lesson.student.load_state_dict(shared["student"])
    lesson.objective.load_state_dict(shared["objective"])
    if hosted.margin:
        hosted.margin.module.load_state_dict(shared.get("margin", {}))
    own = checkpoint.cut_head(heads, slice(head.class_start, head.class_start + head.num_local))
    with torch.no_grad():
        head.weight.copy_(own["weight"])
    load_optimizer_state(hosted, shared_parameters(lesson), shared["optimizer"])
    load_optimizer_state(hosted, [head.weight], own["optimizer"])
    step = shared["step"]
    if lesson.recipe.bridge.reader == "upstream":
        # Its order of faces cannot be entered in the middle: the epoch begins again, with the weights as they are.
        step -= step % lesson.steps_per_epoch
    hand_over(hosted, step)
    return step


def shared_parameters(lesson) -> list[torch.nn.Parameter]:
    """In the order of the embedded host's optimizer."""
    return [p for p in (*lesson.student.parameters(), *lesson.objective.parameters()) if p.requires_grad]


def optimizer_state(hosted, parameters: list[torch.nn.Parameter]) -> dict:
    """The state dict that the embedded host's optimizer over these parameters would have."""
    found = build_optimizer(hosted.lesson.recipe.schedule, parameters).state_dict()
    for group in found["param_groups"]:
        group["lr"] = hosted.optimizer.param_groups[0]["lr"]
    live = hosted.optimizer.state
    found["state"] = {place: live[parameter] for place, parameter in enumerate(parameters) if live.get(parameter)}
    return found


def load_optimizer_state(hosted, parameters: list[torch.nn.Parameter], state: dict) -> None:
    """The reverse, into upstream's one optimizer."""
    device = hosted.lesson.device
    for place, values in state["state"].items():
        hosted.optimizer.state[parameters[place]] = {
            key: value.to(device) if isinstance(value, torch.Tensor) and value.ndim else value for key, value in values.items()
        }


def handover_file(hosted) -> Path:
    """Where upstream looks for this rank's state."""
    return Path(hosted.lesson.recipe.run.output) / f"checkpoint_gpu_{distributed.rank()}.pt"


def hand_over(hosted, step: int) -> None:
    """What is loaded already, in the file from which upstream resumes; it is what tells its loop the epoch and the step."""
    batch = step * hosted.accumulate
    content = {
        "epoch": batch // hosted.batches_per_epoch,
        "global_step": batch,
        "state_dict_backbone": hosted.lesson.student.state_dict(),
        "state_dict_softmax_fc": hosted.head.state_dict(),
        "state_optimizer": hosted.optimizer.state_dict(),
        "state_lr_scheduler": {"batch": batch},
    }
    torch.save(content, handover_file(hosted))
    hosted.config.resume = True
    hosted.stack.callback(forget_handover, hosted)


def forget_handover(hosted) -> None:
    """Upstream has read it, or the run is over. A stale one would be taken for the newest state; upstream's own stays."""
    if hosted.config.resume and not hosted.config.save_all_states:
        handover_file(hosted).unlink(missing_ok=True)
