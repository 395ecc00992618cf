"""Noise and blur along a line for a batch, in float32 and in the order of operations of data/realworld.py."""

import numpy as np
import torch


def add_noise(images_BSSC: torch.Tensor, noise_BSSC: torch.Tensor, level_B: np.ndarray, shot_B: np.ndarray) -> torch.Tensor:
    """Images plus scaled standard normal noise, rounded. uint8 (B, S, S, 3), float32 or float64 (B, S, S, 1 or 3) -> uint8.

    level_B: standard deviation in grey levels. shot_B: where it is above 0, the variance is shot_B times the intensity instead.
    """
    level_B111, shot_B111 = (
        torch.from_numpy(np.asarray(values, np.float32)).to(images_BSSC.device)[:, None, None, None]
        for values in (level_B, shot_B)
    )
    spread = torch.where(shot_B111 > 0, (images_BSSC * shot_B111).sqrt_(), level_B111)
    return to_uint8(images_BSSC + spread * noise_BSSC)


def blur_along_line(
    images_BSSC: torch.Tensor, side_B: np.ndarray, shifts_BT2: np.ndarray, weights_BT: np.ndarray
) -> torch.Tensor:
    """Weighted mean of each image moved by its shifts (rows, columns), edge repeated, rounded. uint8 (B, S, S, 3) -> uint8."""
    device, size = images_BSSC.device, images_BSSC.shape[1]
    last_B1 = torch.from_numpy(np.asarray(side_B)).to(device)[:, None] - 1
    moved_BT2S = torch.from_numpy(shifts_BT2).to(device)[..., None] + torch.arange(size, device=device)
    index_BT2S = torch.minimum(moved_BT2S.clamp_(min=0), last_B1[:, :, None, None])
    weights_BT111 = torch.from_numpy(weights_BT.astype(np.float32)).to(device)[..., None, None, None]
    batch_B11 = torch.arange(len(images_BSSC), device=device)[:, None, None]
    mean_BSSC = torch.zeros(images_BSSC.shape, device=device)
    for tap in range(shifts_BT2.shape[1]):
        moved_BSSC = images_BSSC[batch_B11, index_BT2S[:, tap, 0, :, None], index_BT2S[:, tap, 1, None]]
        mean_BSSC += weights_BT111[:, tap] * moved_BSSC
    return to_uint8(mean_BSSC)


def to_uint8(grey_levels: torch.Tensor) -> torch.Tensor:
    """Round to the nearest grey level, ties to even, as numpy's rint."""
    return grey_levels.round_().clamp_(0, 255).to(torch.uint8)


def device_noise(images_BSSC: torch.Tensor, generator: torch.Generator, channels_B: np.ndarray) -> torch.Tensor:
    """Standard normal noise on the images' device; one value for all channels where channels_B is 1. float32 (B, S, S, 3)."""
    noise_BSSC = torch.randn(images_BSSC.shape, generator=generator, device=images_BSSC.device)
    grey_B111 = torch.from_numpy(channels_B == 1).to(images_BSSC.device)[:, None, None, None]
    return torch.where(grey_B111, noise_BSSC[..., :1], noise_BSSC)
