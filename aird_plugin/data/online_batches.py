"""Build batches by decoding and degrading images in the step: the same batch as from the bank (`batches.py`).

B = images on this rank.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from aird_plugin.data.batch import Batch
from aird_plugin.data.batches import Neighbours
from aird_plugin.data.degradation import downsample
from aird_plugin.data.records import Records, decode_face
from aird_plugin.data.sampler import MIXUP, BatchSampler
from aird_plugin.data.views import jitter, mirror_odd


@dataclass(frozen=True)
class OnlineSettings:
    """How a step's images are made, each downsampled to `px` and to every side of `also_px`.

    view_seed: of the jitter. with_hr: whether batches hold `hr_BHWC`. downsamples: False leaves the downsampling to the training
    device, for which the batches hold `hr_BHWC` too. mixup: 0, or alpha of `mixed`: the HR images are mixed, then
    downsampled, and the teacher embeds the mixtures too.
    """

    px: int
    degradation: str
    view_seed: int
    with_hr: bool
    also_px: tuple[int, ...] = ()
    downsamples: bool = True
    mixup: float = 0.0


class OnlineFaces(Dataset):
    """Batches decoded, jittered and downsampled in the step; the loop runs the teacher on `hr_BHWC`."""

    on_device = False

    def __init__(self, sampler: BatchSampler, records: Records, settings: OnlineSettings, neighbours: Neighbours | None):
        self.sampler, self.records, self.settings, self.neighbours = sampler, records, settings, neighbours

    def __getitem__(self, number: int) -> Batch:
        draw, settings = self.sampler.indices(number), self.settings
        hr_BHWC = np.stack(
            [
                jitter(decode_face(self.records, int(row)), int(row), int(view) // 2, settings.view_seed)
                for row, view in zip(draw.rows_B, draw.views_B, strict=True)
            ]
        )

        views_B = draw.views_B
        if settings.mixup:
            rng = np.random.default_rng((self.sampler.seed, MIXUP, number, self.sampler.rank))
            hr_BHWC, views_B = mixed(mirror_odd(hr_BHWC, views_B), settings.mixup, rng), np.zeros_like(views_B)

        def downsampled(px: int) -> torch.Tensor:
            # Downsampled first, mirrored second, as in the bank: noise and JPEG blocks do not commute with the flip.
            # At 112 px `downsample` returns its argument; the copy keeps it from being mirrored twice.
            return torch.from_numpy(mirror_odd(downsample(hr_BHWC, px, settings.degradation).copy(), views_B))

        batch = Batch(
            images_BHWC=downsampled(settings.px) if settings.downsamples else None,
            also_PBSSC=tuple(map(downsampled, settings.also_px)) if settings.downsamples else (),
            label_B=torch.from_numpy(self.records.labels[draw.rows_B].astype(np.int64)),
            row_B=torch.from_numpy(draw.rows_B),
            hr_BHWC=torch.from_numpy(mirror_odd(hr_BHWC, views_B)) if settings.with_hr or not settings.downsamples else None,
        )
        return replace(batch, **self.neighbours.lookup(draw)) if self.neighbours else batch


def mixed(images_BHWC: np.ndarray, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Each image mixed with another one of the batch (function matching, arXiv 2106.05237, section 3). uint8 (B, H, W, 3).

    for each image i:
        share = a draw of Beta(alpha, alpha)
        round(share * image i + (1 - share) * image of a random permutation's i-th place)
    """
    partner_B = rng.permutation(len(images_BHWC))
    share_B111 = rng.beta(alpha, alpha, len(images_BHWC)).astype(np.float32)[:, None, None, None]
    return np.rint(share_B111 * images_BHWC + (1 - share_B111) * images_BHWC[partner_B]).astype(np.uint8)
