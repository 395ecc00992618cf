"""A lesson with a generative teacher: its encoder, what that says of every face, and batches that bring it."""

from dataclasses import replace

import torch
from torch.utils.data import Dataset

from aird_plugin import distributed
from aird_plugin.data.bank import LowBank
from aird_plugin.data.bank_build import open_low_bank
from aird_plugin.data.bank_prior import PriorBank, open_prior_bank
from aird_plugin.data.faces import Batch
from aird_plugin.lesson_maps import check_maps_can_be_taught
from aird_plugin.prior.encoder import Encoder
from aird_plugin.recipe import Recipe

NEED = "generative"


def open_encoder(recipe: Recipe, device: torch.device) -> Encoder | None:
    """The encoder of the recipe's prior where a term asks it, else None. ValueError where the recipe does not allow for it."""
    names = [name for name, spec in recipe.terms.items() if spec.weight != 0 and NEED in spec.needs]
    if not names:
        return None
    wanting = ", ".join(names)
    if not recipe.prior.prior:
        raise ValueError(f"{wanting} needs a diffusion prior; set prior=FOLDER, as a finished run of a prior's recipe leaves it")
    if recipe.bridge.reader == "upstream":
        raise ValueError(f"{wanting}: arcface_torch's own reader does not say which face comes; set reader='bank'")
    if recipe.sizes.px_range:
        raise ValueError(f"{wanting}: the prior is asked once about the face of px={recipe.data.px}; set px_range=()")
    check_maps_can_be_taught(recipe, wanting)
    return Encoder(recipe.prior, recipe.data.degradation, device)


def open_features(recipe: Recipe, records, encoder: Encoder) -> PriorBank:
    """The encoder's part of the bank; rank 0 builds what is missing, the others wait."""

    def opened() -> PriorBank:
        low: LowBank = open_low_bank(recipe.bank, records, recipe.data.px, recipe.data.degradation)
        return open_prior_bank(recipe.bank, low, encoder)

    features = opened() if distributed.rank() == 0 else None
    distributed.wait_for_the_first()
    return features or opened()


class WithFeatures(Dataset):
    """The batches of another source, each with the generative features of its faces in their views."""

    def __init__(self, source, features: PriorBank):
        self.source, self.features = source, features
        self.plan, self.neighbours, self.resident = source.plan, source.neighbours, source.resident

    def __getitem__(self, number: int) -> Batch:
        draw = self.plan.draw(number)
        features_BCHW = self.features.features(draw.rows_B, draw.views_B)
        return replace(self.source[number], generative_BCHW=torch.from_numpy(features_BCHW))
