"""A training on noise images and labels, whose teacher is a file of random class centers: bench_scale.py times its steps."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from aird_plugin.config.recipe import from_flat
from aird_plugin.data.batch import Batch
from aird_plugin.data.blocks import blocks_of
from aird_plugin.training.objective import LossDims, Objective
from aird_plugin.training.setup import TrainingSetup
from aird_plugin.training.student import build_student
from aird_plugin.utils import distributed
from aird_plugin.utils.progress import progress

PX, ROWS_AT_ONCE = 16, 65536
# The file of class centers in the scratch folder.
CENTERS = "centres.npy"


def write_centers(path: Path, classes: int, width: int) -> None:
    """Write random class centers, normalised, float32 (classes, width)."""
    rng = np.random.default_rng(0)
    centers_CD = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(classes, width))
    for block in progress(blocks_of(range(classes), ROWS_AT_ONCE), classes, "teacher's centers", "classes"):
        rows_RD = rng.standard_normal((len(block), width), np.float32)
        centers_CD[block.start : block.stop] = rows_RD / np.linalg.norm(rows_RD, axis=1, keepdims=True)
    centers_CD.flush()


def noise_setup(args: argparse.Namespace, scratch: Path) -> TrainingSetup:
    """A training setup whose teacher is a file of class centers."""
    recipe = from_flat(
        {
            "rec": "noise",
            "px": PX,
            "network": args.network,
            "embedding_size": args.width,
            "num_classes": args.classes[0],
            "sample_rate": args.sample_rate,
            "head_init": "teacher",
            "batch_size": args.batch,
            "device": "cpu",
            "terms": {"iid": "aird_plugin.losses.instance:IID"},
            "output": str(scratch / "run"),
        }
    )
    return TrainingSetup(
        recipe=recipe,
        device=torch.device("cpu"),
        records=None,
        teacher=None,
        bank=SimpleNamespace(centers_CD=np.load(scratch / CENTERS, mmap_mode="c")),
        student=build_student(recipe, args.width),
        objective=Objective(recipe.terms, LossDims(args.width)),
        source=SimpleNamespace(sampler=SimpleNamespace(batches_per_epoch=1_000_000)),
        metadata={"embedding_size": args.width},
    )


def noise_batches(classes: int, batch: int, width: int) -> Iterator[Batch]:
    """Random images, labels and teacher embeddings, different on each rank."""
    generator = torch.Generator().manual_seed(distributed.rank())
    while True:
        yield Batch(
            images_BHWC=torch.randint(0, 256, (batch, PX, PX, 3), generator=generator, dtype=torch.uint8),
            label_B=torch.randint(0, classes, (batch,), generator=generator),
            row_B=torch.arange(batch),
            teacher_BD=torch.randn(batch, width, generator=generator),
        )
