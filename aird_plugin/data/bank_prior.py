"""A part of the bank: what a generative teacher's encoder says of every low face.

prior-pxP-LAYER-tT-vV-ID/  features.npy  float16 (N, V, C, H, W)  the encoder on the low face of every view
                           centre.npy    float32 (C,)  mean of each channel over faces, views and places
                           spread.npy    float32 (C,)  its standard deviation

ID: the beginning of the prior's digest, so that priors stand beside one another.

Features are handed out standardised by channel. A U-Net's channels differ in size; raw, the regression would be of the few
largest and its loss in no unit. Standardised, a constant guess costs 1. GDRD (arXiv 2409.06371) says nothing of it; raw
features are the alternative.

Size: 2 * N * V * C * H * W bytes; 15,553 faces, eight views, 64 channels at 4x4: 255 MB. CASIA, two views, 128 at 7x7: 12.4 GB.

N = faces, V = views, C, H, W = channels and sides of the features.
"""

from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.data.bank import BankConfig, LowBank, open_array
from aird_plugin.data.bank_build import BLOCK, found_or_built
from aird_plugin.data.bank_files import Build
from aird_plugin.progress import progress

PRIOR_FORMAT = "aird-bank-prior/1"
LARGEST = float(np.finfo(np.float16).max)
SMALLEST_SPREAD = 1e-6


class PriorBank:
    """The part, opened."""

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.manifest = manifest
        self.features_NVCHW = open_array(folder, "features")
        self.centre_C11 = open_array(folder, "centre")[:, None, None]
        self.spread_C11 = open_array(folder, "spread")[:, None, None]

    def features(self, rows_B: np.ndarray, views_B: np.ndarray) -> np.ndarray:
        """Standardised features of the rows in those views. float32 (B, C, H, W)."""
        return (self.features_NVCHW[rows_B, views_B].astype(np.float32) - self.centre_C11) / self.spread_C11


def prior_folder(config: BankConfig, low: LowBank, encoder) -> Path:
    """Where the features of these faces by that layer of that prior at that timestep are kept."""
    px = low.low_NJHWC.shape[2]
    return Path(config.bank) / f"prior-px{px}-{encoder.layer}-t{encoder.timestep}-v{config.views}-{encoder.sha256[:8]}"


def open_prior_bank(config: BankConfig, low: LowBank, encoder) -> PriorBank:
    """The features of every face and view, computed first where they are not there. `encoder` as `prior.encoder.Encoder` is.

    Raises ValueError for a folder made from other inputs (naming each), and for features that float16 does not hold.
    """
    folder = prior_folder(config, low, encoder)
    low_inputs = {key: value for key, value in low.manifest["inputs"].items() if key != "format"}
    inputs = {"format": PRIOR_FORMAT, **low_inputs, "degradation": encoder.degradation, **encoder.describe()}

    def built() -> dict[str, Any]:
        """Build it, and give its manifest."""
        count = len(low.low_NJHWC)
        build = Build(folder, inputs, {"features": ((count, config.views, *encoder.shape), np.float16)})
        blocks = (range(start, min(start + BLOCK, count)) for start in range(build.rows_done, count, BLOCK))
        for rows in progress(blocks, count, "generative features", "faces", initial=build.rows_done):
            build.arrays["features"][rows.start : rows.stop] = _encode_views(encoder, low.low_NJHWC[rows.start : rows.stop])
            build.advance(rows)
        centre_C, spread_C = channel_statistics(build.arrays["features"])
        build.save("centre", centre_C)
        build.save("spread", spread_C)
        return build.finish({"prior": encoder.describe()})

    return PriorBank(folder, found_or_built(folder, inputs, built))


def _encode_views(encoder, low_RJPPC: np.ndarray) -> np.ndarray:
    """Both flips of every jitter through the encoder. (rows, V, C, H, W), view = 2 * jitter + flip."""
    rows, jitters = low_RJPPC.shape[:2]
    both = np.stack([low_RJPPC, low_RJPPC[:, :, :, ::-1]], 2)
    features = encoder.features(both.reshape(-1, *low_RJPPC.shape[2:]))
    largest = np.abs(features).max()
    if not largest <= LARGEST:
        raise ValueError(
            f"the prior gives features of {largest}, and float16 holds {LARGEST:.0f}; try another prior_layer, prior_timestep"
        )
    return features.reshape(rows, 2 * jitters, *encoder.shape)


def channel_statistics(features_NVCHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, float32 (C,) both; a channel that never moves gets a spread of 1.

    By blocks, and about the first block's mean, so that a large mean does not swallow a small spread.
    """
    total_C, squares_C, count = 0.0, 0.0, 0
    shift_C11 = features_NVCHW[:BLOCK].astype(np.float64).mean((0, 1, 3, 4))[:, None, None]
    for start in range(0, len(features_NVCHW), BLOCK):
        block = features_NVCHW[start : start + BLOCK].astype(np.float64) - shift_C11
        total_C, squares_C = total_C + block.sum((0, 1, 3, 4)), squares_C + (block**2).sum((0, 1, 3, 4))
        count += block.size // block.shape[2]
    mean_C = total_C / count
    spread_C = np.sqrt(np.maximum(squares_C / count - mean_C**2, 0))
    spread_C[spread_C < SMALLEST_SPREAD] = 1.0
    return (mean_C + shift_C11[:, 0, 0]).astype(np.float32), spread_C.astype(np.float32)
