"""Training a prior: faces of the bank, sharp and low, noise, and one mean squared error. CPU, one GPU, or torchrun.

B, G = faces on this rank, on all ranks; S = side of the target.
"""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from aird_plugin import checkpoint, distributed
from aird_plugin.data.degrade import arrive_torch
from aird_plugin.data.faces import Batch
from aird_plugin.data.loader import loader
from aird_plugin.data.lowres import to_input
from aird_plugin.data.plan import Plan
from aird_plugin.deterministic import deterministic
from aird_plugin.errors import Interrupted
from aird_plugin.finite import check_gradient, check_loss
from aird_plugin.inputs import check_inputs, with_target_files
from aird_plugin.lesson import pick_device
from aird_plugin.lesson_data import open_faces
from aird_plugin.prior.model import beside, build_scheduler, build_unet, diffusers, save_prior
from aird_plugin.prior.pictures import write_pictures
from aird_plugin.prior.source import TwoSizes, both_sizes
from aird_plugin.provenance import provenance
from aird_plugin.recipe import Recipe
from aird_plugin.roll_call import joined
from aird_plugin.runfolder import settle_run_folder
from aird_plugin.runlog import RunLog
from aird_plugin.schedule import build_optimizer, learning_rate
from aird_plugin.signals import stop_signals


@dataclass(kw_only=True)
class PriorTraining:
    """What the loop turns. `network` is what is called: the U-Net, in DDP; `averaged` holds the running mean of its weights."""

    recipe: Recipe
    device: torch.device
    unet: torch.nn.Module
    network: torch.nn.Module
    scheduler: Any
    averaged: Any
    optimizer: torch.optim.Optimizer
    source: TwoSizes
    facts: dict

    @property
    def steps_per_epoch(self) -> int:
        return self.source.plan.batches_per_epoch

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.recipe.schedule.num_epoch


def train(recipe: Recipe) -> Path:
    """Train the prior that the recipe describes, from its newest checkpoint; gives the run folder, which is the prior's too.

    Raises what `loop.train` raises.
    """
    with joined(pick_device(recipe.run.device), recipe.run.rank_timeout), deterministic(recipe.run.deterministic):
        training = assemble(recipe)
        settle_run_folder(training)
        run_steps(training, resume(training))
        folder = Path(recipe.run.output)
        if distributed.rank() == 0:
            training.averaged.copy_to(training.unet.parameters())
            save_prior(folder, training.unet, training.scheduler)
            write_pictures(folder / "samples.png", training.recipe, training.unet.eval(), training.scheduler, training.device)
        distributed.barrier()
        return folder


def assemble(recipe: Recipe) -> PriorTraining:
    """Open the faces and both sizes of them, build the U-Net. Raises ValueError for what does not fit."""
    schedule, run, keys = recipe.schedule, recipe.run, recipe.prior
    if run.fp16 or run.compile:
        raise ValueError("a prior is trained in float32 or bf16, uncompiled; set fp16=False, compile=False")
    if schedule.gradient_acc != 1:
        raise ValueError(f"gradient_acc={schedule.gradient_acc}: a prior takes one batch a step; set batch_size")
    sizes = recipe.sizes
    if recipe.terms or sizes.px_range or sizes.also_px or sizes.faces_per_person > 1:
        raise ValueError("prior_side trains a prior and no student: terms, px_range, also_px, faces_per_person would do nothing")
    if keys.prior_side < recipe.data.px:
        raise ValueError(f"prior_side={keys.prior_side} is below px={recipe.data.px}: a prior makes faces larger")
    device = pick_device(run.device)
    package = diffusers()
    check_inputs(recipe)
    recipe = with_target_files(recipe)
    records, recipe = open_faces(recipe)
    low, high = both_sizes(recipe, records)
    ranks = distributed.world_size()
    plan = Plan(len(records), recipe.bank.views, schedule.batch_size, run.seed, distributed.rank(), ranks)
    torch.manual_seed(run.seed)
    unet = build_unet(keys).to(device)
    parameters = list(unet.parameters())
    return PriorTraining(
        recipe=recipe, device=device, unet=unet, network=unet if ranks == 1 else DistributedDataParallel(unet),
        scheduler=build_scheduler(), averaged=package.training_utils.EMAModel(parameters, keys.prior_ema, use_ema_warmup=True),
        optimizer=build_optimizer(schedule, parameters), source=TwoSizes(plan, low, high),
        facts=facts_of(recipe, records, parameters),
    )  # fmt: skip


