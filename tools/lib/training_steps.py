"""Training steps to be timed: the images, bank and keys of a pair of trainings, and a call that trains on."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from aird_plugin.config.recipe import load
from aird_plugin.config.recipe_file import data_path, recipe_path
from aird_plugin.data.loader import loader
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.data.records import open_records
from aird_plugin.models import build
from aird_plugin.training.deterministic import deterministic
from aird_plugin.training.loop import take_step
from aird_plugin.training.state import build_state
from tools.lib.training_pairs import TEACHERS, Pair

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def first_images(scratch: Path, count: int) -> Path:
    """The first `count` images of faces15k as a new record file with labels from 0."""
    folder = scratch / f"faces{count}"
    if not (folder / "train.rec").exists():
        records = open_records(data_path("faces15k"))
        identities = records.labels[:count].tolist()
        label_of = {identity: label for label, identity in enumerate(dict.fromkeys(identities))}
        write_face_records(folder, ((label_of[identity], records.payload(row)) for row, identity in enumerate(identities)))
    return folder


def shared_keys(pair: Pair, device: str, scratch: Path) -> tuple[list[str], list[str]]:
    """Recipe keys of both sides (images, bank, no verification), and those of a side with a teacher.

    Writes the images and a teacher of random weights to `scratch` where they are missing.
    """
    width, count = TEACHERS[pair.teacher]
    faces, teacher = first_images(scratch, count), scratch / f"{pair.teacher}.pt"
    if not teacher.exists():
        torch.manual_seed(0)
        torch.save(build(pair.teacher, width).eval().state_dict(), teacher)
    records = open_records(str(faces))
    return [
        *pair.both,
        f"rec={faces}",
        f"num_classes={records.num_classes}",
        f"num_image={len(records)}",
        "views=2",
        f"embedding_size={width}",
        f"bank={scratch / 'bank'}-{pair.teacher}",
        f"device={device}",
        f"output={scratch / 'run'}",
        "val_targets=()",
    ], [f"teacher={teacher}", f"teacher_network={pair.teacher}"]


def stepper(recipe: str, keys: list[str]) -> Callable[[int], None]:
    """A call that trains the given number of further steps, and waits for the device."""
    state = build_state(load(recipe_path(RECIPES, recipe), keys))
    accumulate = state.setup.recipe.schedule.gradient_acc
    batches = loader(state.setup.source, range(sys.maxsize), state.setup.recipe.data.num_workers, state.setup.device)
    counter = itertools.count()

    def call(steps: int) -> None:
        with deterministic(state.setup.recipe.run.deterministic):
            for _ in range(steps):
                take_step(state, itertools.islice(batches, accumulate), next(counter))
        if state.setup.device.type == "cuda":
            torch.cuda.synchronize()

    return call
