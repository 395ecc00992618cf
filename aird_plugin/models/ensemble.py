"""Several teachers as one: their normalised embeddings averaged or concatenated.

B = images, D = width of the joined embedding, E = width of one teacher's.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from aird_plugin.models.teacher import Teacher

JOINS = ("mean", "concat")


class Ensemble(Teacher):
    """Several teachers that each embed the same image. It has no classifier and no feature maps.

    join: "mean" averages normalised embeddings of equal width; "concat" concatenates normalised embeddings, scaled so that the
    result has length 1: its cosine is the mean of the teachers' cosines.
    Raises ValueError for fewer than two teachers, an unknown join, or a mean of several widths.
    """

    kind = "ensemble"

    def __init__(self, teachers: Sequence[Teacher], join: str = "mean"):
        if join not in JOINS:
            raise ValueError(f"teacher_join is {' or '.join(JOINS)}; got {join!r}")
        if len(teachers) < 2:
            raise ValueError(f"an ensemble needs two teachers or more, got {len(teachers)}; name a single one without a tuple")
        dims = [teacher.dim for teacher in teachers]
        if join == "mean" and len(set(dims)) > 1:
            widths = ", ".join(f"{teacher.path.name} {teacher.dim}" for teacher in teachers)
            raise ValueError(f"teacher_join='mean' needs teachers of one width, got {widths}; use teacher_join='concat'")
        self.teachers, self.join = tuple(teachers), join
        self.device, self.input_device = teachers[0].device, teachers[0].input_device
        self.path = Path(" + ".join(str(teacher.path) for teacher in teachers))
        self.network = " + ".join(teacher.network for teacher in teachers)
        self.dim = sum(dims) if join == "concat" else dims[0]
        content = [join, *([teacher.sha256, teacher.describe().get("input")] for teacher in teachers)]
        self.sha256 = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def embed_inputs(self, inputs_B3HW: Tensor) -> Tensor:
        """See `Teacher.embed_inputs`."""
        return self.joined([teacher.embed_inputs(inputs_B3HW).to(inputs_B3HW.device) for teacher in self.teachers])

    def joined(self, embeddings: Sequence[Tensor]) -> Tensor:
        """Embeddings (B, E) of each teacher -> (B, D). Leading dimensions are free."""
        normalised = [F.normalize(embeddings_BE.float(), dim=-1) for embeddings_BE in embeddings]
        if self.join == "mean":
            return torch.stack(normalised).mean(0)
        return torch.cat(normalised, dim=-1) / len(normalised) ** 0.5

    @property
    def on_hr(self) -> Teacher:
        """See `Teacher.on_hr`."""
        return Ensemble([teacher.on_hr for teacher in self.teachers], self.join)

    def describe(self) -> dict:
        """The entries of a single teacher, and those of each part."""
        return super().describe() | {
            "file": " + ".join(teacher.path.name for teacher in self.teachers),
            "join": self.join,
            "teachers": [teacher.describe() for teacher in self.teachers],
        }

    def __reduce__(self):
        return Ensemble, (self.teachers, self.join)
