"""The training loop: one recipe; CPU, one GPU, or torchrun."""

import contextlib
import itertools
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.batch import Batch
from aird_plugin.data.loader import loader
from aird_plugin.diagnostics.ignored_keys import print_ignored_keys
from aird_plugin.training.deterministic import deterministic
from aird_plugin.training.gradient_diagnostics import diagnostics_due, gradient_diagnostics, without_diagnostics
from aird_plugin.training.identity_loss import identity_loss
from aird_plugin.training.means import write_training_means
from aird_plugin.training.objective import build_loss_inputs
from aird_plugin.training.optim import learning_rate
from aird_plugin.training.resume_from import start_from_run
from aird_plugin.training.run_folder import write_or_verify_run
from aird_plugin.training.run_log import RunLog
from aird_plugin.training.signals import StopSignals, stop_signals
from aird_plugin.training.state import TrainState, build_state
from aird_plugin.training.validation import eval_specs, evaluate_run, write_student
from aird_plugin.utils import distributed
from aird_plugin.utils.devices import autocast_dtype, pick_device
from aird_plugin.utils.errors import Interrupted
from aird_plugin.utils.rank_failure import process_group

# Ranks agree to stop on the CPU: reading a flag from a GPU would wait for all queued work.
HOST = torch.device("cpu")


def train(recipe: Recipe) -> Path:
    """Train the student that the recipe describes, from its newest checkpoint if there is one; returns the run folder.

    Raises ValueError for a recipe that does not fit its inputs, FloatingPointError for a non-finite loss (before its step is
    logged or saved), Interrupted after Ctrl-C or SIGTERM, once the state is saved, and RankLost where other ranks died or hang.
    """
    with process_group(pick_device(recipe.run.device), recipe.run.rank_timeout), deterministic(recipe.run.deterministic):
        print_ignored_keys(recipe, pick_device(recipe.run.device).type)
        state = build_state(recipe)
        write_or_verify_run(state.setup.recipe, state.setup.metadata)
        first = resume(state)
        run_steps(state, first)
        return finish(state)


def run_steps(state: TrainState, first: int) -> None:
    """All steps from `first` on: learning rate, batches, loss, update, log, verification, checkpoint."""
    recipe, per_epoch = state.setup.recipe, state.setup.steps_per_epoch
    save_every = recipe.run.save_steps or per_epoch
    accumulate = recipe.schedule.gradient_acc
    batch_indices = range(first * accumulate, state.setup.total_steps * accumulate)
    prepared = loader(state.setup.source, batch_indices, recipe.data.num_workers, state.setup.device)
    with contextlib.closing(prepared) as batches, RunLog(state.setup, first) as log, stop_signals() as stopped:
        for step in range(first, state.setup.total_steps):
            rate = learning_rate(recipe.schedule, step, per_epoch)
            set_learning_rate(state, rate)
            out = take_step(state, itertools.islice(batches, accumulate), step)
            done = step + 1
            stop = distributed.any_rank(bool(stopped), HOST)
            verify = not stop and recipe.run.verbose and done % recipe.run.verbose == 0 and done < state.setup.total_steps
            keep = stop or done % save_every == 0 or done == state.setup.total_steps
            if verify or keep or log.due(done):
                state.guard.raise_if_nonfinite()
            log.step(done, rate, out)
            if verify:
                with log.paused():
                    evaluate_and_log(state, log, stopped, done)
                stop = distributed.any_rank(bool(stopped), HOST)
            if keep or stop:
                with log.paused():
                    log.flush()
                    save(state, done)
                    log.saved(done)
            if stop and done < state.setup.total_steps:
                raise Interrupted(f"stopped at step {done} of {state.setup.total_steps}; the same command continues from there")


def evaluate_and_log(state: TrainState, log: RunLog, stopped: StopSignals, step: int) -> None:
    """Evaluate the student and log the results; a stop signal breaks it off."""
    # Only rank 0's work is broken off: a signal before or in the wait for rank 0 would leave the other ranks waiting.
    rows = evaluate_run(state.setup, run=stopped.run_until_stopped)
    if rows:
        log.verification(step, eval_specs(state.setup), rows)


