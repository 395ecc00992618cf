"""A recipe -> its training images and its bank."""

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.bank.build import open_image_cache, open_teacher_cache
from aird_plugin.data.bank.caches import ImageCache, TeacherCache
from aird_plugin.data.blended_records import BlendedRecords
from aird_plugin.data.indexed_records import open_indexed, write_index
from aird_plugin.data.readable_records import skip_unreadable
from aird_plugin.data.records import Records, StoredRecords, WithoutLabels, as_stored, open_records
from aird_plugin.diagnostics.checks import before_bank
from aird_plugin.losses.term import Needs
from aird_plugin.models.teacher import Teacher
from aird_plugin.training.objective import Objective, used_terms
from aird_plugin.training.teacher_projection import open_projected_cache, projected_width
from aird_plugin.training.unlabelled import without_labels
from aird_plugin.utils import distributed

NOT_FROM_TEACHER = {Needs.GENERATIVE, Needs.LABELS}


def open_faces(recipe: Recipe, reread: bool = False) -> tuple[Records, Recipe]:
    """The training images, and the recipe with num_classes filled in, or without all that needs labels (`without_labels`).

    reread: read record files also where the bank has an index of them. Raises ValueError where recipe and data disagree.
    """
    stored = open_stored(recipe, reread)
    wanted = recipe.data.num_image
    if wanted and wanted != len(stored):
        raise ValueError(f"num_image={wanted}, but {recipe.data.rec} holds {len(stored)} images")
    records: Records = readable(recipe, stored)
    if not recipe.data.labels:
        records = WithoutLabels(as_stored(records))
    if recipe.data.blends:
        check_blends(recipe, records)
        records = BlendedRecords(as_stored(records), recipe.data.blends, recipe.data.turned, recipe.data.cut)
    if not records.num_classes:
        return records, without_labels(recipe)
    classes = recipe.head.num_classes or records.num_classes
    labels = np.asarray(records.labels)
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels in {recipe.data.rec} run from {labels.min()} to {labels.max()}, but num_classes={classes}; "
            "num_classes=0 takes as many as the data have"
        )
    check_classes(recipe, classes, records.num_classes)
    return records, replace(recipe, head=replace(recipe.head, num_classes=classes))


def check_blends(recipe: Recipe, records: Records) -> None:
    """Raise ValueError for blends in a run with labels."""
    if records.num_classes:
        raise ValueError(
            f"blends={recipe.data.blends}, but {recipe.data.rec} has labels, and a blend of two faces has none: set labels=False "
            "and identity_weight=0, and use terms such as aird_plugin.losses.cosine:CosineRegression"
        )


def open_stored(recipe: Recipe, reread: bool) -> Any:
    """The training set that the recipe names. Of a large one rank 0 writes an index, from which the next start opens it."""
    bank, rec, identity_map = recipe.bank.bank, recipe.data.rec, recipe.data.identity_map
    if not reread and recipe.bridge.reader != "upstream" and (indexed := open_indexed(bank, rec, identity_map)):
        return indexed
    stored = open_records(rec, identity_map)
    if distributed.launched_rank() == 0:
        write_index(bank, stored, rec, identity_map)
    return stored


def readable(recipe: Recipe, records: StoredRecords) -> StoredRecords:
    """The records without unreadable ones where skip_bad allows it; rank 0 decodes all of them, the others wait."""
    if not recipe.bank.skip_bad:
        return records
    return distributed.rank0_first(lambda: skip_unreadable(records, recipe.bank.skip_bad, recipe.bank.bank))


def check_classes(recipe: Recipe, classes: int, identities: int) -> None:
    """Raise ValueError where a run with more classes than identities needs the teacher's class center of each."""
    users = ["head_init='teacher'"] if recipe.head.head_init == "teacher" else []
    users += [name for name, spec in used_terms(recipe.terms).items() if Needs.TEACHER_COSINE in spec.needs]
    if classes > identities and users:
        raise ValueError(
            f"num_classes={classes}, but {recipe.data.rec} has {identities} identities: the teacher has no class center of the "
            f"other {classes - identities}, which {', '.join(users)} needs; num_classes=0 takes as many as the data have"
        )


def open_caches(
    recipe: Recipe, records: Records, teacher: Teacher | None, device: torch.device
) -> tuple[list[ImageCache], TeacherCache | None]:
    """Image caches at each of the recipe's sizes, none on the online path, and the teacher cache, None without a teacher.

    Rank 0 prints the warnings on the teacher's input first. Then it builds what is missing while the others wait; a bank in
    shards is built by all ranks together.
    """

    def opened() -> tuple[list[ImageCache], TeacherCache | None]:
        """Open each cache, which builds what is missing."""
        parts = [] if recipe.bank.online else recipe.sizes.parts(recipe.data.px, recipe.data.degradation)
        images = [open_image_cache(recipe.bank, records, *part) for part in parts]
        if not recipe.data.labels:
            for cache in images:
                cache.hide_labels()
        if teacher is None:
            return images, None
        bank = open_teacher_cache(recipe.bank, records, teacher, device.type)
        if not recipe.data.labels:
            bank.hide_labels()
        return images, open_projected_cache(recipe.bank, recipe.terms, bank, device)

    # `aird bank` has no process group under torchrun.
    if distributed.launched_rank() == 0:
        for warning in before_bank(recipe, records, teacher):
            print(warning, file=sys.stderr, flush=True)
    if len(records) <= recipe.bank.bank_shard_images:
        return distributed.rank0_first(opened)
    distributed.wait_for_rank0()
    return opened()


def teacher_needs(recipe: Recipe, objective: Objective) -> frozenset[str]:
    """The teacher outputs that terms, margin and head need together."""
    needed = set(objective.needs) | ({Needs.TEACHER_WIDTH} if recipe.head.centers == "adaptive" else set())
    needed -= {Needs.LABELS}
    return frozenset(needed | (recipe.margin.needs - {Needs.NORM} if recipe.margin else set()))


def check_teacher_fits(recipe: Recipe, objective: Objective, teacher, embedding_size: int) -> None:
    """ValueError where the terms or the head need what the teacher cannot provide."""
    needs = teacher_needs(recipe, objective)
    if recipe.teacher.teacher_flip_mean and Needs.MAPS in needs:
        raise ValueError("teacher_flip_mean=True does not go with terms on feature maps, which are of one view; set it to False")
    wants_width = bool(needs & {Needs.TEACHER_WIDTH, Needs.NEIGHBOURS, Needs.ADAPTED}) or recipe.head.head_init == "teacher"
    if teacher is None and (needs - NOT_FROM_TEACHER or recipe.head.head_init == "teacher"):
        head = "head_init='teacher'" if recipe.head.head_init == "teacher" else recipe.head.margin or "centers='adaptive'"
        wanting = ", ".join(name for name, spec in objective.specs.items() if spec.needs - NOT_FROM_TEACHER) or head
        raise ValueError(f"{wanting} needs a teacher; set teacher=FILE (.pt or .onnx)")
    if teacher is not None and wants_width and (width := projected_width(recipe.terms, teacher)) != embedding_size:
        raise ValueError(
            f"embedding_size={embedding_size}, but the teacher's is {width}; these terms and head_init='teacher' need "
            "one width (embedding_size=0 takes the teacher's)"
        )
