"""What a run looks at before it starts, and what `aird doctor RECIPE` looks at beside it."""

from collections.abc import Iterator

import numpy as np

from aird_plugin.data.bank import LowBank, TeacherBank, low_inputs, read_manifest, teacher_inputs
from aird_plugin.inspection.finding import Finding
from aird_plugin.inspection.labels import about_people
from aird_plugin.inspection.leaks import about_people_in_both, about_pictures
from aird_plugin.inspection.likeness import FEWEST_PEOPLE, PEOPLE, about_teacher, plausible, separation, two_rows_each, unit
from aird_plugin.recipe import Recipe


def at_start(recipe: Recipe, records, bank: TeacherBank | None) -> Iterator[Finding]:
    """Doubts that cost a run next to nothing to have: labels, pictures in both training and tests, what the bank says."""
    looked_at = [*about_people(np.asarray(records.labels), recipe.head.num_classes)]
    looked_at += [about_pictures(records, target) for target in recipe.run.val_targets]
    if bank is not None:
        looked_at += about_bank(bank)
    yield from (finding for finding in looked_at if finding.status == "doubt")


def about_bank(bank: TeacherBank, seed: int = 0) -> Iterator[Finding]:
    """Whether the teacher's embeddings in the bank tell its people apart."""
    rows_P2 = two_rows_each(bank.person_N, PEOPLE, np.random.default_rng(seed))
    if len(rows_P2) >= FEWEST_PEOPLE:
        yield plausible(separation(unit(bank.embeddings_NVD[rows_P2.ravel(), 0].astype(np.float32))), len(rows_P2))


def closely(recipe: Recipe, records, teacher) -> Iterator[Finding]:
    """All of it, for a recipe whose files open. A bank that is not built yet is not built for this."""
    yield from about_people(np.asarray(records.labels), recipe.head.num_classes)
    for target in recipe.run.val_targets:
        yield about_pictures(records, target)
    if teacher is None:
        return
    yield from about_teacher(teacher, records)
    folder = recipe.bank.teacher_folder
    inputs = teacher_inputs(recipe.bank, records.fingerprint(), len(records), teacher.describe())
    manifest = read_manifest(folder, inputs)
    if manifest is None:
        yield Finding("note", f"no bank in {folder} yet", "with one, people of the tests are looked for among the training faces")
        return
    bank = TeacherBank(folder, manifest)
    yield from about_bank(bank)
    for target in recipe.run.val_targets:
        yield about_people_in_both(bank, teacher, target)
    for part in recipe.sizes.parts(recipe.data.px, recipe.data.degradation):
        low = recipe.bank.low_folder(*part)
        found = read_manifest(low, low_inputs(recipe.bank, records.fingerprint(), len(records), *part))
        yield Finding("ok", f"{low} fits") if found and LowBank(low, found) else Finding("note", f"no low faces in {low} yet")
