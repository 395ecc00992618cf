"""Training a prior: images of the bank at two sizes, noise, and one mean squared error. CPU, one GPU, or torchrun.

B, G = images on this rank, on all ranks; S = side of the target.
"""

import contextlib
from pathlib import Path

import torch
from torch.nn import functional as F

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.batch import Batch
from aird_plugin.data.degradation import resize_to_network_torch
from aird_plugin.data.loader import loader
from aird_plugin.data.lowres import to_input
from aird_plugin.diagnostics.ignored_keys import print_ignored_keys
from aird_plugin.prior.model import beside, save_prior
from aird_plugin.prior.samples import write_pictures
from aird_plugin.prior.state import PriorTrainState, build_state
from aird_plugin.training.deterministic import deterministic
from aird_plugin.training.nonfinite import check_gradient, check_loss
from aird_plugin.training.optim import learning_rate
from aird_plugin.training.run_folder import write_or_verify_run
from aird_plugin.training.run_log import RunLog
from aird_plugin.training.run_state import RunState
from aird_plugin.training.signals import stop_signals
from aird_plugin.utils import distributed
from aird_plugin.utils.devices import autocast_dtype, pick_device
from aird_plugin.utils.errors import Interrupted
from aird_plugin.utils.rank_failure import process_group


def train(recipe: Recipe) -> Path:
    """Train the prior that the recipe describes, from its newest checkpoint; returns the run folder, which holds the prior.

    Raises what `loop.train` raises.
    """
    with process_group(pick_device(recipe.run.device), recipe.run.rank_timeout), deterministic(recipe.run.deterministic):
        print_ignored_keys(recipe, pick_device(recipe.run.device).type)
        state = build_state(recipe)
        write_or_verify_run(state.recipe, state.metadata)
        run_steps(state, resume(state))
        folder = Path(recipe.run.output)
        if distributed.rank() == 0:
            state.averaged.copy_to(state.unet.parameters())
            save_prior(folder, state.unet, state.scheduler)
            write_pictures(folder / "samples.png", state.recipe, state.unet.eval(), state.scheduler, state.device)
        # Longer than rank_timeout with many pictures, or on a CPU.
        distributed.wait_for_rank0()
        return folder


def run_steps(state: PriorTrainState, first: int) -> None:
    """All steps from `first` on: loss, update, EMA of the weights, log, checkpoint."""
    run, total = state.recipe.run, state.total_steps
    save_every = run.save_steps or state.steps_per_epoch
    prepared = loader(state.source, range(first, total), state.recipe.data.num_workers, state.device)
    with contextlib.closing(prepared) as batches, RunLog(state, first) as log, stop_signals() as stopped:
        for step, batch in enumerate(batches, first):
            rate = learning_rate(state.recipe.schedule, step, state.steps_per_epoch)
            log.step(step + 1, rate, take_step(state, batch.to(state.device), step, rate))
            done = step + 1
            stop = distributed.any_rank(bool(stopped), state.device)
            if done % save_every == 0 or done == total or stop:
                with log.paused():
                    log.flush()
                    run_state(state).save(run, done)
            if stop and done < total:
                raise Interrupted(f"stopped at step {done} of {total}; the same command continues from there")


def take_step(state: PriorTrainState, batch: Batch, step: int, rate: float) -> dict[str, torch.Tensor]:
    """One optimizer step. Returns the loss by its name."""
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad(set_to_none=True)
    state.network.train()
    loss = denoising_loss(state, batch, step)
    check_loss({"loss": loss}, step)
    loss.backward()
    limit = state.recipe.schedule.clip or float("inf")
    check_gradient(torch.nn.utils.clip_grad_norm_(state.unet.parameters(), limit), step)
    state.optimizer.step()
    state.averaged.step(state.unet.parameters())
    return {"loss": loss.detach()}


def denoising_loss(state: PriorTrainState, batch: Batch, step: int) -> torch.Tensor:
    """Mean squared error of v at a random timestep per image. Noise and timesteps are functions of (seed, step) alone."""
    recipe, scheduler = state.recipe, state.scheduler
    side = recipe.prior.prior_side
    hr_B3SS = to_input(batch.hr_BHWC)
    lr_B3SS = to_input(resize_to_network_torch(batch.images_BHWC, side, recipe.data.degradation))
    noise_B3SS, timestep_B = draw_noise(recipe.run.seed, step, len(hr_B3SS), side, scheduler.config.num_train_timesteps)
    noise_B3SS, timestep_B = noise_B3SS.to(state.device), timestep_B.to(state.device)
    noisy_B3SS = scheduler.add_noise(hr_B3SS, noise_B3SS, timestep_B)
    target_B3SS = scheduler.get_velocity(hr_B3SS, noise_B3SS, timestep_B)
    half = autocast_dtype(state.device.type, recipe.run.bf16, fp16=False)
    with torch.autocast(state.device.type, half, enabled=half is not None):
        predicted_B3SS = state.network(beside(state.unet, noisy_B3SS, lr_B3SS), timestep_B).sample
    return F.mse_loss(predicted_B3SS.float(), target_B3SS)


def draw_noise(seed: int, step: int, count: int, side: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """This rank's part of the noise and the timesteps of all ranks' images: two ranks draw the same values as one."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    total = count * distributed.world_size()
    shard = slice(distributed.rank() * count, (distributed.rank() + 1) * count)
    timestep_G = torch.randint(steps, (total,), generator=generator)
    return torch.randn(total, 3, side, side, generator=generator)[shard], timestep_G[shard]


def run_state(state: PriorTrainState) -> RunState:
    """The contents of a checkpoint."""
    parts = {"unet": state.unet, "optimizer": state.optimizer, "averaged": state.averaged}
    return RunState(parts, state.metadata)


def resume(state: PriorTrainState) -> int:
    """Load the newest checkpoint and return the step to continue from; 0 for a fresh run."""
    step = run_state(state).resume(state.recipe.run)
    state.averaged.to(state.device)
    return step
