"""What a prior learns from: faces of the bank at two sizes."""

import numpy as np
import torch
from torch.utils.data import Dataset

from aird_plugin import distributed
from aird_plugin.data.bank import LowBank
from aird_plugin.data.bank_build import open_low_bank
from aird_plugin.data.degrade import BICUBIC
from aird_plugin.data.faces import Batch
from aird_plugin.data.plan import Plan
from aird_plugin.recipe import Recipe


class TwoSizes(Dataset):
    """Batches of faces at two sizes, in one view: low ones, and sharp ones at the side that the prior makes."""

    resident = False

    def __init__(self, plan: Plan, low: LowBank, high: LowBank):
        self.plan, self.low, self.high = plan, low, high

    def __getitem__(self, number: int) -> Batch:
        draw = self.plan.draw(number)
        return Batch(
            faces_BHWC=torch.from_numpy(self.low.faces(draw.rows_B, draw.views_B)),
            person_B=torch.from_numpy(self.low.person_N[draw.rows_B].astype(np.int64)),
            row_B=torch.from_numpy(draw.rows_B),
            high_BHWC=torch.from_numpy(self.high.faces(draw.rows_B, draw.views_B)),
        )


def both_sizes(recipe: Recipe, records) -> tuple[LowBank, LowBank]:
    """The low faces, and what they are to become: the one resize to prior_side. Rank 0 builds what is missing."""

    def both():
        low = open_low_bank(recipe.bank, records, recipe.data.px, recipe.data.degradation)
        return low, open_low_bank(recipe.bank, records, recipe.prior.prior_side, BICUBIC)

    halves = both() if distributed.rank() == 0 else None
    distributed.wait_for_the_first()
    return halves or both()
