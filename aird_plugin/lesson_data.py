"""A recipe -> its faces, its test files, its bank, and where its batches come from."""

from dataclasses import replace

import numpy as np
import torch

from aird_plugin import distributed
from aird_plugin.data.bank import LowBank, TeacherBank
from aird_plugin.data.bank_build import open_low_bank, open_teacher_bank
from aird_plugin.data.degrade import named
from aird_plugin.data.faces import BankFaces, Neighbours, OnlineFaces, open_records
from aird_plugin.data.lowres import FACE_SIDE, RESIZE
from aird_plugin.data.plan import PeoplePlan, Plan
from aird_plugin.data.shelf import place_of
from aird_plugin.data.sizes import DrawnSizes
from aird_plugin.objective import Objective
from aird_plugin.recipe import Recipe
from aird_plugin.teacher_adapter import open_taught_bank


def open_faces(recipe: Recipe):
    """The training faces, and the recipe with num_classes filled in. ValueError where recipe and data disagree."""
    records = open_records(recipe.data.rec)
    wanted = recipe.data.num_image
    if wanted and wanted != len(records):
        raise ValueError(f"num_image={wanted}, but {recipe.data.rec} holds {len(records)} faces")
    classes = recipe.head.num_classes or records.num_classes
    labels = np.asarray(records.labels)
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels in {recipe.data.rec} run from {labels.min()} to {labels.max()}, but num_classes={classes}; "
            "num_classes=0 takes as many as the data have"
        )
    return records, replace(recipe, head=replace(recipe.head, num_classes=classes))


def open_banks(recipe: Recipe, records, teacher, device: torch.device) -> tuple[list[LowBank], TeacherBank | None]:
    """Both halves of the bank, low faces at each of the recipe's sizes; rank 0 builds what is missing, the others wait.

    Without a teacher there is no teacher's half, and none of low faces on the online path.
    """

    def both():
        parts = [] if recipe.bank.online else recipe.sizes.parts(recipe.data.px, recipe.data.degradation)
        low = [open_low_bank(recipe.bank, records, *part) for part in parts]
        if teacher is None:
            return low, None
        bank = open_teacher_bank(recipe.bank, records, teacher, device.type)
        return low, open_taught_bank(recipe.bank, recipe.terms, bank, device)

    if distributed.rank() == 0:
        banks = both()
    distributed.wait_for_the_first()
    return banks if distributed.rank() == 0 else both()


def needs_of(recipe: Recipe, objective: Objective) -> frozenset[str]:
    """What terms, margin and head together ask of the teacher."""
    asked = set(objective.needs) | ({"teacher_width"} if recipe.head.head_adaptive else set())
    return frozenset(asked | (recipe.margin.needs - {"norm"} if recipe.margin else set()))


def asking_for_neighbours(objective: Objective):
    """The spec of a term that asks for relation candidates, None without one. ValueError where two ask for different ones."""
    asking = {name: spec for name, spec in objective.specs.items() if "neighbours" in spec.needs}
    if len({(spec.negatives, spec.lone_faces) for spec in asking.values()}) > 1:
        raise ValueError(f"{', '.join(asking)} share one draw of candidates: give them the same negatives and lone_faces")
    return next(iter(asking.values()), None)


def build_source(recipe: Recipe, records, low, bank, objective: Objective, side: int, device: torch.device):
    """Where batches come from. side: the student's, to which faces are brought whose sizes are drawn. device: what trains."""
    sizes = recipe.sizes
    draws = (
        recipe.bank.views, recipe.schedule.batch_size, recipe.run.seed, distributed.rank(), distributed.world_size(),
    )  # fmt: skip
    several = sizes.faces_per_person > 1
    plan = PeoplePlan(records.labels, sizes.faces_per_person, *draws) if several else Plan(len(records), *draws)
    relation = asking_for_neighbours(objective)
    taught = bank if needs_of(recipe, objective) else None
    place = None
    if not recipe.bank.online:
        lists = taught.hard_NK[:, : relation.negatives].nbytes if relation else 0
        embeddings = taught.embeddings_NVD.nbytes if taught else 0
        place = place_of(recipe.bank.bank_on, device, sum(half.low_NJHWC.nbytes for half in low) + embeddings + lists)
    neighbours = Neighbours(bank, relation.negatives, relation.lone_faces, place) if relation else None
    if recipe.bank.online:
        data, seed = recipe.data, recipe.bank.view_seed
        px = FACE_SIDE if sizes.px_range else data.px
        # A GPU shrinks a batch in no time, but what is more than the one resize is done face by face on the CPU.
        shrinks = device.type == "cpu" or bool(sizes.px_range) or named(data.degradation).version != RESIZE
        wanted = taught is not None
        source = OnlineFaces(plan, records, px, data.degradation, seed, wanted, neighbours, sizes.also_px, shrinks)
    else:
        source = BankFaces(plan, low[0], taught, neighbours, tuple(low[1:]), place)
    return DrawnSizes(source, sizes.px_range, side, recipe.data.degradation) if sizes.px_range else source
