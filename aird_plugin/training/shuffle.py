"""The sampler of a run: the one that it began with, else chosen by the key `shuffle` and the number of images."""

from dataclasses import replace

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.records import Records
from aird_plugin.data.sampler import BatchSampler, MPerClassSampler
from aird_plugin.data.streamed_sampler import StreamedSampler
from aird_plugin.training.run_folder import resumed_metadata
from aird_plugin.utils import distributed

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
    saved = resumed_metadata(recipe.run)
    return None if saved is None else str(saved.get("shuffle", "permutation"))


def build_sampler(recipe: Recipe, records: Records) -> BatchSampler:
    """The sampler of this rank, for a recipe that `with_shuffle` returned."""
    draws = (recipe.bank.views, recipe.schedule.batch_size, recipe.run.seed, distributed.rank(), distributed.world_size())
    if recipe.sizes.faces_per_person > 1:
        return MPerClassSampler(records.labels, recipe.sizes.faces_per_person, *draws)
    return (StreamedSampler if recipe.data.shuffle == "streamed" else BatchSampler)(len(records), *draws)
