"""Looking at what a prior has learnt: low faces, what it makes of them, and the truth.

B = faces, S = side of the faces that the prior makes.
"""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from aird_plugin.data.bank_build import decode_face
from aird_plugin.data.degrade import arrive_torch, shrink
from aird_plugin.data.faces import open_records
from aird_plugin.data.images import decode
from aird_plugin.data.lowres import resize_faces, to_input
from aird_plugin.data.pairs import read_pairs
from aird_plugin.files import write_atomically
from aird_plugin.prior.model import diffusers, predict
from aird_plugin.recipe import Recipe

SHOWN_SIDE = 112
GAP = 4


def write_pictures(path: Path, recipe: Recipe, unet, scheduler, device: torch.device) -> None:
    """A grid, one face a row: the low face grown, the face sampled, the true face at the prior's side. PNG."""
    keys, data = recipe.prior, recipe.data
    high_BHWC = faces_to_show(recipe)
    low_BPPC = torch.from_numpy(shrink(high_BHWC, data.px, data.degradation)).to(device)
    grown_BSSC = arrive_torch(low_BPPC, keys.prior_side, data.degradation)
    sampled_B3SS = sample(unet, scheduler, to_input(grown_BSSC), keys.prior_sampling_steps, recipe.run.seed)
    columns = (grown_BSSC.cpu().numpy(), to_faces(sampled_B3SS), resize_faces(high_BHWC, keys.prior_side))
    file = io.BytesIO()
    Image.fromarray(grid(columns)).save(file, "PNG")
    write_atomically(path, file.getvalue())


def faces_to_show(recipe: Recipe) -> np.ndarray:
    """Faces that training has not seen: first of each pair of the first of val_targets; the first training faces without one."""
    count = recipe.prior.prior_pictures
    if recipe.run.val_targets:
        target = recipe.run.val_targets[0]
        files = read_pairs(target).images
        places = np.linspace(0, len(files) // 2 - 1, min(count, len(files) // 2)).astype(int) * 2
        return np.stack([decode(files[place], f"face {place} of {target}") for place in places])
    records = open_records(recipe.data.rec)
    return np.stack([decode_face(records, row) for row in range(min(count, len(records)))])


@torch.no_grad()
def sample(unet, scheduler, low_B3SS: torch.Tensor, steps: int, seed: int = 0) -> torch.Tensor:
    """Faces made large by DDIM (arXiv 2010.02502) from noise that `seed` draws. (B, 3, S, S), -1 to 1."""
    sampler = diffusers().DDIMScheduler.from_config(scheduler.config, timestep_spacing="trailing")
    sampler.set_timesteps(steps, device=low_B3SS.device)
    generator = torch.Generator().manual_seed(seed)
    faces_B3SS = torch.randn(low_B3SS.shape, generator=generator).to(low_B3SS.device)
    for timestep in sampler.timesteps:
        said_B3SS = predict(unet, faces_B3SS, low_B3SS, timestep)
        faces_B3SS = sampler.step(said_B3SS, timestep, faces_B3SS).prev_sample
    return faces_B3SS.clamp(-1, 1)


def to_faces(faces_B3SS: torch.Tensor) -> np.ndarray:
    """-1 to 1 -> uint8 (B, S, S, 3)."""
    return (faces_B3SS * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def grid(columns: tuple[np.ndarray, ...]) -> np.ndarray:
    """uint8 faces (B, S, S, 3) a column -> one picture, each face `SHOWN_SIDE` wide with its pixels left square."""
    rows, zoom = len(columns[0]), max(1, SHOWN_SIDE // columns[0].shape[1])
    side = columns[0].shape[1] * zoom
    picture_HWC = np.full((rows * (side + GAP) - GAP, len(columns) * (side + GAP) - GAP, 3), 255, np.uint8)
    for column, faces_BSSC in enumerate(columns):
        for row, face_SSC in enumerate(faces_BSSC):
            large = face_SSC.repeat(zoom, 0).repeat(zoom, 1)
            picture_HWC[row * (side + GAP) :, column * (side + GAP) :][:side, :side] = large
    return picture_HWC
