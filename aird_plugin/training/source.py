"""The source of a run's batches: the bank, or images decoded in the step."""

from typing import Any

import torch

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.bank.caches import ImageCache, TeacherCache
from aird_plugin.data.batches import BankFaces, Neighbours
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import BICUBIC, get_degradation
from aird_plugin.data.device_array import bank_device
from aird_plugin.data.lowres import RESIZE
from aird_plugin.data.multi_size import DrawnSizes
from aird_plugin.data.online_batches import OnlineFaces, OnlineSettings
from aird_plugin.data.records import Records
from aird_plugin.losses.term import Needs
from aird_plugin.training.data import teacher_needs
from aird_plugin.training.objective import Objective
from aird_plugin.training.shuffle import build_sampler


def candidates_spec(objective: Objective) -> Any | None:
    """The spec of a term that needs relation candidates, None without one. ValueError where two need different ones."""
    users = {name: spec for name, spec in objective.specs.items() if Needs.NEIGHBOURS in spec.needs}
    if len({(spec.negatives, spec.lone_faces) for spec in users.values()}) > 1:
        raise ValueError(f"{', '.join(users)} share one sample of candidates: give them the same negatives and lone_faces")
    return next(iter(users.values()), None)


def online_settings(recipe: Recipe, device: torch.device, with_hr: bool) -> OnlineSettings:
    """How the online path makes a step's images; of a drawn px or degradation they stay at 112 px until then."""
    data, sizes = recipe.data, recipe.sizes
    is_drawn = bool(sizes.drawn_range(data.px, data.degradation))
    px, degradation = (FACE_SIDE, BICUBIC) if is_drawn else (data.px, data.degradation)
    return OnlineSettings(
        px=px,
        degradation=degradation,
        view_seed=recipe.bank.view_seed,
        with_hr=with_hr,
        also_px=sizes.also_px,
        # A GPU runs the reference resize on a whole batch; every other degradation runs image by image on the CPU.
        downsamples=device.type == "cpu" or is_drawn or get_degradation(degradation).version != RESIZE,
        mixup=data.mixup,
    )


def build_source(
    recipe: Recipe,
    records: Records,
    images: list[ImageCache],
    bank: TeacherCache | None,
    objective: Objective,
    side: int,
    device: torch.device,
) -> BankFaces | OnlineFaces | DrawnSizes:
    """The source of batches. side: the student's input size, for images whose px is drawn. device: where the student trains.

    recipe: as `with_shuffle` returned it.
    """
    sizes = recipe.sizes
    drawn_range = sizes.drawn_range(recipe.data.px, recipe.data.degradation)
    sampler = build_sampler(recipe, records)
    relation = candidates_spec(objective)
    cache = bank if teacher_needs(recipe, objective) else None
    array_device = None
    if not recipe.bank.online:
        lists = cache.hard_NK[:, : relation.negatives].nbytes if relation else 0
        embeddings = cache.embeddings_NVD.nbytes if cache else 0
        array_device = bank_device(recipe.bank.bank_on, device, sum(one.low_NJHWC.nbytes for one in images) + embeddings + lists)
    neighbours = Neighbours(bank, relation.negatives, relation.lone_faces, array_device) if relation else None
    if recipe.bank.online:
        settings = online_settings(recipe, device, with_hr=cache is not None)
        source: BankFaces | OnlineFaces = OnlineFaces(sampler, records, settings, neighbours)
    else:
        flip_mean = recipe.teacher.teacher_flip_mean
        source = BankFaces(sampler, images[0], cache, neighbours, tuple(images[1:]), array_device, flip_mean)
    if not drawn_range:
        return source
    on_training_device = device.type != "cpu" and not source.on_device
    return DrawnSizes(source, drawn_range, side, recipe.data.degradation, sizes.untouched, on_training_device, sizes.px_weights)
