"""The embedded host: one recipe, one loop; CPU, one GPU, or torchrun."""

import contextlib
import itertools
import json
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from aird_plugin import checkpoint, distributed
from aird_plugin.assemble import Training, assemble
from aird_plugin.data.faces import Batch
from aird_plugin.data.loader import loader
from aird_plugin.deterministic import deterministic
from aird_plugin.errors import Interrupted
from aird_plugin.evaluation.during import evaluate_run, questions, write_student
from aird_plugin.lesson import pick_device
from aird_plugin.objective import look
from aird_plugin.recipe import Recipe
from aird_plugin.roll_call import joined
from aird_plugin.runfolder import settle_run_folder
from aird_plugin.runlog import RunLog
from aird_plugin.schedule import learning_rate
from aird_plugin.signals import stop_signals
from aird_plugin.sizes import all_inputs, identity_loss

# Where ranks agree to stop: a flag on a GPU would make each of them wait for its own work.
HOST = torch.device("cpu")


def train(recipe: Recipe) -> Path:
    """Train what the recipe describes, from its newest checkpoint where there is one; gives the run folder.

    Raises ValueError for what does not fit, FloatingPointError for a loss that is not finite (before the optimizer moves), and
    Interrupted, once the state is saved, after Ctrl-C or SIGTERM; RankLost where other ranks are gone or hang.
    """
    with joined(pick_device(recipe.run.device), recipe.run.rank_timeout), deterministic(recipe.run.deterministic):
        training = assemble(recipe)
        settle_run_folder(training)
        first = resume(training)
        run_steps(training, first)
        return finish(training)


def run_steps(training: Training, first: int) -> None:
    """All steps from `first` on: rate, batches, loss, update, log, verification, checkpoint."""
    recipe, per_epoch = training.recipe, training.steps_per_epoch
    save_every = recipe.run.save_steps or per_epoch
    accumulate = recipe.schedule.gradient_acc
    numbers = range(first * accumulate, training.total_steps * accumulate)
    prepared = loader(training.source, numbers, recipe.data.num_workers, training.device)
    with contextlib.closing(prepared) as batches, RunLog(training, first) as log, stop_signals() as stopped:
        for step in range(first, training.total_steps):
            rate = set_learning_rate(training, learning_rate(recipe.schedule, step, per_epoch))
            out = take_step(training, itertools.islice(batches, accumulate), step)
            done = step + 1
            stop = distributed.any_rank(bool(stopped), HOST)
            verify = not stop and recipe.run.verbose and done % recipe.run.verbose == 0 and done < training.total_steps
            keep = stop or done % save_every == 0 or done == training.total_steps
            if verify or keep or log.due(done):
                training.watch.check()
            log.step(done, rate, out)
            if verify:
                with stopped.breaking_off():
                    log.verification(done, questions(training), evaluate_run(training))
                stop = distributed.any_rank(bool(stopped), HOST)
            if keep or stop:
                log.flush()
                save(training, done)
            if stop and done < training.total_steps:
                raise Interrupted(f"stopped at step {done} of {training.total_steps}; the same command goes on from there")


def take_step(training: Training, batches, step: int) -> dict[str, torch.Tensor]:
    """One optimizer step over the mean loss of its batches. Gives every term by name (mean over the batches)."""
    accumulate = training.recipe.schedule.gradient_acc
    for optimizer in training.optimizers:
        optimizer.zero_grad(set_to_none=True)
    total: dict[str, torch.Tensor] = {}
    for number, batch in enumerate(batches, 1):
        with hold_back_sync(training.network, number < accumulate):
            out = compute_loss(training, training.receive(batch), step, step * accumulate + number)
            training.scaler.scale(out["loss"] / accumulate).backward()
        for name, value in out.items():
            total[name] = total.get(name, 0) + value.detach() / accumulate
    update(training, step, total)
    return total


def compute_loss(training: Training, batch: Batch, step: int, draw: int) -> dict[str, torch.Tensor]:
    """Student forward, both networks' views of the batch, and the objective."""
    training.network.train()
    run, device = training.recipe.run, training.device.type
    half = torch.float16 if run.fp16 else torch.bfloat16
    batch = training.ask_teacher(batch)
    autocast = torch.autocast(device, half, enabled=run.bf16 or (run.fp16 and device == "cuda"))
    with training.recorded() as student_maps, autocast:
        student_XD = training.network(all_inputs(training, batch))
    epoch = step / training.steps_per_epoch
    views = look(student_XD, batch, training.head, draw, epoch, student_maps, batch.teacher_maps, batch.generative_BCHW)
    return training.objective(views, identity=identity_loss(training.head, views, training.recipe.sizes, draw))


def update(training: Training, step: int, out: dict[str, torch.Tensor]) -> None:
    """Unscale, average what DDP does not hold, clip, and move if loss and gradient are finite."""
    optimizers = training.optimizers
    for optimizer in optimizers:
        training.scaler.unscale_(optimizer)
    distributed.average_gradients(training.objective.parameters())
    limit = training.recipe.schedule.clip or float("inf")
    norm = torch.nn.utils.clip_grad_norm_(training.student.parameters(), limit)
    scaled = training.scaler.is_enabled()
    training.watch.see(step, out, None if scaled else norm)
    if not scaled:
        training.watch.hold(optimizers)
    for optimizer in optimizers:
        training.scaler.step(optimizer)
    training.scaler.update()


def set_learning_rate(training: Training, rate: float) -> float:
    """The same rate for student, relation networks and class centres."""
    for optimizer in training.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
    return rate


def hold_back_sync(network, more_to_come: bool):
    """DDP reduces gradients once a step, at its last batch."""
    if more_to_come and isinstance(network, DistributedDataParallel):
        return network.no_sync()
    return contextlib.nullcontext()


def save(training: Training, step: int) -> None:
    """A checkpoint, and model.pt beside it."""
    shared = {
        "student": training.student.state_dict(),
        "objective": training.objective.state_dict(),
        "margin": training.head.margin.state_dict(),
        "optimizer": training.shared_optimizer.state_dict(),
        "scaler": training.scaler.state_dict(),
        "facts": json.dumps(training.facts),
    }
    head = {"weight": training.head.weight.detach(), "optimizer": training.head_optimizer.state_dict()}
    checkpoint.save(Path(training.recipe.run.checkpoints), step, shared, head)
    write_student(training)


def resume(training: Training) -> int:
    """Load the newest checkpoint and give the step to go on with; 0 for a fresh run."""
    run = training.recipe.run
    state = checkpoint.load_for(Path(run.checkpoints), run.resume)
    if state is None:
        return 0
    shared, heads = state
    training.student.load_state_dict(shared["student"])
    training.objective.load_state_dict(shared["objective"])
    training.head.margin.load_state_dict(shared.get("margin", {}))
    training.shared_optimizer.load_state_dict(shared["optimizer"])
    if shared["scaler"]:
        training.scaler.load_state_dict(shared["scaler"])
    head = checkpoint.cut_head(heads, training.head.shard)
    with torch.no_grad():
        training.head.weight.copy_(head["weight"])
    training.head_optimizer.load_state_dict(head["optimizer"])
    return shared["step"]


def finish(training: Training) -> Path:
    """The last verification, into evaluation.json; gives the run folder."""
    write_student(training)
    if training.recipe.run.val_targets:
        evaluate_run(training, write=True)
    distributed.barrier()
    return Path(training.recipe.run.output)
