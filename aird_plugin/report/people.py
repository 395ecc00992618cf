"""Pairs -> people -> a map of them. M = pictures on the map, D = embedding width."""

import numpy as np

from aird_plugin.data.pairs import people_of
from aird_plugin.report.material import PeopleMap

PEOPLE = 10
PICTURES = 4


def pictures_of_people(face_2N: np.ndarray, same_N: np.ndarray) -> list[list[int]]:
    """The distinct faces of each person, rows of the pairs' pictures; who has most first."""
    groups: dict[int, list[int]] = {}
    faces, first = np.unique(face_2N, return_index=True)
    for face, person in zip(faces.tolist(), people_of(face_2N, same_N)[first].tolist(), strict=True):
        groups.setdefault(person, []).append(face)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0]))


def shown_people(face_2N: np.ndarray, same_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces (M,) of the ten people with most pictures, four or more each, and whose they are (M,)."""
    groups = [group for group in pictures_of_people(face_2N, same_N)[:PEOPLE] if len(group) >= PICTURES]
    faces = [face for group in groups for face in group]
    return np.array(faces, int), np.array([person for person, group in enumerate(groups) for _ in group], int)


def people_map(name: str, embeddings_MD: np.ndarray, person_M: np.ndarray) -> PeopleMap:
    """L2-normalised embeddings on a plane: scikit-learn's t-SNE, or two principal components where that is not installed."""
    place_M2, how = _tsne(embeddings_MD)
    if place_M2 is None:
        centred_MD = embeddings_MD - embeddings_MD.mean(axis=0)
        place_M2 = centred_MD @ np.linalg.svd(centred_MD, full_matrices=False)[2][:2].T
    return PeopleMap(name, place_M2, person_M, nearest_is_same(embeddings_MD, person_M), how)


def nearest_is_same(embeddings_MD: np.ndarray, person_M: np.ndarray) -> float:
    """Share of pictures, 0..1, whose nearest other picture shows the same person."""
    cosine_MM = embeddings_MD @ embeddings_MD.T
    np.fill_diagonal(cosine_MM, -np.inf)
    return float(np.mean(person_M[cosine_MM.argmax(axis=1)] == person_M))


def _tsne(embeddings_MD: np.ndarray) -> tuple[np.ndarray | None, str]:
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        return None, "two principal components (t-SNE needs `pip install aird_plugin[report]`)"
    perplexity = min(30.0, (len(embeddings_MD) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", metric="cosine", random_state=0)
    return tsne.fit_transform(np.asarray(embeddings_MD, np.float64)), f"t-SNE, perplexity {perplexity:.0f}"
