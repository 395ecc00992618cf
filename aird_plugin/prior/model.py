"""The diffusion model: diffusers' U-Net and scheduler, conditioned on the LR image, kept in diffusers' own folder format.

The LR image, upsampled to the target's side by the reference resize, is concatenated to the noised target (as SR3 does it, arXiv
2104.07636). The noise follows a squared cosine (arXiv 2102.09672) over 1,000 steps, and the network predicts v = a * noise - s *
image (arXiv 2202.00512), which is a useful target at every noise level: at pure noise it is the image itself, predicted from
the LR image alone.

B = images, S = side of the target.
"""

import math
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from aird_plugin.prior.config import PriorConfig

NOISE_STEPS = 1000
UNET, SCHEDULER = "unet", "scheduler"
FACE_CHANNELS = 3


def diffusers() -> ModuleType:
    """The diffusers package, imported only here; ImportError naming the extra where it is missing."""
    try:
        import diffusers as package
    except ImportError as error:
        raise ImportError(f"a diffusion prior needs diffusers ({error}): pip install 'aird_plugin[prior]'") from error
    return package


def build_unet(config: PriorConfig) -> torch.nn.Module:
    """A fresh U-Net: (B, 6, S, S), the noised target before the LR image, -> (B, 3, S, S). Attention only in its middle block."""
    levels = len(config.prior_widths)
    return diffusers().UNet2DModel(
        sample_size=config.prior_side,
        in_channels=2 * FACE_CHANNELS,
        out_channels=FACE_CHANNELS,
        block_out_channels=config.prior_widths,
        layers_per_block=config.prior_blocks,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        norm_num_groups=min(math.gcd(*config.prior_widths) // 2, 32),
    )


def build_scheduler() -> Any:
    """The noise schedule."""
    return diffusers().DDPMScheduler(
        num_train_timesteps=NOISE_STEPS, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"
    )


def predict(unet: torch.nn.Module, noisy_B3SS: torch.Tensor, lr_B3SS: torch.Tensor, timestep: int | torch.Tensor) -> torch.Tensor:
    """The network's output for a noised image and its LR image. (B, 3, S, S)"""
    return unet(beside(unet, noisy_B3SS, lr_B3SS), timestep).sample


def beside(unet: torch.nn.Module, noisy_B3SS: torch.Tensor, lr_B3SS: torch.Tensor) -> torch.Tensor:
    """The U-Net's input: noised image and LR image; the noised image alone for an unconditional model (three channels)."""
    if unet.config.in_channels == FACE_CHANNELS:
        return noisy_B3SS
    return torch.cat([noisy_B3SS, lr_B3SS], 1)


def save_prior(folder: Path, unet: torch.nn.Module, scheduler: Any) -> None:
    """Write unet/ (safetensors) and scheduler/ into the folder. The U-Net is last: a folder with unet/ is complete."""
    scheduler.save_pretrained(folder / SCHEDULER)
    partial = folder / f".{UNET}.part"
    shutil.rmtree(partial, ignore_errors=True)
    unet.save_pretrained(partial, safe_serialization=True)
    shutil.rmtree(folder / UNET, ignore_errors=True)
    partial.rename(folder / UNET)


def load_prior(folder: str | Path) -> tuple[torch.nn.Module, Any]:
    """Load (U-Net, scheduler) from a local folder: nothing is downloaded and no pickle is opened. The U-Net is frozen.

    Raises FileNotFoundError where there is none, ValueError for a damaged one, another kind, or other inputs than square RGB.
    """
    folder = Path(folder)
    if not (folder / UNET / "config.json").is_file():
        raise FileNotFoundError(
            f"prior={folder}: no {UNET}/config.json there; a folder in diffusers' format is expected, the run folder of a "
            "recipe that trains a prior"
        )
    local = {"local_files_only": True}
    library = diffusers()
    try:
        unet, found = library.UNet2DModel.from_pretrained(
            folder, subfolder=UNET, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True, **local
        )
        scheduler = library.DDPMScheduler.from_pretrained(folder, subfolder=SCHEDULER, **local)
    # diffusers and safetensors raise a dozen error types on damaged files, some of them plain Exception.
    except Exception as error:
        brief = " ".join(str(error).split())[:200]
        raise ValueError(f"prior={folder} cannot be read ({type(error).__name__}: {brief})") from error
    wrong = [key for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in found[kind]]
    if wrong:
        raise ValueError(f"prior={folder}: its weights do not fit its {UNET}/config.json: {wrong[0]} and {len(wrong) - 1} more")
    channels, side = unet.config.in_channels, unet.config.sample_size
    if channels not in (FACE_CHANNELS, 2 * FACE_CHANNELS) or not isinstance(side, int):
        raise ValueError(
            f"prior={folder} takes {channels} channels of side {side}; a prior takes square images of 3 or 6 channels"
        )
    return unet.eval().requires_grad_(False), scheduler
