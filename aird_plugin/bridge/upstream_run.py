"""The state of one run inside arcface_torch: the data that upstream's loop does not pass on, and the work between its steps."""

import logging
from contextlib import ExitStack
from typing import Any

import torch

from aird_plugin.bridge import checkpointing
from aird_plugin.bridge.head import RecipeMargin
from aird_plugin.data.batch import Batch
from aird_plugin.training.nonfinite import check_loss
from aird_plugin.training.objective import build_loss_inputs
from aird_plugin.training.run_log import Metrics
from aird_plugin.training.setup import TrainingSetup
from aird_plugin.training.signals import StopSignals
from aird_plugin.training.validation import eval_specs
from aird_plugin.utils import distributed
from aird_plugin.utils.errors import Interrupted


class UpstreamRun:
    """Shared state of the hooks: upstream's loop passes only (image, label) from its reader to its student and its head.

    The teacher and the relation networks are held here, outside upstream's modules. A batch is one iteration of upstream's loop;
    `gradient_acc` batches make a step. `stopped` is true after Ctrl-C or SIGTERM. The wrappers of upstream's objects set `head`,
    `optimizer` and `verification`. `stack` undoes their changes to objects that outlive the run.
    """

    def __init__(self, setup: TrainingSetup, stopped: StopSignals, stack: ExitStack):
        self.setup, self.stopped, self.stack = setup, stopped, stack
        self.eval_specs = eval_specs(setup, untouched=True)
        self.student_maps = stack.enter_context(setup.record_feature_maps())
        self.head: Any = None
        self.margin = RecipeMargin(setup) if setup.recipe.margin else None
        self.optimizer: Any = None
        self.verification: Any = None
        self.config: Any = None
        self.metrics: Metrics | None = None
        self.first = 0
        self.batch_index = 0
        self.batch: Batch | None = None

    @property
    def accumulate(self) -> int:
        return self.setup.recipe.schedule.gradient_acc

    @property
    def batches_per_epoch(self) -> int:
        return self.setup.steps_per_epoch * self.accumulate

    def attach_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Add the relation networks to upstream's optimizer, set the recipe's momentum and restore the newest checkpoint."""
        self.optimizer = optimizer
        terms = list(self.setup.objective.parameters())
        if terms:
            optimizer.add_param_group({"params": terms})
        for group in optimizer.param_groups:
            if "momentum" in group:
                group["momentum"] = self.setup.recipe.schedule.momentum
        if distributed.world_size() > 1:
            # Upstream does not average their gradients over ranks; unlike the class centers they are replicated.
            for parameter in terms:
                parameter.register_hook(distributed.mean_over_ranks)
        self.first = checkpointing.restore(self)
        self.metrics = Metrics(self.setup, self.first)

    def begin(self, batch_index: int, batch: Batch) -> list[torch.Tensor | None]:
        """Start a batch; returns the [images, labels] that upstream's loop receives."""
        if self.batch is None:
            checkpointing.remove_resume_file(self)
        self.batch_index, self.batch = batch_index, self.setup.to_device(batch)
        return [self.batch.images_BHWC, self.batch.label_B]

    def loss(self, student_BD: torch.Tensor, identity: torch.Tensor, classes) -> torch.Tensor:
        """Upstream's identity loss -> the objective's weighted sum. `classes` has the interface of `models.head.Head`."""
        setup = self.setup
        batch = setup.add_teacher_outputs(self.batch)
        step = self.batch_index // self.accumulate
        epoch = step / setup.steps_per_epoch
        inputs = build_loss_inputs(student_BD, batch, classes, self.batch_index + 1, epoch, self.student_maps)
        out = setup.objective(inputs, identity)
        check_loss(out, step)
        self.metrics.add(out)
        return scale_gradient(out["loss"], self.accumulate)

    def batch_done(self, may_stop_here: bool = True) -> None:
        """Finish a batch: save a checkpoint if one is due, raise Interrupted after a signal."""
        done, remainder = divmod(self.batch_index + 1, self.accumulate)
        if remainder:
            return
        setup = self.setup
        epoch_ends = done % setup.steps_per_epoch == 0
        stop = distributed.any_rank(bool(self.stopped), setup.device)
        due = done % (setup.recipe.run.save_steps or setup.steps_per_epoch) == 0
        saved = epoch_ends or (may_stop_here and (due or stop))
        if saved:
            with self.metrics.paused():
                self.metrics.flush()
                checkpointing.save(self, done)
        if stop and done < setup.total_steps:
            logging.info("stopped at step %d of %d", done, setup.total_steps)
            resume_point = "there" if saved else "the beginning of this epoch"
            raise Interrupted(f"stopped at step {done} of {setup.total_steps}; the same command continues from {resume_point}")


def scale_gradient(loss: torch.Tensor, parts: int) -> torch.Tensor:
    """The same value with 1/parts of the gradient: upstream sums accumulated gradients, a recipe's gradient_acc means them."""
    return loss if parts == 1 else loss / parts + (loss - loss / parts).detach()
