"""The generative teacher: a prior's encoder, frozen, reached only through arrays.

The encoder is the U-Net's way down, with or without its middle block, at one stated timestep t. It is fed the low face twice:
as the condition, and as the face to be cleaned, x_t = sqrt(alpha_t) * low, the mean of what diffusion makes of it in t steps.
No noise is drawn, so that the features are a function of the face alone and can be computed once. GDRD (arXiv 2409.06371) says
that both networks are fed the low face and states neither t nor the layer; the alternative is seeded noise added to x_t, which
the model knows better and the student cannot foresee.

Timestep and layer hardly matter below half the schedule. The small prior's features, standardised and compared by cosine as
they are, tell 800 pairs of LFW at 16 px right in 68 to 69% of cases (binomial error 1.7) from t = 0 to 500, behind the middle
block as behind the way down, and in 61 to 62% at 990; the pixels themselves do in 66%. Hence 100: little noise is promised, and
little is missing.

N, B = faces, S = side the prior takes, C, H, W = channels and sides of the features.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch

from aird_plugin.data.degrade import BICUBIC, arrive_torch
from aird_plugin.data.lowres import to_input
from aird_plugin.prior.config import PriorConfig
from aird_plugin.prior.model import SCHEDULER, UNET, beside, load_prior

CPU_BATCH, CUDA_BATCH = 64, 512


class Encoder:
    """A frozen encoder. No nn.Module, so no parent can train, move or save it.

    shape: (C, H, W) of what it gives. sha256: digest of the prior's files.
    Raises what `load_prior` raises, and ValueError for a timestep beyond the prior's own or a U-Net of another way down.
    """

    def __init__(self, config: PriorConfig, degradation: str = BICUBIC, device: str | torch.device = "cpu"):
        unet, scheduler = load_prior(config.prior)
        if any(hasattr(block, "skip_conv") for block in unet.down_blocks):
            raise ValueError(f"prior={config.prior} hands pictures down beside its maps (Skip blocks); take one of plain blocks")
        steps = scheduler.config.num_train_timesteps
        if config.prior_timestep >= steps:
            raise ValueError(f"prior_timestep must be below {steps}, the steps of {config.prior}; got {config.prior_timestep}")
        self.folder, self.timestep, self.layer = Path(config.prior), config.prior_timestep, config.prior_layer
        self.degradation, self.device = degradation, torch.device(device)
        self.unet, self.side = unet.to(device), unet.config.sample_size
        self.signal = float(scheduler.alphas_cumprod[self.timestep]) ** 0.5
        self.sha256 = digest(self.folder)
        self.shape = tuple(self._encode(torch.zeros(1, 3, self.side, self.side, device=device)).shape[1:])

    def features(self, low_NPPC: np.ndarray) -> np.ndarray:
        """Low faces uint8 (N, px, px, 3) -> float32 (N, C, H, W)."""
        out_NCHW = np.empty((len(low_NPPC), *self.shape), np.float32)
        batch = CUDA_BATCH if self.device.type == "cuda" else CPU_BATCH
        for start in range(0, len(low_NPPC), batch):
            low_BPPC = torch.from_numpy(np.ascontiguousarray(low_NPPC[start : start + batch])).to(self.device)
            low_B3SS = to_input(arrive_torch(low_BPPC, self.side, self.degradation))
            out_NCHW[start : start + batch] = self._encode(low_B3SS).cpu().numpy()
        return out_NCHW

    @torch.no_grad()
    def _encode(self, low_B3SS: torch.Tensor) -> torch.Tensor:
        """The U-Net's forward as far as the layer asked for: the way up, half of its work, is not taken."""
        unet = self.unet
        timestep_B = torch.full((len(low_B3SS),), self.timestep, device=self.device)
        told_BE = unet.time_embedding(unet.time_proj(timestep_B).to(low_B3SS.dtype))
        maps_BCHW = unet.conv_in(beside(unet, self.signal * low_B3SS, low_B3SS).contiguous())
        for block in unet.down_blocks:
            maps_BCHW, _ = block(hidden_states=maps_BCHW, temb=told_BE)
        return unet.mid_block(maps_BCHW, told_BE) if self.layer == "mid" else maps_BCHW

    def describe(self) -> dict:
        """What a manifest should say of it."""
        return {
            "prior": self.sha256, "timestep": self.timestep, "layer": self.layer, "side": self.side, "shape": list(self.shape),
        }  # fmt: skip


def digest(folder: Path) -> str:
    """SHA-256 over the prior's files, in hex."""
    total = hashlib.sha256()
    for path in (*sorted((folder / UNET).iterdir()), *sorted((folder / SCHEDULER).iterdir())):
        total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
