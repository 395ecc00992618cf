"""What the training of a prior updates and reads: images at both sizes, the U-Net and its average, the optimizer."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.mixture import is_mixture
from aird_plugin.data.sampler import BatchSampler
from aird_plugin.prior.dataset import TwoSizes, both_sizes
from aird_plugin.prior.model import build_scheduler, build_unet, diffusers
from aird_plugin.training.data import open_faces
from aird_plugin.training.inputs import check_inputs, with_target_files
from aird_plugin.training.optim import build_optimizer
from aird_plugin.utils import distributed
from aird_plugin.utils.devices import pick_device
from aird_plugin.utils.provenance import provenance


@dataclass(kw_only=True)
class PriorTrainState:
    """Everything the loop updates. `network` is the module called: the U-Net, in DDP; `averaged` is the EMA of its weights."""

    recipe: Recipe
    device: torch.device
    unet: torch.nn.Module
    network: torch.nn.Module
    scheduler: Any
    averaged: Any
    optimizer: torch.optim.Optimizer
    source: TwoSizes
    metadata: dict

    @property
    def steps_per_epoch(self) -> int:
        return self.source.sampler.batches_per_epoch

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.recipe.schedule.num_epoch


def build_state(recipe: Recipe) -> PriorTrainState:
    """Open the images at both sizes, build the U-Net. Raises ValueError for a recipe that does not fit its inputs."""
    check_keys(recipe)
    schedule, run, keys = recipe.schedule, recipe.run, recipe.prior
    device = pick_device(run.device)
    package = diffusers()
    recipe.tracker.check_installed()
    check_inputs(recipe)
    recipe = with_target_files(recipe)
    records, recipe = open_faces(recipe)
    ranks = distributed.world_size()
    # Before the caches, which take long: it raises where the images do not fill a batch.
    sampler = BatchSampler(len(records), recipe.bank.views, schedule.batch_size, run.seed, distributed.rank(), ranks)
    lr, hr = both_sizes(recipe, records)
    torch.manual_seed(run.seed)
    unet = build_unet(keys).to(device)
    parameters = list(unet.parameters())
    return PriorTrainState(
        recipe=recipe,
        device=device,
        unet=unet,
        network=unet if ranks == 1 else DistributedDataParallel(unet),
        scheduler=build_scheduler(),
        averaged=package.training_utils.EMAModel(parameters, keys.prior_ema, use_ema_warmup=True),
        optimizer=build_optimizer(schedule, parameters),
        source=TwoSizes(sampler, lr, hr),
        metadata=run_metadata(recipe, records, parameters),
    )


def check_keys(recipe: Recipe) -> None:
    """Raise ValueError for keys that a prior's training does not have, or that contradict one another."""
    schedule, run, sizes, data = recipe.schedule, recipe.run, recipe.sizes, recipe.data
    side, of_a_step = recipe.prior.prior_side, sizes.px_range or sizes.also_px or sizes.faces_per_person > 1
    average, first_layer = schedule.weight_average, schedule.first_layer_lr
    problems = (
        (run.fp16 or run.compile, "a prior is trained in float32 or bf16, uncompiled; set fp16=False, compile=False"),
        (run.resume_from, f"resume_from={run.resume_from!r} starts a student's run; a prior begins anew or from its checkpoint"),
        (average, f"weight_average={average} averages a student; set it to 0: prior_ema is the average of a prior"),
        (first_layer != 1, f"first_layer_lr={first_layer} is of a student's layers; set it to 1"),
        (data.mixup, f"mixup={data.mixup}: a prior is trained on single images; set mixup=0"),
        (recipe.bank.online, "online=True: a prior is trained on the images of the bank; set online=False"),
        (data.shuffle == "streamed", "shuffle='streamed': a prior's images are permuted in memory; set shuffle='auto'"),
        (schedule.gradient_acc != 1, f"gradient_acc={schedule.gradient_acc}: a prior takes one batch per step; set batch_size"),
        (
            recipe.terms or of_a_step,
            "prior_side trains a prior and no student: terms, px_range, also_px, faces_per_person would do nothing",
        ),
        (is_mixture(data.degradation), f"a prior is trained on the images of one degradation; got {data.degradation!r}"),
        (side < data.px, f"prior_side={side} is below px={data.px}: a prior upsamples"),
    )
    for is_present, problem in problems:
        if is_present:
            raise ValueError(problem)


def run_metadata(recipe: Recipe, records: Any, parameters: list[torch.nn.Parameter]) -> dict:
    """The contents of recipe.json."""
    return {
        "recipe": recipe.flat(),
        "px": recipe.data.px,
        "parameters": sum(p.numel() for p in parameters),
        "records": {"path": str(records.path), "sha256": records.fingerprint(), "faces": len(records)},
        **provenance(parameters[0].device),
        "world_size": distributed.world_size(),
    }
