"""The diffusion model: diffusers' U-Net and scheduler, conditioned on the low face, kept in diffusers' own folder format.

The low face, grown to the target's side by the one resize, is concatenated to the noised target (as SR3 does it, arXiv
2104.07636). The noise follows a squared cosine (arXiv 2102.09672) over 1,000 steps, and the network predicts v = a * noise - s *
face (arXiv 2202.00512), which asks for something at every level of noise: where nothing but noise is left of the target, the face
itself, from the low face alone.

B = faces, S = side of the target.
"""

import math
import shutil
from pathlib import Path

import torch

from aird_plugin.prior.config import PriorConfig

NOISE_STEPS = 1000
UNET, SCHEDULER = "unet", "scheduler"
FACE_CHANNELS = 3


def diffusers():
    """The package, imported here alone; ImportError naming the extra where it is missing."""
    try:
        import diffusers as package
    except ImportError as error:
        raise ImportError(f"a diffusion prior needs diffusers ({error}): pip install 'aird_plugin[prior]'") from error
    return package


def build_unet(config: PriorConfig) -> torch.nn.Module:
    """A fresh U-Net: (B, 6, S, S), the noised target before the low face, -> (B, 3, S, S). Attention in its middle alone."""
    levels = len(config.prior_widths)
    return diffusers().UNet2DModel(
        sample_size=config.prior_side, in_channels=2 * FACE_CHANNELS, out_channels=FACE_CHANNELS,
        block_out_channels=config.prior_widths, layers_per_block=config.prior_blocks,
        down_block_types=("DownBlock2D",) * levels, up_block_types=("UpBlock2D",) * levels,
        norm_num_groups=min(math.gcd(*config.prior_widths) // 2, 32),
    )  # fmt: skip


def build_scheduler():
    """How a face becomes noise."""
    return diffusers().DDPMScheduler(
        num_train_timesteps=NOISE_STEPS, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"
    )


def predict(unet, noisy_B3SS: torch.Tensor, low_B3SS: torch.Tensor, timestep) -> torch.Tensor:
    """What the network says of a noised face, beside the low one. (B, 3, S, S)"""
    return unet(beside(unet, noisy_B3SS, low_B3SS), timestep).sample


def beside(unet, noisy_B3SS: torch.Tensor, low_B3SS: torch.Tensor) -> torch.Tensor:
    """The U-Net's input: noised face and low face; the noised face alone for an unconditional model (three channels)."""
    if unet.config.in_channels == FACE_CHANNELS:
        return noisy_B3SS
    return torch.cat([noisy_B3SS, low_B3SS], 1)


def save_prior(folder: Path, unet, scheduler) -> None:
    """unet/ (safetensors) and scheduler/ in the folder. The U-Net comes last: where it is, the prior is whole."""
    scheduler.save_pretrained(folder / SCHEDULER)
    partial = folder / f".{UNET}.part"
    shutil.rmtree(partial, ignore_errors=True)
    unet.save_pretrained(partial, safe_serialization=True)
    shutil.rmtree(folder / UNET, ignore_errors=True)
    partial.rename(folder / UNET)


def load_prior(folder: str | Path):
    """(U-Net, scheduler) of a folder, from files alone: nothing is fetched and no pickle is opened. The U-Net is frozen.

    Raises FileNotFoundError where there is none, ValueError for one that is damaged, of another kind, or not square or of faces.
    """
    folder = Path(folder)
    if not (folder / UNET / "config.json").is_file():
        raise FileNotFoundError(
            f"prior={folder}: no {UNET}/config.json there; a folder in diffusers' format is expected, as a finished run of a "
            "prior's recipe leaves it"
        )
    here = {"local_files_only": True}
    library = diffusers()
    try:
        unet, found = library.UNet2DModel.from_pretrained(
            folder, subfolder=UNET, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True, **here
        )
        scheduler = library.DDPMScheduler.from_pretrained(folder, subfolder=SCHEDULER, **here)
    # diffusers and safetensors raise a dozen kinds of error on damaged files, some of them bare.
    except Exception as error:
        brief = " ".join(str(error).split())[:200]
        raise ValueError(f"prior={folder} cannot be read ({type(error).__name__}: {brief})") from error
    wrong = [key for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in found[kind]]
    if wrong:
        raise ValueError(f"prior={folder}: its weights do not fit its {UNET}/config.json: {wrong[0]} and {len(wrong) - 1} more")
    channels, side = unet.config.in_channels, unet.config.sample_size
    if channels not in (FACE_CHANNELS, 2 * FACE_CHANNELS) or not isinstance(side, int):
        raise ValueError(
            f"prior={folder} takes {channels} channels of side {side}; a prior has square faces of 3 channels, 6 with the low one"
        )
    return unet.eval().requires_grad_(False), scheduler
