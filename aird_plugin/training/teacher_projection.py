"""The teacher's projection, Bridge Distillation's first step: a matrix learnt on the bank, and a cache of its outputs.

adaptedE-vV/  weight.npy      float32 (E, D)     the projection: projected = weight @ embedding
              embeddings.npy  float16 (N, V, E)  the projected embeddings of every view, normalised
              centres.npy     float32 (C, E)     the class centers, learnt beside the projection

It needs no images and no teacher, only the teacher cache, to which its manifest ties it.

N = images, V = views, B = images of a batch, C = identities, D = the teacher's width, E = the projection's width.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from aird_plugin.data.bank.caches import TeacherCache
from aird_plugin.data.bank.config import BankConfig
from aird_plugin.data.bank.files import Build
from aird_plugin.data.bank.open_or_build import open_or_build
from aird_plugin.data.bank.sharded import open_array
from aird_plugin.data.blocks import BLOCK
from aird_plugin.losses.bridge_distillation import BridgeDistillation, adapter_loss
from aird_plugin.losses.term import Needs
from aird_plugin.training.objective import used_terms
from aird_plugin.utils.progress import progress

# Change it when the same keys give another projection.
FORMAT = "aird-bank-adapted/1"
BATCH = 512
# Keys of the term that only the student's training uses.
STUDENTS_OWN = ("weight", "warmup_epochs")


class ProjectedTeacherCache(TeacherCache):
    """The teacher cache after the projection. Same-identity and hard lists stay those of the teacher itself."""

    def __init__(self, teacher: TeacherCache, folder: Path, manifest: dict[str, Any]):
        self.manifest = manifest
        self.same_NS, self.hard_NK, self.label_N = teacher.same_NS, teacher.hard_NK, teacher.label_N
        self.embeddings_NVD = open_array(folder, "embeddings")
        self.centers_CD = open_array(folder, "centres")
        self.weight_ED = torch.from_numpy(np.array(open_array(folder, "weight")))

    def project(self, embeddings_BD: Tensor) -> Tensor:
        """The teacher's embeddings (B, D) -> projected ones (B, E), normalised."""
        return projected(self.weight_ED.to(embeddings_BD.device), embeddings_BD.float())


def projected(weight_ED: Tensor, embeddings_BD: Tensor) -> Tensor:
    """Projected embeddings (..., E), normalised."""
    return F.normalize(F.linear(embeddings_BD, weight_ED), dim=-1)


def projection_term(terms: dict[str, Any]) -> BridgeDistillation | None:
    """The term of a recipe that projects the teacher, if any. ValueError where two do."""
    found = [spec for spec in used_terms(terms).values() if Needs.ADAPTED in spec.needs]
    if len(found) > 1:
        raise ValueError("two terms have the teacher adapted, but a run has one teacher; drop one of them")
    return found[0] if found else None


def projected_width(terms: dict[str, Any], teacher) -> int:
    """Width of the teacher embeddings that the terms get: the projection's where a term uses one, else the teacher's.

    Raises ValueError for an adapted width above the teacher's.
    """
    spec = projection_term(terms)
    if spec is None or spec.width == 0:
        return teacher.dim
    if spec.width > teacher.dim:
        raise ValueError(f"the adapted width {spec.width} is above the teacher's own, {teacher.dim}; 0 keeps that")
    return spec.width


def open_projected_cache(config: BankConfig, terms: dict[str, Any], teacher: TeacherCache, device: torch.device) -> TeacherCache:
    """The teacher cache that the terms use: itself, or its projection, which is trained first where it is missing."""
    spec = projection_term(terms)
    if spec is None:
        return teacher
    width = projected_width(terms, teacher)
    folder = Path(config.bank) / f"adapted{width}-v{config.views}"
    inputs = projection_inputs(dataclasses.replace(spec, width=width), teacher)

    def built():
        return _write(folder, inputs, teacher, *train_projection(teacher, spec, width, device))

    return ProjectedTeacherCache(teacher, folder, open_or_build(folder, inputs, built))


