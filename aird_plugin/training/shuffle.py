"""Which sampler a run has: the one that it began with, else by the key `shuffle` and the number of images."""

import os
from dataclasses import replace
from pathlib import Path

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.records import Records
from aird_plugin.data.sampler import BatchSampler, MPerClassSampler
from aird_plugin.data.streamed_sampler import StreamedSampler
from aird_plugin.utils import distributed
from aird_plugin.utils.json_files import read_object

# The permutation of more images takes above 268 MB on every rank, and seconds at each epoch.
STREAMED_ABOVE = 1 << 24


def with_shuffle(recipe: Recipe, num_images: int) -> Recipe:
    """The recipe with "permutation" or "streamed" for shuffle="auto". A run that is resumed keeps its order.

    Raises ValueError for the streamed order of a run that groups images by identity.
    """
    shuffle = recipe.data.shuffle
    groups = recipe.sizes.faces_per_person > 1
    if shuffle == "streamed" and groups:
        raise ValueError(
            f"shuffle='streamed' takes images one by one, but faces_per_person={recipe.sizes.faces_per_person} keeps those of an "
            "identity together; set shuffle='permutation', or faces_per_person=1"
        )
    if shuffle == "auto":
        by_size = "streamed" if num_images > STREAMED_ABOVE and not groups else "permutation"
        shuffle = saved_shuffle(recipe) or by_size
    return replace(recipe, data=replace(recipe.data, shuffle=shuffle))


def saved_shuffle(recipe: Recipe) -> str | None:
    """The order of the run that this one resumes, None without one; runs of versions that recorded none had permutations."""
    path = Path(recipe.run.output) / "recipe.json"
    if not (recipe.run.resume and path.exists() and os.path.isdir(recipe.run.checkpoints)):
        return None
    return str(read_object(path).get("shuffle", "permutation"))


def build_sampler(recipe: Recipe, records: Records) -> BatchSampler:
    """The sampler of this rank, for a recipe that `with_shuffle` returned."""
    draws = (recipe.bank.views, recipe.schedule.batch_size, recipe.run.seed, distributed.rank(), distributed.world_size())
    if recipe.sizes.faces_per_person > 1:
        return MPerClassSampler(records.labels, recipe.sizes.faces_per_person, *draws)
    return (StreamedSampler if recipe.data.shuffle == "streamed" else BatchSampler)(len(records), *draws)