def facts_of(recipe: Recipe, records, parameters) -> dict:
    """What recipe.json says beside the recipe."""
    return {
        "recipe": recipe.flat(), "px": recipe.data.px, "parameters": sum(p.numel() for p in parameters),
        "records": {"path": str(records.path), "sha256": records.fingerprint(), "faces": len(records)},
        **provenance(parameters[0].device), "world_size": distributed.world_size(),
    }  # fmt: skip


def run_steps(training: PriorTraining, first: int) -> None:
    """All steps from `first` on: loss, update, mean of the weights, log, checkpoint."""
    run, total = training.recipe.run, training.total_steps
    save_every = run.save_steps or training.steps_per_epoch
    prepared = loader(training.source, range(first, total), training.recipe.data.num_workers, training.device)
    with contextlib.closing(prepared) as batches, RunLog(training, first) as log, stop_signals() as stopped:
        for step, batch in enumerate(batches, first):
            rate = learning_rate(training.recipe.schedule, step, training.steps_per_epoch)
            log.step(step + 1, rate, take_step(training, batch.to(training.device), step, rate))
            done = step + 1
            stop = distributed.any_rank(bool(stopped), training.device)
            if done % save_every == 0 or done == total or stop:
                log.flush()
                save(training, done)
            if stop and done < total:
                raise Interrupted(f"stopped at step {done} of {total}; the same command goes on from there")


def take_step(training: PriorTraining, batch: Batch, step: int, rate: float) -> dict[str, torch.Tensor]:
    """One step of the optimizer. Gives the loss by its name."""
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    training.optimizer.zero_grad(set_to_none=True)
    training.network.train()
    loss = denoising_loss(training, batch, step)
    check_loss({"loss": loss}, step)
    loss.backward()
    limit = training.recipe.schedule.clip or float("inf")
    check_gradient(torch.nn.utils.clip_grad_norm_(training.unet.parameters(), limit), step)
    training.optimizer.step()
    training.averaged.step(training.unet.parameters())
    return {"loss": loss.detach()}


def denoising_loss(training: PriorTraining, batch: Batch, step: int) -> torch.Tensor:
    """Mean squared error of v at a timestep drawn for each face. Noise and timesteps are functions of (seed, step) alone."""
    recipe, scheduler = training.recipe, training.scheduler
    side = recipe.prior.prior_side
    high_B3SS = to_input(batch.high_BHWC)
    low_B3SS = to_input(arrive_torch(batch.faces_BHWC, side, recipe.data.degradation))
    noise_B3SS, timestep_B = draw_noise(recipe.run.seed, step, len(high_B3SS), side, scheduler.config.num_train_timesteps)
    noise_B3SS, timestep_B = noise_B3SS.to(training.device), timestep_B.to(training.device)
    noisy_B3SS = scheduler.add_noise(high_B3SS, noise_B3SS, timestep_B)
    target_B3SS = scheduler.get_velocity(high_B3SS, noise_B3SS, timestep_B)
    with torch.autocast(training.device.type, torch.bfloat16, enabled=recipe.run.bf16):
        said_B3SS = training.network(beside(training.unet, noisy_B3SS, low_B3SS), timestep_B).sample
    return F.mse_loss(said_B3SS.float(), target_B3SS)


def draw_noise(seed: int, step: int, count: int, side: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """This rank's part of the noise and the timesteps of all ranks' faces: two ranks draw what one would."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    faces = count * distributed.world_size()
    mine = slice(distributed.rank() * count, (distributed.rank() + 1) * count)
    timestep_G = torch.randint(steps, (faces,), generator=generator)
    return torch.randn(faces, 3, side, side, generator=generator)[mine], timestep_G[mine]


def save(training: PriorTraining, step: int) -> None:
    """A checkpoint."""
    shared = {
        "unet": training.unet.state_dict(), "optimizer": training.optimizer.state_dict(),
        "averaged": training.averaged.state_dict(), "facts": json.dumps(training.facts),
    }  # fmt: skip
    checkpoint.save(Path(training.recipe.run.checkpoints), step, shared, {})


def resume(training: PriorTraining) -> int:
    """Load the newest checkpoint and give the step to go on with; 0 for a fresh run."""
    run = training.recipe.run
    state = checkpoint.load_for(Path(run.checkpoints), run.resume)
    if state is None:
        return 0
    shared, _ = state
    training.unet.load_state_dict(shared["unet"])
    training.optimizer.load_state_dict(shared["optimizer"])
    training.averaged.load_state_dict(shared["averaged"])
    training.averaged.to(training.device)
    return shared["step"]
