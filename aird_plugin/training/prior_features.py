"""A generative teacher: its encoder, the cache of its features, and batches that carry them."""

from dataclasses import replace

import torch
from torch.utils.data import Dataset

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.bank.build import open_image_cache
from aird_plugin.data.bank.caches import ImageCache
from aird_plugin.data.bank.prior_cache import PriorCache, open_prior_cache
from aird_plugin.data.batch import Batch
from aird_plugin.data.mixture import is_mixture
from aird_plugin.data.records import Records
from aird_plugin.losses.term import Needs
from aird_plugin.prior.encoder import Encoder
from aird_plugin.training.feature_maps import check_maps_are_trainable
from aird_plugin.training.objective import used_terms
from aird_plugin.utils import distributed


def open_encoder(recipe: Recipe, device: torch.device) -> Encoder | None:
    """The encoder of the recipe's prior where a term needs it, else None. ValueError where the recipe does not allow it."""
    names = [name for name, spec in used_terms(recipe.terms).items() if Needs.GENERATIVE in spec.needs]
    if not names:
        return None
    users = ", ".join(names)
    if not recipe.prior.prior:
        raise ValueError(f"{users} needs a diffusion prior; set prior=FOLDER, the run folder of a recipe that trains one")
    if recipe.bridge.reader == "upstream":
        raise ValueError(f"{users}: arcface_torch's own reader passes no image index; set reader='bank'")
    if recipe.sizes.px_range:
        raise ValueError(f"{users}: the prior's features are computed once, at px={recipe.data.px}; set px_range=()")
    if is_mixture(recipe.data.degradation):
        raise ValueError(f"{users}: the prior's features are computed once, for one degradation; got {recipe.data.degradation!r}")
    check_maps_are_trainable(recipe, users)
    return Encoder(recipe.prior, recipe.data.degradation, device)


def open_features(recipe: Recipe, records: Records, encoder: Encoder) -> PriorCache:
    """The cache of the encoder's features; rank 0 builds what is missing, the others wait."""

    def opened() -> PriorCache:
        images: ImageCache = open_image_cache(recipe.bank, records, recipe.data.px, recipe.data.degradation)
        return open_prior_cache(recipe.bank, images, encoder)

    return distributed.rank0_first(opened)


class WithFeatures(Dataset):
    """The batches of another source, each with the generative features of its augmented images."""

    def __init__(self, source, features: PriorCache):
        self.source, self.features = source, features
        self.sampler, self.neighbours, self.on_device = source.sampler, source.neighbours, source.on_device

    def __getitem__(self, number: int) -> Batch:
        draw = self.sampler.indices(number)
        features_BCHW = self.features.features(draw.rows_B, draw.views_B)
        return replace(self.source[number], generative_BCHW=torch.from_numpy(features_BCHW))
