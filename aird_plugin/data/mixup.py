"""Mixup of HR images: student and teacher see the same mixtures (function matching, arXiv 2106.05237, section 3).

B = images of a batch.
"""

import numpy as np


def mixed(images_BHWC: np.ndarray, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Each image mixed with another one of the batch, uint8 (B, H, W, 3).

    for each image i:
        share = a draw of Beta(alpha, alpha)
        round(share * image i + (1 - share) * image of a random permutation's i-th place)
    """
    partner_B = rng.permutation(len(images_BHWC))
    share_B111 = rng.beta(alpha, alpha, len(images_BHWC)).astype(np.float32)[:, None, None, None]
    return np.rint(share_B111 * images_BHWC + (1 - share_B111) * images_BHWC[partner_B]).astype(np.uint8)
