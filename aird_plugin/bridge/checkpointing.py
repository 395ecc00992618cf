"""Checkpoints in the embedded loop's format, written and read inside arcface_torch: a run can resume in either loop.

Upstream resumes at whole epochs, on the same number of ranks, from a file that a kill can truncate. Its resume code still runs:
the newest of our checkpoints is converted to its format first.
"""

from pathlib import Path

import torch

from aird_plugin.training.optim import build_optimizer
from aird_plugin.training.run_state import ABSENT, CenterShard, RunState
from aird_plugin.training.validation import write_student
from aird_plugin.utils import distributed


class UpstreamOptimizer:
    """A subset of the parameters of upstream's single optimizer, saved as the embedded loop's optimizer over them would be."""

    def __init__(self, run, parameters: list[torch.nn.Parameter]):
        self.run, self.parameters = run, parameters

    def state_dict(self) -> dict:
        """The embedded loop's format, with upstream's learning rate and momentum buffers."""
        state = build_optimizer(self.run.setup.recipe.schedule, self.parameters).state_dict()
        for group in state["param_groups"]:
            group["lr"] = self.run.optimizer.param_groups[0]["lr"]
        live = self.run.optimizer.state
        state["state"] = {index: live[parameter] for index, parameter in enumerate(self.parameters) if live.get(parameter)}
        return state

    def load_state_dict(self, state: dict) -> None:
        """Load the embedded loop's format into upstream's optimizer."""
        device = self.run.setup.device
        for index, values in state["state"].items():
            self.run.optimizer.state[self.parameters[index]] = {
                key: value.to(device) if isinstance(value, torch.Tensor) and value.ndim else value
                for key, value in values.items()
            }


def run_state(run) -> RunState:
    """The contents of a checkpoint, under the embedded loop's names. Upstream's loss scaler is not accessible and not saved."""
    setup, head = run.setup, run.head
    shared = [p for p in (*setup.student.parameters(), *setup.objective.parameters()) if p.requires_grad]
    parts = {
        "student": setup.student,
        "objective": setup.objective,
        "margin": run.margin.module if run.margin else ABSENT,
        "optimizer": UpstreamOptimizer(run, shared),
        "scaler": ABSENT,
    }
    shard = slice(head.class_start, head.class_start + head.num_local)
    centers = CenterShard(head.weight, shard, UpstreamOptimizer(run, [head.weight]))
    return RunState(parts, setup.metadata, centers)


def save(run, step: int) -> None:
    """Write a checkpoint in the embedded loop's format, and model.pt."""
    run_state(run).save(run.setup.recipe.run, step)
    write_student(run.setup)


def restore(run) -> int:
    """Load the newest checkpoint and let upstream resume from it; returns the step to continue from, 0 for a fresh run."""
    setup = run.setup
    step = run_state(run).resume(setup.recipe.run)
    if step == 0:
        return 0
    if setup.recipe.bridge.reader == "upstream":
        # Upstream's reader cannot resume within an epoch: the epoch restarts with the current weights.
        step -= step % setup.steps_per_epoch
    write_resume_file(run, step)
    return step


def resume_file(run) -> Path:
    """The file from which upstream resumes this rank."""
    return Path(run.setup.recipe.run.output) / f"checkpoint_gpu_{distributed.rank()}.pt"


def write_resume_file(run, step: int) -> None:
    """Write the loaded state to the file from which upstream resumes; its loop takes the epoch and the step from it."""
    batch = step * run.accumulate
    content = {
        "epoch": batch // run.batches_per_epoch,
        "global_step": batch,
        "state_dict_backbone": run.setup.student.state_dict(),
        "state_dict_softmax_fc": run.head.state_dict(),
        "state_optimizer": run.optimizer.state_dict(),
        "state_lr_scheduler": {"batch": batch},
    }
    torch.save(content, resume_file(run))
    run.config.resume = True
    run.stack.callback(remove_resume_file, run)


def remove_resume_file(run) -> None:
    """Remove the file once it is read or the run is over, else a stale one would be resumed. With save_all_states it stays."""
    if run.config.resume and not run.config.save_all_states:
        resume_file(run).unlink(missing_ok=True)