def take_step(state: TrainState, batches: Iterable[Batch], step: int) -> dict[str, torch.Tensor]:
    """One optimizer step over the mean loss of its batches. Returns every term by name (mean over the batches)."""
    accumulate = state.setup.recipe.schedule.gradient_acc
    for optimizer in state.optimizers:
        optimizer.zero_grad(set_to_none=True)
    total: dict[str, torch.Tensor] = {}
    for number, batch in enumerate(batches, 1):
        with accumulate_without_sync(state.network, number < accumulate):
            out = compute_loss(state, state.setup.to_device(batch), step, step * accumulate + number)
            state.scaler.scale(out["loss"] / accumulate).backward()
        for name, value in out.items():
            total[name] = total.get(name, 0) + value.detach() / accumulate
    update(state, step, total)
    return total


def compute_loss(state: TrainState, batch: Batch, step: int, batch_index: int) -> dict[str, torch.Tensor]:
    """Student forward, the inputs of the losses, and the objective."""
    state.network.train()
    run, device = state.setup.recipe.run, state.setup.device.type
    half = autocast_dtype(device, run.bf16, run.fp16)
    batch = state.setup.add_teacher_outputs(batch)
    # Dropout masks are a function of the batch, so that a resumed run draws those of an uninterrupted one.
    torch.manual_seed((run.seed * 1_000_003 + batch_index) * 4096 + distributed.rank())
    autocast = torch.autocast(device, half, enabled=half is not None)
    with state.setup.record_feature_maps() as student_maps, autocast:
        student_XD = state.network(state.setup.network_inputs(batch))
    epoch = step / state.setup.steps_per_epoch
    inputs = build_loss_inputs(student_XD, batch, state.head, batch_index, epoch, student_maps)
    out = state.setup.objective(inputs, identity=identity_loss(state.head, inputs, state.setup.recipe.sizes, batch_index))
    if diagnostics_due(run, step + 1):
        out |= gradient_diagnostics(state.setup.objective, student_XD, inputs, out)
    return out


def update(state: TrainState, step: int, out: dict[str, torch.Tensor]) -> None:
    """Average the gradients outside DDP, unscale, clip, step if loss and gradient are finite; the averaged weights follow."""
    optimizers = state.optimizers
    # Before the scaler looks for infinities: all ranks must find those of one, or only that one would skip the step.
    distributed.average_gradients(state.setup.objective.parameters())
    for optimizer in optimizers:
        state.scaler.unscale_(optimizer)
    limit = state.setup.recipe.schedule.clip or float("inf")
    norm = torch.nn.utils.clip_grad_norm_(state.setup.student.parameters(), limit)
    scaled = state.scaler.is_enabled()
    state.guard.update(step, without_diagnostics(out), None if scaled else norm)
    if not scaled:
        state.guard.attach(optimizers)
    for optimizer in optimizers:
        state.scaler.step(optimizer)
    state.scaler.update()
    if state.setup.average:
        state.setup.average.update()


def set_learning_rate(state: TrainState, rate: float) -> None:
    """Set one learning rate for student, terms and class centers; the student's layers have their shares of it."""
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            # Checkpoints of earlier versions have no shares.
            group["lr"] = rate * group.get("lr_share", 1.0)


def accumulate_without_sync(network: torch.nn.Module, more_to_come: bool) -> AbstractContextManager:
    """DDP reduces gradients once per step, with the last batch."""
    if more_to_come and isinstance(network, DistributedDataParallel):
        return network.no_sync()
    return contextlib.nullcontext()


def save(state: TrainState, step: int) -> None:
    """A checkpoint, and model.pt beside it."""
    state.run_state.save(state.setup.recipe.run, step)
    write_student(state.setup)


def resume(state: TrainState) -> int:
    """Load the newest checkpoint and return the step to continue from; 0 for a fresh run, which may start from another run."""
    first = state.run_state.resume(state.setup.recipe.run)
    if not first and state.setup.recipe.run.resume_from:
        start_from_run(state)
    return first


def finish(state: TrainState) -> Path:
    """Write student and training means, and the last verification to evaluation.json; returns the run folder."""
    write_student(state.setup)
    write_training_means(state.setup)
    if state.setup.recipe.run.val_targets:
        evaluate_run(state.setup, write=True)
    distributed.barrier()
    return Path(state.setup.recipe.run.output)
