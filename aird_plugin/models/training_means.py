"""Mean embeddings over the training images, of student and teacher, and networks whose outputs they center.

    means.json  beside a run's weights or an exported file: the means, and the hashes of the networks that they belong to

The centered output of a network is c(x) = f(x) / |f(x)| - mean, and the mean is that of f(x) / |f(x)| over the training images:
LR images for the student, HR images for the teacher. No test image is used.

D = embedding width, B = images of a batch, N = images.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aird_plugin.models.find import find_model
from aird_plugin.utils.files import file_sha256, write_atomically
from aird_plugin.utils.json_files import read_object
from aird_plugin.utils.torch_files import state_sha256

MEANS_FILE = "means.json"
WITHOUT = "leave out --training-centre"


@dataclass(frozen=True)
class TrainingMeans:
    """student_D: None where the file's own graph subtracts it. teacher_D: None where the run has no mean of HR embeddings.

    teacher_sha256: digest of the teacher's file. images: how many the student's mean is of.
    """

    student_D: np.ndarray | None
    teacher_D: np.ndarray | None
    teacher_sha256: str | None
    images: int = 0

    def center(self, role: str, network: Any) -> Any:
        """The network of this role, "student" or "teacher", with centered outputs. ValueError for a teacher without a mean."""
        if role == "student":
            return network if self.student_D is None else centered(network, self.student_D)
        if self.teacher_D is None:
            raise ValueError(
                "this model's run has no mean of its teacher's HR embeddings (no teacher, one at a px, or a projected one): "
                f"lr-hr with the teacher on the high side needs it; {WITHOUT}"
            )
        if getattr(network, "sha256", None) != self.teacher_sha256:
            raise ValueError(f"the training means belong to another teacher, sha256 {str(self.teacher_sha256)[:16]}; {WITHOUT}")
        return centered(network, self.teacher_D)


class Centered(nn.Module):
    """A network with centered outputs. It holds the network itself: FaceBN and eval mode reach its layers."""

    def __init__(self, network: nn.Module, mean_D: np.ndarray):
        super().__init__()
        self.network = network
        self.input_size = network.input_size
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        self.register_buffer("mean_D", torch.tensor(mean_D, dtype=torch.float32, device=device))

    def forward(self, x_B3SS: Tensor) -> Tensor:
        return F.normalize(self.network(x_B3SS).float()) - self.mean_D


class CenteredTeacher:
    """An object with `embed`, such as a teacher or an .onnx file, with centered outputs."""

    def __init__(self, network: Any, mean_D: np.ndarray):
        self.network, self.mean_D = network, np.asarray(mean_D, np.float32)
        self.input_size = network.input_size

    def embed(self, images_NHWC: np.ndarray) -> np.ndarray:
        """uint8 RGB images -> (N, D), as the network's own `embed`, centered."""
        return subtract_mean(self.network.embed(images_NHWC), self.mean_D)


def subtract_mean(embeddings_ND: np.ndarray, mean_D: np.ndarray) -> np.ndarray:
    """Embeddings of any length (N, D) -> centered ones."""
    length_N1 = np.maximum(np.linalg.norm(embeddings_ND, axis=1, keepdims=True), 1e-12)
    return embeddings_ND / length_N1 - mean_D


def centered(network: Any, mean_D: np.ndarray) -> Any:
    """A network, nn.Module or with `embed`, with centered outputs."""
    return Centered(network, mean_D) if isinstance(network, nn.Module) else CenteredTeacher(network, mean_D)


def write_means(folder: Path, means: TrainingMeans, model: dict[str, Any]) -> None:
    """Write means.json. model: what it belongs to, {"weights": hash of the state dict} or {"files": name -> SHA-256}."""
    student, teacher = (None if mean_D is None else mean_D.tolist() for mean_D in (means.student_D, means.teacher_D))
    content = {"student": student, "teacher": teacher, "teacher_sha256": means.teacher_sha256, "images": means.images}
    write_atomically(folder / MEANS_FILE, json.dumps(content | {"model": model}).encode())


def read_means(path: str | Path, network: Any) -> TrainingMeans:
    """The training means of the model at `path`, whose loaded network is `network`.

    Raises ValueError where there are none, where they are damaged, and where they belong to another model.
    """
    found = find_model(path).file
    file = found.with_name(MEANS_FILE)
    if not file.is_file():
        raise ValueError(
            f"{path} has no training means ({MEANS_FILE}): `aird train` writes them at the end of a run, and `aird export "
            f"--training-centre` beside the exported file; {WITHOUT}"
        )
    content = read_object(file)
    belongs = content.get("model")
    belongs = belongs if isinstance(belongs, dict) else {}
    if isinstance(network, nn.Module):
        same = belongs.get("weights") == state_sha256(network.state_dict())
    else:
        files = belongs.get("files")
        same = isinstance(files, dict) and files.get(found.name) == file_sha256(found)
    if not same:
        raise ValueError(f"{file} belongs to another model than {found}; continue or repeat its run, or {WITHOUT}")
    student_D, teacher_D = (_mean(file, content, key) for key in ("student", "teacher"))
    return TrainingMeans(student_D, teacher_D, content.get("teacher_sha256"), content.get("images", 0))


def _mean(file: Path, content: dict[str, Any], key: str) -> np.ndarray | None:
    """A mean of the file as float32 (D,), or None."""
    if content.get(key) is None:
        return None
    try:
        mean_D = np.asarray(content[key], np.float32)
    except (TypeError, ValueError):
        mean_D = np.zeros(0, np.float32)
    if mean_D.ndim != 1 or not mean_D.size or not np.isfinite(mean_D).all():
        raise ValueError(f"{file}: {key} is not a list of numbers; repeat the end of its run, or {WITHOUT}")
    return mean_D
