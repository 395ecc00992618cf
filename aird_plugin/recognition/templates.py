"""A face, or the faces of one identity or track pooled into one: what galleries hold and searches compare."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from aird_plugin.evaluation.pooling import pool


class Template(NamedTuple):
    """vector_D: L2-normalised float32. px and network (an identity hash): of its crops, for the threshold. n_crops: how many."""

    vector_D: np.ndarray
    px: float
    network: str
    n_crops: int


def template_of(faces: Any) -> Template | None:
    """Pool the faces of one identity or track, weighted by their quality; a Face alone is one. None if none has an embedding.

    px is the weighted mean over the crops, network the one of the greatest weight. Raises ValueError as `pool` does.
    """
    faces = [face for face in as_faces(faces) if face.embedding is not None]
    if not faces:
        return None
    quality_N = np.array([face.quality for face in faces])
    weights: dict[str, float] = {}
    for face in faces:
        weights[face.network_id] = weights.get(face.network_id, 0.0) + face.quality
    vector_D = pool(np.stack([face.embedding for face in faces]), quality_N)
    px = float(np.average([face.px for face in faces], weights=quality_N))
    return Template(vector_D, px, max(weights, key=lambda network: weights[network]), len(faces))


def as_faces(faces: Any) -> Sequence:
    """A list of Face objects; InsightFace's Face is a dict, and alone it stands for a list of one."""
    return [faces] if isinstance(faces, dict) else list(faces)
