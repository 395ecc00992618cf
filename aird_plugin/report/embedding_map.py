"""Projects the embeddings of a few identities onto two dimensions. N = pairs, M = images on the map, D = embedding width."""

import numpy as np

from aird_plugin.data.pairs import identities_of
from aird_plugin.report.data import IdentityMap

IDENTITIES = 10
MIN_IMAGES = 4
# Embeddings have length 1; float32 rounds their values to 1e-7.
ALIKE = 1e-6


def images_by_identity(face_2N: np.ndarray, same_N: np.ndarray) -> list[list[int]]:
    """The distinct images of each identity, as indices into the pairs' images; the identity with most images first."""
    groups: dict[int, list[int]] = {}
    images, first = np.unique(face_2N, return_index=True)
    for image, identity in zip(images.tolist(), identities_of(face_2N, same_N)[first].tolist(), strict=True):
        groups.setdefault(identity, []).append(image)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0]))


def shown_images(face_2N: np.ndarray, same_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images (M,) of the ten identities with most images, four or more each, and their labels (M,)."""
    groups = [group for group in images_by_identity(face_2N, same_N)[:IDENTITIES] if len(group) >= MIN_IMAGES]
    images = [image for group in groups for image in group]
    return np.array(images, int), np.array([label for label, group in enumerate(groups) for _ in group], int)


def identity_map(name: str, embeddings_MD: np.ndarray, label_M: np.ndarray) -> IdentityMap:
    """L2-normalised embeddings in two dimensions: t-SNE (scikit-learn), or two principal components if it is not installed."""
    # For a collapsed student t-SNE returns nan, because it divides by the spread.
    alike = np.ptp(embeddings_MD, axis=0).max() < ALIKE
    point_M2, how = (None, "two principal components, all alike") if alike else _tsne(embeddings_MD)
    if point_M2 is None:
        centered_MD = embeddings_MD - embeddings_MD.mean(axis=0)
        point_M2 = centered_MD @ np.linalg.svd(centered_MD, full_matrices=False)[2][:2].T
    return IdentityMap(name, point_M2, label_M, nearest_is_same(embeddings_MD, label_M), how)


def nearest_is_same(embeddings_MD: np.ndarray, label_M: np.ndarray) -> float:
    """Share of images, 0..1, whose nearest other image has the same identity."""
    cosine_MM = embeddings_MD @ embeddings_MD.T
    np.fill_diagonal(cosine_MM, -np.inf)
    return float(np.mean(label_M[cosine_MM.argmax(axis=1)] == label_M))


def _tsne(embeddings_MD: np.ndarray) -> tuple[np.ndarray | None, str]:
    """t-SNE to two dimensions and a description of the method; (None, description) without scikit-learn."""
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        return None, "two principal components (t-SNE needs scikit-learn: pip install aird_plugin[report])"
    perplexity = min(30.0, (len(embeddings_MD) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", metric="cosine", random_state=0)
    return tsne.fit_transform(np.asarray(embeddings_MD, np.float64)), f"t-SNE, perplexity {perplexity:.0f}"
