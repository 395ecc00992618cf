"""Pillow's Gaussian blur for a batch: three box filters with fractional ends along the columns' axis, then three along the rows'.

Every pass rounds to uint8 as Pillow's does, with its 24-bit weights; float64 on every device, since their sums reach 2**32.
"""

import numpy as np
import torch

WEIGHT_BITS = 24
PASSES = 3


def gaussian_blur(images_BSSC: torch.Tensor, side_B: np.ndarray, sigma_B: np.ndarray) -> torch.Tensor:
    """Blur each image with its own standard deviation in pixels (0 or more). uint8 (B, S, S, 3) -> uint8 (B, S, S, 3)."""
    weights_B1SS = box_weights(images_BSSC.shape[1], side_B, box_radius(sigma_B), images_BSSC.device)[:, None]
    grey_B3SS = images_BSSC.permute(0, 3, 1, 2).double()
    for _ in range(PASSES):
        grey_B3SS = torch.matmul(grey_B3SS, weights_B1SS.mT).add_(0.5).floor_()
    for _ in range(PASSES):
        grey_B3SS = torch.matmul(weights_B1SS, grey_B3SS).add_(0.5).floor_()
    return grey_B3SS.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def box_radius(sigma_B: np.ndarray) -> np.ndarray:
    """The radius of the box that, applied three times, approximates the Gaussian; float32 as in BoxBlur.c, with its roundings.

    Whole part and fraction of Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box filtering", 2011.
    """
    sigma_B = np.asarray(sigma_B, np.float32)
    variance_B = sigma_B * sigma_B / np.float32(PASSES)
    length_B = np.sqrt(12.0 * variance_B.astype(np.float64) + 1.0).astype(np.float32)
    whole_B = np.floor((length_B.astype(np.float64) - 1.0) / 2.0).astype(np.float32)
    one, three, six = np.float32(1), np.float32(3), np.float32(6)
    fraction_B = (2 * whole_B + one) * (whole_B * (whole_B + one) - three * variance_B)
    return whole_B + fraction_B / (six * (variance_B - (whole_B + one) * (whole_B + one)))


def box_weights(size: int, side_B: np.ndarray, radius_B: np.ndarray, device: torch.device) -> torch.Tensor:
    """One pass as a matrix per image, edge pixels repeated: float64 (B, size, size), multiples of 2**-24.

    Row x holds the weights of output pixel x; columns beyond an image's side are 0.
    """
    whole_B = radius_B.astype(np.int64)
    inner_B = (np.float32(1 << WEIGHT_BITS) / (radius_B * np.float32(2) + np.float32(1))).astype(np.int64)
    outer_B = ((1 << WEIGHT_BITS) - (2 * whole_B + 1) * inner_B) // 2
    whole_B11, inner_B11, outer_B11, side_B11 = (
        torch.from_numpy(np.asarray(values, np.float64)).to(device)[:, None, None]
        for values in (whole_B, inner_B, outer_B, side_B)
    )
    at_S = torch.arange(size, device=device, dtype=torch.float64)
    row_S1, column_S = at_S[:, None], at_S

    def tail(distance: torch.Tensor) -> torch.Tensor:
        """The sum of the weights at `distance` (0 or more) and farther, on one side."""
        reach = whole_B11 + 1 - distance
        return torch.where(reach >= 0, outer_B11 + inner_B11 * reach, 0.0)

    distance_BSS = (column_S - row_S1).abs()
    weights_BSS = torch.where(distance_BSS <= whole_B11, inner_B11, torch.where(distance_BSS == whole_B11 + 1, outer_B11, 0.0))
    weights_BSS = torch.where(column_S == 0, tail(row_S1), weights_BSS)
    last_B11 = side_B11 - 1
    weights_BSS = torch.where(column_S == last_B11, tail((last_B11 - row_S1).clamp(min=0)), weights_BSS)
    return weights_BSS.masked_fill_(column_S > last_B11, 0.0) / (1 << WEIGHT_BITS)
