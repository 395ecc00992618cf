"""One run inside arcface_torch: what its loop does not carry from the reader to the head, and what happens between its steps."""

import logging
from contextlib import ExitStack
from typing import Any

import torch

from aird_plugin import distributed
from aird_plugin.bridge import states
from aird_plugin.bridge.head import NamedMargin
from aird_plugin.data.faces import Batch
from aird_plugin.errors import Interrupted
from aird_plugin.evaluation.during import questions
from aird_plugin.finite import check_loss
from aird_plugin.lesson import Lesson
from aird_plugin.objective import look
from aird_plugin.runlog import Metrics
from aird_plugin.signals import StopSignals


class Hosted:
    """Upstream's loop hands (image, label) from its reader to its student and its head; everything else meets here.

    The teacher and the relation networks live here, in no module tree of upstream's. A batch is one turn of upstream's loop;
    `gradient_acc` batches make a step. `stopped` is true after Ctrl-C or SIGTERM. The wrappers of upstream's own objects enter
    themselves: `head`, `optimizer`, `verification`. `stack` undoes what they did to objects that outlive the run.
    """

    def __init__(self, lesson: Lesson, stopped: StopSignals, stack: ExitStack):
        self.lesson, self.stopped, self.stack = lesson, stopped, stack
        self.questions = questions(lesson, sharp=True)
        self.student_maps = stack.enter_context(lesson.recorded())
        self.head: Any = None
        self.margin = NamedMargin(lesson) if lesson.recipe.margin else None
        self.optimizer: Any = None
        self.verification: Any = None
        self.config: Any = None
        self.metrics: Metrics | None = None
        self.first = 0
        self.number = 0
        self.batch: Batch | None = None

    @property
    def accumulate(self) -> int:
        return self.lesson.recipe.schedule.gradient_acc

    @property
    def batches_per_epoch(self) -> int:
        return self.lesson.steps_per_epoch * self.accumulate

    def take_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimizer is made: add the relation networks, set the recipe's momentum, go back to the newest checkpoint."""
        self.optimizer = optimizer
        terms = list(self.lesson.objective.parameters())
        if terms:
            optimizer.add_param_group({"params": terms})
        for group in optimizer.param_groups:
            if "momentum" in group:
                group["momentum"] = self.lesson.recipe.schedule.momentum
        if distributed.world_size() > 1:
            # Nothing of upstream's averages them over ranks, and unlike the class centres they are the same on each.
            for parameter in terms:
                parameter.register_hook(distributed.mean_over_ranks)
        self.first = states.restore(self)
        self.metrics = Metrics(self.lesson, self.first)

    def begin(self, number: int, batch: Batch) -> list[torch.Tensor]:
        """Batch number `number` comes; what upstream's loop gets of it."""
        if self.batch is None:
            states.forget_handover(self)
        self.number, self.batch = number, self.lesson.receive(batch)
        return [self.batch.faces_BHWC, self.batch.person_B]

    def loss(self, student_BD: torch.Tensor, identity: torch.Tensor, classes) -> torch.Tensor:
        """Upstream's identity loss -> the objective's sum. `classes` gives the class cosines, as `models.head.Head` does."""
        lesson = self.lesson
        batch = lesson.ask_teacher(self.batch)
        step = self.number // self.accumulate
        epoch = step / lesson.steps_per_epoch
        maps = (self.student_maps, batch.teacher_maps, batch.generative_BCHW)
        views = look(student_BD, batch, classes, self.number + 1, epoch, *maps)
        out = lesson.objective(views, identity)
        check_loss(out, step)
        self.metrics.add(out)
        return shrink_gradient(out["loss"], self.accumulate)

    def batch_done(self, may_stop_here: bool = True) -> None:
        """Upstream asks for the next batch: this one is done. Saves where it is due; raises Interrupted where a signal came."""
        done, rest = divmod(self.number + 1, self.accumulate)
        if rest:
            return
        lesson = self.lesson
        epoch_ends = done % lesson.steps_per_epoch == 0
        stop = distributed.any_rank(bool(self.stopped), lesson.device)
        due = done % (lesson.recipe.run.save_steps or lesson.steps_per_epoch) == 0
        saved = epoch_ends or (may_stop_here and (due or stop))
        if saved:
            self.metrics.flush()
            states.save(self, done)
        if stop and done < lesson.total_steps:
            logging.info("stopped at step %d of %d", done, lesson.total_steps)
            place = "there" if saved else "the beginning of this epoch"
            raise Interrupted(f"stopped at step {done} of {lesson.total_steps}; the same command goes on from {place}")


def shrink_gradient(loss: torch.Tensor, parts: int) -> torch.Tensor:
    """The same value with 1/parts of the gradient: upstream adds accumulated gradients up, recipes ask for their mean."""
    return loss if parts == 1 else loss / parts + (loss - loss / parts).detach()
