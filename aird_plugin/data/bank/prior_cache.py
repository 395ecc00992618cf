"""A cache in the bank: features of a generative teacher's encoder on every LR image.

prior-pxP-LAYER-tT-vV-ID/  features.npy  float16 (N, V, C, H, W)  the encoder on the LR image of every view
                           centre.npy    float32 (C,)  mean of each channel over images, views and positions
                           spread.npy    float32 (C,)  its standard deviation

ID: the first digits of the prior's digest, so that one bank holds several priors.

Features are returned standardised per channel. The channels of a U-Net differ in scale; with raw features the regression would
fit only the few largest, and its loss would have no unit. Standardised, predicting the mean costs 1. GDRD (arXiv 2409.06371)
does not specify this; raw features are the alternative.

Size: 2 * N * V * C * H * W bytes; 15,553 images, eight views, 64 channels at 4x4: 255 MB. CASIA, two views, 128 at 7x7: 12.4 GB.

N = images, V = views, C, H, W = channels and sides of the features.
"""

from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.data.bank.caches import ImageCache
from aird_plugin.data.bank.config import BankConfig
from aird_plugin.data.bank.files import Build
from aird_plugin.data.bank.open_or_build import open_or_build
from aird_plugin.data.bank.sharded import open_array
from aird_plugin.data.blocks import BLOCK, blocks_of
from aird_plugin.utils.progress import progress

PRIOR_FORMAT = "aird-bank-prior/1"
FLOAT16_MAX = float(np.finfo(np.float16).max)
MIN_SPREAD = 1e-6


class PriorCache:
    """The prior cache: features of a generative teacher's encoder."""

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.manifest = manifest
        self.features_NVCHW = open_array(folder, "features")
        self.center_C11 = open_array(folder, "centre")[:, None, None]
        self.spread_C11 = open_array(folder, "spread")[:, None, None]

    def features(self, rows_B: np.ndarray, views_B: np.ndarray) -> np.ndarray:
        """Return the standardised features of these rows and views. float32 (B, C, H, W)."""
        return (self.features_NVCHW[rows_B, views_B].astype(np.float32) - self.center_C11) / self.spread_C11


def prior_folder(config: BankConfig, low: ImageCache, encoder) -> Path:
    """Folder of the features by layer, timestep and digest of the prior."""
    px = low.low_NJHWC.shape[2]
    return Path(config.bank) / f"prior-px{px}-{encoder.layer}-t{encoder.timestep}-v{config.views}-{encoder.sha256[:8]}"


def open_prior_cache(config: BankConfig, low: ImageCache, encoder) -> PriorCache:
    """Open the features of every image and view, and compute them first if they are missing. encoder: `prior.encoder.Encoder`.

    Raises ValueError for a folder with other inputs (naming each), and for features outside the range of float16.
    """
    folder = prior_folder(config, low, encoder)
    image_cache_inputs = {key: value for key, value in low.manifest["inputs"].items() if key != "format"}
    inputs = {"format": PRIOR_FORMAT, **image_cache_inputs, "degradation": encoder.degradation, **encoder.describe()}

    def build_cache() -> dict[str, Any]:
        """Compute what is missing of the features. Returns the manifest."""
        count = len(low.low_NJHWC)
        build = Build(folder, inputs, {"features": ((count, config.views, *encoder.shape), np.float16)})
        blocks = blocks_of(range(build.rows_done, count))
        for rows in progress(blocks, count, "generative features", "images", initial=build.rows_done):
            build.arrays["features"][rows.start : rows.stop] = _encode_views(encoder, low.low_NJHWC[rows.start : rows.stop])
            build.advance(rows)
        center_C, spread_C = channel_statistics(build.arrays["features"])
        build.save("centre", center_C)
        build.save("spread", spread_C)
        return build.finish({"prior": encoder.describe()})

    return PriorCache(folder, open_or_build(folder, inputs, build_cache))


def _encode_views(encoder, low_RJPPC: np.ndarray) -> np.ndarray:
    """Encode both flips of every jitter. (rows, V, C, H, W), view = 2 * jitter + flip."""
    rows, jitters = low_RJPPC.shape[:2]
    both = np.stack([low_RJPPC, low_RJPPC[:, :, :, ::-1]], 2)
    features = encoder.features(both.reshape(-1, *low_RJPPC.shape[2:]))
    largest = np.abs(features).max()
    if not largest <= FLOAT16_MAX:
        raise ValueError(
            f"the prior's features reach {largest}, and float16 holds {FLOAT16_MAX:.0f}; try another prior_layer, prior_timestep"
        )
    return features.reshape(rows, 2 * jitters, *encoder.shape)


def channel_statistics(features_NVCHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, float32 (C,) both; a constant channel has a spread of 1.

    Computed in blocks and relative to the first block's mean, so that a large mean does not cancel a small spread.
    """
    total_C, squares_C, count = 0.0, 0.0, 0
    shift_C11 = features_NVCHW[:BLOCK].astype(np.float64).mean((0, 1, 3, 4))[:, None, None]
    for start in range(0, len(features_NVCHW), BLOCK):
        block = features_NVCHW[start : start + BLOCK].astype(np.float64) - shift_C11
        total_C, squares_C = total_C + block.sum((0, 1, 3, 4)), squares_C + (block**2).sum((0, 1, 3, 4))
        count += block.size // block.shape[2]
    mean_C = total_C / count
    spread_C = np.sqrt(np.maximum(squares_C / count - mean_C**2, 0))
    spread_C[spread_C < MIN_SPREAD] = 1.0
    return (mean_C + shift_C11[:, 0, 0]).astype(np.float32), spread_C.astype(np.float32)
