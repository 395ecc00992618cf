"""The training data of a prior: the images of the bank at two sizes."""

import numpy as np
import torch
from torch.utils.data import Dataset

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.bank.build import open_image_cache
from aird_plugin.data.bank.caches import ImageCache
from aird_plugin.data.batch import Batch
from aird_plugin.data.degradation import BICUBIC
from aird_plugin.data.records import Records
from aird_plugin.data.sampler import BatchSampler
from aird_plugin.utils import distributed


class TwoSizes(Dataset):
    """Batches of images at two sizes, of the same views: LR images, and targets of the side that the prior generates."""

    on_device = False

    def __init__(self, sampler: BatchSampler, lr: ImageCache, hr: ImageCache):
        self.sampler, self.lr, self.hr = sampler, lr, hr

    def __getitem__(self, number: int) -> Batch:
        indices = self.sampler.indices(number)
        return Batch(
            images_BHWC=torch.from_numpy(self.lr.faces(indices.rows_B, indices.views_B)),
            label_B=torch.from_numpy(self.lr.label_N[indices.rows_B].astype(np.int64)),
            row_B=torch.from_numpy(indices.rows_B),
            hr_BHWC=torch.from_numpy(self.hr.faces(indices.rows_B, indices.views_B)),
        )


def both_sizes(recipe: Recipe, records: Records) -> tuple[ImageCache, ImageCache]:
    """The LR images, and their targets: the reference resize to prior_side. Rank 0 builds what is missing."""

    def opened() -> tuple[ImageCache, ImageCache]:
        lr = open_image_cache(recipe.bank, records, recipe.data.px, recipe.data.degradation)
        return lr, open_image_cache(recipe.bank, records, recipe.prior.prior_side, BICUBIC)

    return distributed.rank0_first(opened)
