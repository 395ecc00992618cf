"""One recogniser, opened: its file, its identity and its thresholds.

F = faces, S = side of the network's input, D = embedding width.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from aird_plugin.data.lowres import to_input
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.training_means import subtract_mean


@dataclass
class Network:
    """A recogniser. name: of its folder or file. identity: hash of its weights, else of its file. thresholds: of its export.

    mean_D: its training mean, which `embed` subtracts; the identity then has a mark of it (recognition/centring.py).
    """

    name: str
    model: OnnxTeacher
    identity: str
    thresholds: dict = field(default_factory=dict)
    mean_D: np.ndarray | None = None

    @property
    def side(self) -> int:
        """Side of its input images in pixels."""
        return self.model.input_size

    def embed(self, crops_FSSC: np.ndarray) -> np.ndarray:
        """uint8 RGB crops (F, S, S, 3) -> embeddings float32 (F, D), not normalised, in one call of the network."""
        embeddings_FD = self.model.embed_inputs(to_input(torch.from_numpy(crops_FSSC))).numpy()
        return embeddings_FD if self.mean_D is None else subtract_mean(embeddings_FD, self.mean_D)


def brief(identity: str) -> str:
    """The first digits of an identity, and of its mark where it is centered."""
    return "+".join(part[:16] for part in identity.split("+"))


def listed(networks: Iterable[Network]) -> str:
    """Networks for a message: the name and the brief identity of each."""
    return ", ".join(f"{network.name} ({brief(network.identity)})" for network in networks)
