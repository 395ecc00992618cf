"""The mean embeddings over a run's training images, written at its end (models/training_means.py).

B = images of a batch, V = views, D = embedding width.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from aird_plugin.data.blocks import BLOCK
from aird_plugin.data.online_batches import OnlineFaces
from aird_plugin.evaluation.embed import eval_mode, full_precision
from aird_plugin.models.training_means import TrainingMeans, write_means
from aird_plugin.training.setup import TrainingSetup
from aird_plugin.training.teacher_projection import ProjectedTeacherCache
from aird_plugin.utils import distributed
from aird_plugin.utils.torch_files import state_sha256

# The mean of this many unit vectors is within about 0.015 of the mean of all.
IMAGES = 4096


def write_training_means(setup: TrainingSetup) -> None:
    """OUTPUT/means.json, for the student in model.pt beside it. Rank 0 computes, the others wait."""
    try:
        if distributed.rank() == 0:
            student_D, images = student_mean(setup)
            teacher_sha256 = setup.teacher.on_hr.sha256 if setup.teacher else None
            means = TrainingMeans(student_D, teacher_mean(setup), teacher_sha256, images)
            weights = {"weights": state_sha256(setup.deployed.state_dict())}
            write_means(Path(setup.recipe.run.output), means, weights)
    # Also if a signal interrupts rank 0.
    finally:
        distributed.wait_for_rank0()


def student_mean(setup: TrainingSetup) -> tuple[np.ndarray, int]:
    """Mean of the student's normalised embeddings over the first epoch's LR images, 4,096 at most, (D,); and their number.

    The images come as in training, but not mixed: views, sizes and degradations are those of the recipe.
    """
    sampler, student, source = setup.source.sampler, setup.deployed, unmixed(setup.source)
    total_D, images = torch.zeros((), dtype=torch.float64), 0
    with eval_mode(student), torch.inference_mode(), full_precision():
        for number in range(sampler.batches_per_epoch):
            low_BHWC = setup.to_device(source[number]).images_BHWC
            embeddings_BD = student(setup.network_input(low_BHWC))
            total_D = total_D + F.normalize(embeddings_BD.double()).sum(0).cpu()
            images += len(low_BHWC)
            if images >= IMAGES:
                break
    return (total_D / images).float().numpy(), images


def unmixed(source: Any) -> Any:
    """A copy of the source that mixes no images; what it reads from is shared."""
    source = copy.copy(source)
    if hasattr(source, "source"):
        source.source = unmixed(source.source)
    elif isinstance(source, OnlineFaces):
        source.settings = replace(source.settings, mixup=0.0)
    return source


def teacher_mean(setup: TrainingSetup) -> np.ndarray | None:
    """Mean of the teacher's embeddings over all images and views of the bank, (D,).

    None where the bank does not hold what the teacher gives for HR images: without a teacher, with one that sees its images at a
    px (teacher_px), and with a projection of it.
    """
    bank, teacher = setup.bank, setup.teacher
    if bank is None or teacher is None or teacher.on_hr.sha256 != teacher.sha256 or isinstance(bank, ProjectedTeacherCache):
        return None
    embeddings_NVD = bank.embeddings_NVD
    total_D = np.zeros(embeddings_NVD.shape[2])
    for start in range(0, len(embeddings_NVD), BLOCK):
        total_D += embeddings_NVD[start : start + BLOCK].astype(np.float64).sum((0, 1))
    return (total_D / (embeddings_NVD.shape[0] * embeddings_NVD.shape[1])).astype(np.float32)
