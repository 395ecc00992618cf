"""What stands in the place of upstream's names while a run of ours is in its loop. Each takes (what was there, hosted)."""

import logging

import torch
from easydict import EasyDict
from torch.optim.lr_scheduler import LRScheduler

from aird_plugin.deterministic import pin_kernels
from aird_plugin.finite import check_gradient
from aird_plugin.lesson import student_input
from aird_plugin.runlog import terms_of
from aird_plugin.schedule import learning_rate

NEVER = 1 << 62


def recipe_config(base: dict, hosted):
    """get_config: the recipe in upstream's keys over upstream's own defaults. Steps become batches, as it counts them.

    Raises ValueError where `upstream` states what the recipe has a key for.
    """
    recipe, lesson, per_step = hosted.lesson.recipe, hosted.lesson, hosted.accumulate
    schedule, run, head, bridge = recipe.schedule, recipe.run, recipe.head, recipe.bridge
    ours = dict(
        rec=recipe.data.rec, num_image=len(lesson.records), num_workers=recipe.data.num_workers,
        network=recipe.student.network, embedding_size=lesson.embedding_size,
        num_classes=head.num_classes, margin_list=head.margin_list, sample_rate=head.sample_rate,
        optimizer=schedule.optimizer, batch_size=schedule.batch_size, lr=schedule.lr, momentum=schedule.momentum,
        weight_decay=schedule.weight_decay, num_epoch=schedule.num_epoch, warmup_epoch=schedule.warmup_epoch,
        gradient_acc=per_step, seed=run.seed, output=run.output, resume=False, fp16=run.fp16 and lesson.device.type == "cuda",
        frequent=run.frequent * per_step, verbose=run.verbose * per_step or NEVER, save_all_states=bridge.save_all_states,
        val_targets=[question.name for question in hosted.questions], wandb_key=None,
    )  # fmt: skip
    twice = sorted(ours.keys() & bridge.upstream.keys())
    if twice:
        raise ValueError(f"upstream states {', '.join(twice)}: set such keys in the recipe itself")
    hosted.config = EasyDict(base | ours | bridge.upstream)
    return lambda config_file: hosted.config


def get_model(original, hosted):
    """The student itself, no wrapper around it: upstream saves its state dict, and its tools must load that."""
    lesson, run = hosted.lesson, hosted.lesson.recipe.run

    def low_input(student, args):
        """Low faces of the training loop are grown and scaled here, on the student's device; ready inputs pass."""
        (faces,) = args
        return (student_input(student, faces, lesson.arrival),) if faces.dtype == torch.uint8 else args

    def make(name, **options):
        """The lesson's student, whatever upstream asks for."""
        student = lesson.student
        # Upstream's setup_seed asks for the fastest kernels, whichever they are; it has run by now.
        pin_kernels(run.deterministic)
        hosted.stack.callback(student.register_forward_pre_hook(low_input).remove)
        half = torch.bfloat16 if run.bf16 else torch.float16
        if run.bf16 or (run.fp16 and lesson.device.type == "cuda"):
            train_in_half(student, half, lesson.device.type)
            hosted.stack.callback(delattr, student, "forward")
        if run.compile:
            student.compile()
        return student

    return make


def train_in_half(student: torch.nn.Module, half: torch.dtype, device: str) -> None:
    """Autocast the student's forward in training; verification stays in float32, and so do its embeddings."""
    plain = student.forward

    def forward(x):
        with torch.autocast(device, half, enabled=student.training):
            embeddings_BD = plain(x)
        return embeddings_BD.float()

    student.forward = forward


def scheduler(original, hosted):
    """PolynomialLRWarmup: the recipe's schedule, counted in upstream's batches."""
    schedule, per_epoch, per_step = hosted.lesson.recipe.schedule, hosted.lesson.steps_per_epoch, hosted.accumulate

    class RecipeSchedule(LRScheduler):
        """The rate is a function of the step alone; its state is the batch."""

        def __init__(self, optimizer, warmup_iters=0, total_iters=0, **options):
            hosted.take_optimizer(optimizer)
            super().__init__(optimizer)

        def get_lr(self):
            rate = learning_rate(schedule, self.last_epoch // per_step, per_epoch)
            return [rate] * len(self.optimizer.param_groups)

        def state_dict(self):
            return {"batch": self.last_epoch}

        def load_state_dict(self, state):
            self.last_epoch = state["batch"]
            self._last_lr = self.get_lr()
            for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
                group["lr"] = rate

    return RecipeSchedule


def clip_gradients(original, hosted):
    """clip_grad_norm_: the recipe's limit for upstream's fixed one, and no update from a gradient that is not finite."""
    limit = hosted.lesson.recipe.schedule.clip or float("inf")

    def clip(parameters, max_norm, *args, **options):
        norm = original(parameters, limit, *args, **options)
        if not hosted.config.fp16:
            check_gradient(norm, hosted.number // hosted.accumulate)
        return norm

    return clip


def logging_callback(original, hosted):
    """CallBackLogging: upstream's line, then one with every term, in metrics.jsonl and TensorBoard too."""
    lesson = hosted.lesson

    class TermLogging(original):
        """Tells what the loss is made of."""

        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            rate = lesson.recipe.head.sample_rate
            if rate < 1 and "teacher_cosine" in lesson.objective.needs:
                logging.info("sample_rate %g: IID compares student and teacher over the sampled classes alone", rate)

        def __call__(self, global_step, *rest, **options):
            super().__call__(global_step, *rest, **options)
            done, within = divmod(global_step, hosted.accumulate)
            if within or (done % lesson.recipe.run.frequent and done != lesson.total_steps):
                return
            line = hosted.metrics.line(done, learning_rate(lesson.recipe.schedule, done - 1, lesson.steps_per_epoch))
            if line:
                terms = terms_of(line)
                logging.info("Terms  " + "   ".join(f"{name} {value:.4f}" for name, value in terms.items()))
                for name, value in terms.items():
                    self.writer.add_scalar(f"loss/{name}", value, global_step)

    return TermLogging