def projection_inputs(spec: BridgeDistillation, teacher: TeacherCache) -> dict[str, Any]:
    """What the projection depends on, as its manifest states it."""
    keys = {key: value for key, value in dataclasses.asdict(spec).items() if key not in STUDENTS_OWN}
    half = hashlib.sha256(json.dumps(teacher.manifest, sort_keys=True).encode()).hexdigest()
    return {"format": FORMAT, "teacher_half": half, **keys}


def train_projection(teacher: TeacherCache, spec: BridgeDistillation, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The projection (E, D) and class centers (C, E), on the CPU, trained on random views with `adapter_loss`, Adam and a cosine
    schedule.

    It starts from the teacher itself: the identity, or the teacher's `width` main directions, which keep most of its cosines.
    """
    weight_ED = _start(teacher, width).to(device)
    decoder_DE = None if width == teacher.dim else weight_ED.T.clone()
    centers_CE = projected(weight_ED, torch.from_numpy(np.array(teacher.centers_CD)).to(device))
    learnt = [x.requires_grad_() for x in (weight_ED, centers_CE, decoder_DE) if x is not None]
    optimizer = torch.optim.Adam(learnt, spec.lr)
    count = len(teacher.label_N)
    steps = spec.epochs * math.ceil(count / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for rows_B, views_B in progress(_batches(teacher, spec), steps, "adapting the teacher", "steps"):
        teacher_BD = torch.from_numpy(teacher.embeddings(rows_B, views_B)).to(device)
        label_B = torch.from_numpy(teacher.label_N[rows_B].astype(np.int64)).to(device)
        projected_BE = projected(weight_ED, teacher_BD)
        restored_BD = projected_BE if decoder_DE is None else F.linear(projected_BE, decoder_DE)
        loss = adapter_loss(projected_BE, restored_BD, teacher_BD, centers_CE, label_B, spec)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return weight_ED.detach().cpu(), F.normalize(centers_CE.detach(), dim=1).cpu()


def _start(teacher: TeacherCache, width: int) -> Tensor:
    """The projection before training: orthonormal rows."""
    if width == teacher.dim:
        return torch.eye(width)
    moment_DD = np.zeros((teacher.dim, teacher.dim))
    for start in range(0, len(teacher.label_N), BLOCK):
        rows_XD = teacher.embeddings_NVD[start : start + BLOCK].astype(np.float64).reshape(-1, teacher.dim)
        moment_DD += rows_XD.T @ rows_XD
    return torch.from_numpy(np.linalg.eigh(moment_DD)[1][:, ::-1][:, :width].T.astype(np.float32).copy())


def _batches(teacher: TeacherCache, spec: BridgeDistillation) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and views, each row once an epoch in a view of its own. A function of the seed."""
    rng = np.random.default_rng(spec.seed)
    count, views = teacher.embeddings_NVD.shape[:2]
    for _ in range(spec.epochs):
        rows_N: np.ndarray = rng.permutation(count)
        views_N: np.ndarray = rng.integers(0, views, size=(count,))
        for start in range(0, count, BATCH):
            yield rows_N[start : start + BATCH], views_N[start : start + BATCH]


def _write(folder: Path, inputs: dict[str, Any], teacher: TeacherCache, weight_ED: Tensor, centers_CE: Tensor) -> dict[str, Any]:
    """Write the folder, its manifest last; returns the manifest."""
    count, views = teacher.embeddings_NVD.shape[:2]
    build = Build(folder, inputs, {"embeddings": ((count, views, len(weight_ED)), np.float16)})
    for start in range(0, count, BLOCK):
        rows = slice(start, start + BLOCK)
        known_BVD = torch.from_numpy(teacher.embeddings_NVD[rows].astype(np.float32))
        build.arrays["embeddings"][rows] = projected(weight_ED, known_BVD).numpy()
    build.arrays["embeddings"].flush()
    build.save("weight", weight_ED.numpy())
    build.save("centres", centers_CE.numpy())
    return build.finish({})
