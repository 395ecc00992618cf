"""InsightFace's upsampling of a small face: the bilinear warp of `FaceAnalysis`.

B = images, S = side in pixels, T = target side.
"""

import functools

import numpy as np
import torch

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.lowres import check_faces


def warp_torch(images_BSSC: torch.Tensor) -> torch.Tensor:
    """Aligned px images -> 112 px, as InsightFace's `norm_crop` upsamples a face of that size in a photo.

    It equals cv2.warpAffine with five landmarks at the template's positions: bilinear, no anti-aliasing, rounded once. A photo
    continues beyond the face; here the edge pixels are repeated. uint8 (B, px, px, 3) -> uint8 (B, 112, 112, 3).
    """
    check_faces(images_BSSC)
    dtype = torch.float64 if images_BSSC.device.type == "cpu" else torch.float32
    weights_TS = torch.from_numpy(bilinear_weights(images_BSSC.shape[1], FACE_SIDE)).to(images_BSSC.device, dtype)
    return warped(images_BSSC, weights_TS)


def warped(images_BSSC: torch.Tensor, weights_TS: torch.Tensor) -> torch.Tensor:
    """Columns, then rows, by the same weights, rounded once. uint8 (B, S, S, 3) -> uint8 (B, T, T, 3)."""
    # Autocast would round weights and grey levels to half precision, which changes whole grey levels.
    with torch.autocast(images_BSSC.device.type, enabled=False):
        columns = torch.einsum("bhwc,tw->bhtc", images_BSSC.to(weights_TS.dtype), weights_TS)
        grey = torch.einsum("bhtc,rh->brtc", columns, weights_TS)
    return torch.floor(grey + 0.5).clamp_(0, 255).to(torch.uint8)


@functools.lru_cache(maxsize=128)
def bilinear_weights(source: int, target: int) -> np.ndarray:
    """Bilinear weights without anti-aliasing, half-pixel centers, edge repeated: float64 (target, source)."""
    position_T = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    left_T = np.minimum(position_T.astype(int), source - 2)
    weights_TS = np.zeros((target, source))
    weights_TS[np.arange(target), left_T] = 1 - (position_T - left_T)
    weights_TS[np.arange(target), left_T + 1] = position_T - left_T
    return weights_TS
