"""Replacements for upstream's functions and classes during a run. Each takes (original, upstream_run)."""

import difflib
import logging

import torch
from easydict import EasyDict
from torch.optim.lr_scheduler import LRScheduler

from aird_plugin.bridge.patching import set_variable
from aird_plugin.losses.term import Needs
from aird_plugin.training.deterministic import pin_kernels
from aird_plugin.training.nonfinite import check_gradient
from aird_plugin.training.optim import learning_rate
from aird_plugin.training.run_log import terms_of
from aird_plugin.utils import distributed
from aird_plugin.utils.devices import autocast_dtype
from aird_plugin.utils.warning import warn

NEVER = 1 << 62


def recipe_config(base: dict, run):
    """Replaces get_config: the recipe in upstream's keys, over upstream's defaults. Steps are converted to batches, its unit.

    Raises ValueError if `upstream` sets a key that the recipe has itself; prints a warning for one that upstream has not.
    """
    recipe, setup, per_step = run.setup.recipe, run.setup, run.accumulate
    schedule, head, bridge = recipe.schedule, recipe.head, recipe.bridge
    ours = dict(
        rec=recipe.data.rec,
        num_image=len(setup.records),
        num_workers=recipe.data.num_workers,
        network=recipe.student.network,
        embedding_size=setup.embedding_size,
        num_classes=head.num_classes,
        margin_list=head.margin_list,
        sample_rate=head.sample_rate,
        optimizer=schedule.optimizer,
        batch_size=schedule.batch_size,
        lr=schedule.lr,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        num_epoch=schedule.num_epoch,
        warmup_epoch=schedule.warmup_epoch,
        gradient_acc=per_step,
        seed=recipe.run.seed,
        output=recipe.run.output,
        resume=False,
        fp16=recipe.run.fp16 and setup.device.type == "cuda",
        frequent=recipe.run.frequent * per_step,
        verbose=recipe.run.verbose * per_step or NEVER,
        save_all_states=bridge.save_all_states,
        val_targets=[spec.name for spec in run.eval_specs],
        wandb_key=None,
        **recipe.tracker.for_arcface_torch(),
    )
    duplicates = sorted(ours.keys() & bridge.upstream.keys())
    if duplicates:
        raise ValueError(f"upstream sets {', '.join(duplicates)}: set such keys in the recipe itself")
    # A warning: upstream also reads keys that its defaults do not have, such as wandb's `notes`.
    for key in bridge.upstream if distributed.rank() == 0 else ():
        if key not in base:
            near = difflib.get_close_matches(key, base, n=1, cutoff=0.0)[0]
            warn(f"upstream sets {key!r}, which arcface_torch's configs/base.py does not have; the nearest is {near!r}")
    if recipe.tracker.wandb_key:
        # Its log prints the config; wandb also takes the key from the environment.
        set_variable(run.stack, "WANDB_API_KEY", recipe.tracker.wandb_key)
    run.config = EasyDict(base | ours | bridge.upstream)
    return lambda config_file: run.config


def get_model(original, run):
    """Replaces get_model by the bare student: upstream saves its state dict, and its tools must load that."""
    setup, recipe = run.setup, run.setup.recipe

    def prepare_input(_, args):
        """Upsample and normalise uint8 LR images on the student's device; float inputs pass unchanged."""
        (images,) = args
        return (setup.network_input(images),) if images.dtype == torch.uint8 else args

    def make(name, **options):
        """Return the recipe's student, whatever the arguments."""
        student = setup.student
        # Upstream's setup_seed, which has run by now, enables cuDNN's kernel benchmark; `deterministic` turns it off again.
        pin_kernels(recipe.run.deterministic)
        run.stack.callback(student.register_forward_pre_hook(prepare_input).remove)
        half = autocast_dtype(setup.device.type, recipe.run.bf16, recipe.run.fp16)
        if half is not None:
            autocast_training(student, half, setup.device.type)
            run.stack.callback(delattr, student, "forward")
        if recipe.run.compile:
            student.compile()
        return student

    return make


def autocast_training(student: torch.nn.Module, half: torch.dtype, device: str) -> None:
    """Autocast the student's forward in training mode; verification runs in float32. Embeddings are float32 in both."""
    plain = student.forward

    def forward(x):
        with torch.autocast(device, half, enabled=student.training):
            embeddings_BD = plain(x)
        return embeddings_BD.float()

    student.forward = forward


def scheduler(original, run):
    """Replaces PolynomialLRWarmup: the recipe's schedule, counted in upstream's batches."""
    schedule, per_epoch, per_step = run.setup.recipe.schedule, run.setup.steps_per_epoch, run.accumulate

    class RecipeSchedule(LRScheduler):
        """The learning rate depends on the step alone; the state is the batch index."""

        def __init__(self, optimizer, warmup_iters=0, total_iters=0, **options):
            run.attach_optimizer(optimizer)
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


def clip_gradients(original, run):
    """Replaces clip_grad_norm_: the recipe's limit instead of upstream's constant, and an error for a non-finite gradient."""
    limit = run.setup.recipe.schedule.clip or float("inf")

    def clip(parameters, max_norm, *args, **options):
        norm = original(parameters, limit, *args, **options)
        if not run.config.fp16:
            check_gradient(norm, run.batch_index // run.accumulate)
        return norm

    return clip


def logging_callback(original, run):
    """Replaces CallBackLogging: upstream's line, then one with every loss term, also in metrics.jsonl and TensorBoard."""
    setup = run.setup

    class TermLogger(original):
        """Logs every loss term."""

        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            rate = setup.recipe.head.sample_rate
            if rate < 1 and Needs.TEACHER_COSINE in setup.objective.needs:
                logging.info("sample_rate %g: IID compares student and teacher over the sampled classes alone", rate)

        def __call__(self, global_step, *rest, **options):
            super().__call__(global_step, *rest, **options)
            done, within = divmod(global_step, run.accumulate)
            if within or (done % setup.recipe.run.frequent and done != setup.total_steps):
                return
            line = run.metrics.line(done, learning_rate(setup.recipe.schedule, done - 1, setup.steps_per_epoch))
            if line:
                terms = terms_of(line)
                logging.info("Terms  " + "   ".join(f"{name} {value:.4f}" for name, value in terms.items()))
                for name, value in terms.items():
                    self.writer.add_scalar(f"loss/{name}", value, global_step)

    return TermLogger
