"""A face, or the faces of one identity or track pooled into one: what galleries hold and searches compare."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from aird_plugin.evaluation.pooling import pool
from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.network import brief, listed

GET = "take those that TinyFaceAnalysis.get of the same networks returns"


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


def check_faces(faces: Any, analysis: TinyFaceAnalysis, what: str) -> None:
    """Raise ValueError for a face of other networks, or without what `TinyFaceAnalysis.get` sets. what: its name in errors."""
    networks, dim = analysis.networks, analysis.dim
    for face in as_faces(faces):
        if not isinstance(face, dict) or not hasattr(face, "embedding"):
            raise ValueError(f"{what} must be Face objects, got a {type(face).__name__}; {GET}")
        embedding_D, network, px, quality = (face.get(key) for key in ("embedding", "network_id", "px", "quality"))
        if embedding_D is None:
            continue
        if network is None or px is None or quality is None:
            raise ValueError(f"{what} have no network_id, px and quality, as those of InsightFace's FaceAnalysis; {GET}")
        if network not in networks:
            raise ValueError(
                f"{what} give templates of another model ({brief(str(network))}), which cannot be compared with those of "
                f"{listed(networks.values())}; {GET}"
            )
        if np.shape(embedding_D) != (dim,):
            raise ValueError(f"{what} have embeddings of shape {np.shape(embedding_D)}, the networks give ({dim},); {GET}")
        if not 0 <= quality <= 1 or not px > 0:
            raise ValueError(f"{what} have px {px} and quality {quality}: px is above 0, quality 0 to 1; {GET}")


def check_finite(faces: Sequence[Any], where: str) -> None:
    """Raise ValueError for a face whose embedding is not finite: it would end the search, or the pooling, of all faces.

    where: the photo or frame, for the message.
    """
    for face in faces:
        if face.embedding is not None and not np.isfinite(face.embedding).all():
            x1, y1, x2, y2 = (round(float(side)) for side in face.bbox)
            raise ValueError(
                f"{where}: the embedding of the face at ({x1}, {y1})-({x2}, {y2}) by {face.embedded_by} is not finite; check the "
                "network's weights, and how it is fed (docs/teacher.md)"
            )


def as_faces(faces: Any) -> Sequence:
    """A list of Face objects; InsightFace's Face is a dict, and alone it stands for a list of one."""
    return list(faces) if isinstance(faces, Iterable) and not isinstance(faces, dict) else [faces]
