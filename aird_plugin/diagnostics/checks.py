"""The checks at the start of a run, and the full set of `aird doctor RECIPE`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.bank.caches import ImageCache, TeacherCache
from aird_plugin.data.bank.inputs import MANIFEST, image_cache_inputs, read_manifest, teacher_cache_inputs
from aird_plugin.data.pairs import distinct_faces, read_pairs
from aird_plugin.data.records import originals
from aird_plugin.diagnostics.class_centers import check_centers, check_classifier
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.diagnostics.images import check_every_image, check_left_out
from aird_plugin.diagnostics.input_at_start import check_at_start
from aird_plugin.diagnostics.label_noise import check_label_noise
from aird_plugin.diagnostics.labels import check_labels_of_identities
from aird_plugin.diagnostics.leaks import check_shared_identities, check_shared_images
from aird_plugin.diagnostics.near_copies import check_near_copies
from aird_plugin.diagnostics.teacher_input import (
    MAX_IDENTITIES,
    MIN_IDENTITIES,
    auc_diagnostic,
    check_teacher_input,
    two_rows_per_identity,
    verification_auc,
)
from aird_plugin.evaluation.copies import copied_pairs, warning_of_pairs
from aird_plugin.utils.vectors import normalise


def before_bank(recipe: Recipe, records, teacher) -> Iterator[Diagnostic]:
    """The warnings on the teacher's input. Before the bank is built, because a wrong input makes all of it worthless."""
    if teacher is not None:
        yield from check_at_start(teacher, records, unlimited=not (recipe.bank.teacher_folder / MANIFEST).exists())


def at_start(recipe: Recipe, records, bank: TeacherCache | None) -> Iterator[Diagnostic]:
    """The warnings of the cheap checks: labels, images in both training and test sets, the teacher's embeddings."""
    records = originals(records)
    diagnostics = [*check_left_out(records)]
    diagnostics += [*check_labels_of_identities(np.asarray(records.labels), recipe.head.num_classes)]
    diagnostics += [check_shared_images(records, target) for target in recipe.run.val_targets]
    if bank is not None:
        diagnostics += check_bank(bank)
    yield from (diagnostic for diagnostic in diagnostics if diagnostic.status == "warning")


def check_pairs(target: str) -> Diagnostic:
    """Check whether pairs of a .bin show one image twice."""
    pairs, name = read_pairs(target), Path(target).name
    images_UHWC, face_2N = distinct_faces(pairs)
    if text := warning_of_pairs(name, images_UHWC, face_2N, pairs.same):
        return Diagnostic("warning", text)
    genuine, impostor, first = copied_pairs(images_UHWC, face_2N, pairs.same)
    if first < 0:
        return Diagnostic("ok", f"no pair of {name} shows one image twice")
    return Diagnostic("note", f"{genuine} genuine and {impostor} impostor pairs of {name} show one image twice (pair {first})")


def check_bank(bank: TeacherCache, seed: int = 0) -> Iterator[Diagnostic]:
    """Check whether the teacher's cached embeddings separate the identities, and what they say about the labels."""
    yield from check_centers(bank)
    yield from check_near_copies(bank, seed)
    rows_P2 = two_rows_per_identity(bank.label_N, MAX_IDENTITIES, np.random.default_rng(seed))
    if len(rows_P2) >= MIN_IDENTITIES:
        embeddings_2PD = normalise(bank.embeddings_NVD[rows_P2.ravel(), 0].astype(np.float32))
        yield auc_diagnostic(verification_auc(embeddings_2PD), len(rows_P2), ", by the bank's embeddings")
        yield from check_label_noise(bank, seed)


def check_all(recipe: Recipe, records, teacher) -> Iterator[Diagnostic]:
    """All checks, for a recipe whose files open. A missing bank is reported, not built."""
    images = originals(records)
    yield from check_left_out(images)
    unreadable = list(check_every_image(images, recipe.bank.skip_bad))
    yield from unreadable
    if any(diagnostic.status == "error" for diagnostic in unreadable):
        return
    yield from check_labels_of_identities(np.asarray(images.labels), recipe.head.num_classes)
    for target in recipe.run.val_targets:
        yield check_shared_images(images, target)
        yield check_pairs(target)
    if teacher is None:
        return
    yield from check_teacher_input(teacher, images)
    yield from check_classifier(teacher, images)
    folder = recipe.bank.teacher_folder
    inputs = teacher_cache_inputs(recipe.bank, records.fingerprint(), len(records), teacher.describe())
    manifest = read_manifest(folder, inputs)
    if manifest is None:
        yield Diagnostic(
            "note", f"no bank in {folder} yet", "with a bank, the training images are searched for identities of the test sets"
        )
        return
    bank = TeacherCache(folder, manifest)
    yield from check_bank(bank)
    for target in recipe.run.val_targets if recipe.data.labels else ():
        yield from check_shared_identities(bank, teacher, target)
    if not recipe.data.labels:
        yield Diagnostic("note", "identities shared with the test sets cannot be checked without labels")
    for section in recipe.sizes.parts(recipe.data.px, recipe.data.degradation):
        folder = recipe.bank.low_folder(*section)
        manifest = read_manifest(folder, image_cache_inputs(recipe.bank, records.fingerprint(), len(records), *section))
        if manifest and ImageCache(folder, manifest):
            yield Diagnostic("ok", f"image cache {folder} matches the recipe")
        else:
            yield Diagnostic("note", f"no image cache in {folder} yet")
