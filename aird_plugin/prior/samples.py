"""Samples of a prior for inspection: LR images, its outputs, and the ground truth.

B = images, S = side of the prior's output.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.degradation import downsample, resize_to_network_torch
from aird_plugin.data.lowres import resize_faces, to_input
from aird_plugin.data.pairs import pair_faces, read_pairs
from aird_plugin.data.readable_records import skip_unreadable
from aird_plugin.data.records import decode_face, open_records
from aird_plugin.prior.model import diffusers, predict
from aird_plugin.utils.files import write_atomically

SHOWN_SIDE = 112
GAP = 4


def write_pictures(path: Path, recipe: Recipe, unet: torch.nn.Module, scheduler: Any, device: torch.device) -> None:
    """Write a PNG grid, one image per row: the LR image upsampled, the sample, the ground truth at the prior's side."""
    keys, data = recipe.prior, recipe.data
    hr_BHWC = faces_to_show(recipe)
    lr_BPPC = torch.from_numpy(downsample(hr_BHWC, data.px, data.degradation)).to(device)
    upsampled_BSSC = resize_to_network_torch(lr_BPPC, keys.prior_side, data.degradation)
    sampled_B3SS = sample(unet, scheduler, to_input(upsampled_BSSC), keys.prior_sampling_steps, recipe.run.seed)
    columns = (upsampled_BSSC.cpu().numpy(), to_faces(sampled_B3SS), resize_faces(hr_BHWC, keys.prior_side))
    file = io.BytesIO()
    Image.fromarray(grid(columns)).save(file, "PNG")
    write_atomically(path, file.getvalue())


def faces_to_show(recipe: Recipe) -> np.ndarray:
    """Held-out images: the first of each pair of the first of val_targets; without val_targets the first training images."""
    count = recipe.prior.prior_pictures
    if recipe.run.val_targets:
        pairs = read_pairs(recipe.run.val_targets[0])
        chosen = np.linspace(0, len(pairs.same) - 1, min(count, len(pairs.same))).astype(int)
        return pair_faces(pairs._replace(images=[pairs.images[2 * pair] for pair in chosen]))
    stored = open_records(recipe.data.rec, recipe.data.identity_map)
    records = skip_unreadable(stored, recipe.bank.skip_bad, recipe.bank.bank)
    return np.stack([decode_face(records, row) for row in range(min(count, len(records)))])


@torch.no_grad()
def sample(unet: torch.nn.Module, scheduler: Any, lr_B3SS: torch.Tensor, steps: int, seed: int = 0) -> torch.Tensor:
    """Super-resolve LR images by DDIM (arXiv 2010.02502), from noise seeded by `seed`. (B, 3, S, S), -1 to 1."""
    sampler = diffusers().DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing")
    sampler.set_timesteps(steps, device=lr_B3SS.device)
    generator = torch.Generator().manual_seed(seed)
    images_B3SS = torch.randn(lr_B3SS.shape, generator=generator).to(lr_B3SS.device)
    for timestep in sampler.timesteps:
        predicted_B3SS = predict(unet, images_B3SS, lr_B3SS, timestep)
        images_B3SS = sampler.step(predicted_B3SS, timestep, images_B3SS).prev_sample
    return images_B3SS.clamp(-1, 1)


def to_faces(images_B3SS: torch.Tensor) -> np.ndarray:
    """-1 to 1 -> uint8 (B, S, S, 3)."""
    return (images_B3SS * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def grid(columns: tuple[np.ndarray, ...]) -> np.ndarray:
    """uint8 images (B, S, S, 3) per column -> one PNG, each image `SHOWN_SIDE` wide with square pixels."""
    rows, zoom = len(columns[0]), max(1, SHOWN_SIDE // columns[0].shape[1])
    side = columns[0].shape[1] * zoom
    picture_HWC = np.full((rows * (side + GAP) - GAP, len(columns) * (side + GAP) - GAP, 3), 255, np.uint8)
    for column, images_BSSC in enumerate(columns):
        for row, image_SSC in enumerate(images_BSSC):
            large = image_SSC.repeat(zoom, 0).repeat(zoom, 1)
            picture_HWC[row * (side + GAP) :, column * (side + GAP) :][:side, :side] = large
    return picture_HWC
