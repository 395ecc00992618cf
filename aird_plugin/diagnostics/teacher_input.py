"""Checks whether the teacher recognises the training identities, and whether a changed input would suit it better.

Wrong channel order, scaling or crops cost a teacher too little to show in a loss, but ruin the student. The check embeds the
same images with changes that would undo such a mistake. A change that improves the teacher significantly indicates the mistake.

P = identities of a sample, two images each: images 2i and 2i + 1 share an identity; D = embedding width.
"""

from collections.abc import Callable, Iterator

import numpy as np

from aird_plugin.data.records import decode_face
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.diagnostics.row_samples import row_windows
from aird_plugin.utils.vectors import normalise

MAX_IDENTITIES = 150
MIN_IDENTITIES = 20
# Least plausible AUC. Real teachers on aligned HR images: above 0.98; random weights, or images upside down: 0.6 to 0.7.
MIN_AUC = 0.9
# A change that undoes no mistake has a t below 0; of six changes over runs without a mistake, none comes near 4 by chance.
MIN_T = 4.0
# An image counts as coloured from this mean difference of red and blue, in grey levels.
MIN_COLOUR = 8.0
ZOOM, SHIFT = 1.15, 8


def check_teacher_input(teacher, records, seed: int = 0) -> Iterator[Diagnostic]:
    """Run the teacher on a sample of the images, unchanged and with each change."""
    images_2PHWC, coloured = sample_pairs(records, seed)
    identities = len(images_2PHWC) // 2
    if identities < MIN_IDENTITIES:
        yield Diagnostic(
            "note",
            f"identities with two images: {identities}; the teacher is checked on {MIN_IDENTITIES} or more",
        )
        return
    unchanged_2PD = normalise(teacher.embed(images_2PHWC))
    yield auc_diagnostic(verification_auc(unchanged_2PD), identities)
    margin_P = margins(unchanged_2PD)
    t_of = {}
    for change, apply in input_changes(coloured).items():
        t_of[change] = t_statistic(margins(normalise(teacher.embed(apply(images_2PHWC)))) - margin_P)
    change = max(t_of, key=t_of.get)
    if t_of[change] > MIN_T:
        yield Diagnostic(
            "warning",
            f"the teacher separates the identities better {change} (t = {t_of[change]:.1f} over {identities} identities)",
            "check how the images were cropped and stored, and which input this teacher was trained on; `aird doctor --teacher "
            "FILE --rec FOLDER` compares ways to feed it",
        )
    else:
        yield Diagnostic("ok", f"no change of crop, scale{' or channel order' if coloured else ''} improves the teacher")
    if not coloured:
        yield Diagnostic("note", "the images are grey", "a swap of RGB and BGR cannot be detected")


def auc_diagnostic(auc: float, identities: int, origin: str = "") -> Diagnostic:
    """Compare a verification AUC, over identities with two images each, with the least plausible one.

    origin: of the embeddings, where not the teacher as it is fed now.
    """
    text = f"the teacher's verification AUC on {identities} identities is {auc:.3f}{origin}"
    if auc >= MIN_AUC:
        return Diagnostic("ok", text)
    return Diagnostic(
        "warning",
        f"{text}; a teacher that suits its images reaches {MIN_AUC} or more",
        "check weights, channel order, scaling, crops and labels; `aird doctor RECIPE` narrows it down",
    )


def sample_pairs(records, seed: int = 0, identities: int = MAX_IDENTITIES) -> tuple[np.ndarray, bool]:
    """Two images of each of up to `identities` identities, uint8 (2P, 112, 112, 3), and whether they are coloured.

    Coloured images are preferred where there are enough of them.
    """
    rng = np.random.default_rng(seed)
    rows_P2 = two_rows_per_identity(records.labels, 4 * identities, rng)
    if not len(rows_P2):
        return np.empty((0, 112, 112, 3), np.uint8), False
    images_P2HWC = np.stack([[decode_face(records, int(row)) for row in rows_2] for rows_2 in rows_P2])
    coloured_P = coloured_images(images_P2HWC).all(1)
    coloured = bool(coloured_P.sum() >= min(MIN_IDENTITIES, len(rows_P2)))
    chosen_P2HWC = images_P2HWC[coloured_P] if coloured else images_P2HWC
    return chosen_P2HWC[:identities].reshape(-1, *images_P2HWC.shape[2:]), coloured


def coloured_images(images_XHWC: np.ndarray) -> np.ndarray:
    """Whether red and blue differ in each image. uint8 (..., H, W, 3) -> bool (...)"""
    return np.abs(images_XHWC[..., 0].astype(np.int16) - images_XHWC[..., 2]).mean((-2, -1)) > MIN_COLOUR


def two_rows_per_identity(label_N: np.ndarray, max_identities: int, rng: np.random.Generator) -> np.ndarray:
    """Two random rows of each of at most `max_identities` random identities that have two or more. (P, 2)

    Of a large set, among the rows of random windows.
    """
    shuffled = rng.permutation(row_windows(rng, len(label_N)))
    by_label = shuffled[np.argsort(label_N[shuffled], kind="stable")]
    same = np.flatnonzero(label_N[by_label][1:] == label_N[by_label][:-1])
    first = same[np.diff(label_N[by_label][same], prepend=-1) != 0]
    first = rng.permutation(first)[:max_identities]
    return np.stack([by_label[first], by_label[first + 1]], 1)


def cosines(embeddings_2PD: np.ndarray) -> np.ndarray:
    """Cosine of each identity's first image and each identity's second image. (P, P)"""
    return embeddings_2PD[0::2].astype(np.float64) @ embeddings_2PD[1::2].T


def verification_auc(embeddings_2PD: np.ndarray) -> float:
    """Share of (genuine, impostor) pairs in which the genuine cosine is higher; ties count half. 0..1"""
    cosine_PP = cosines(embeddings_2PD)
    impostors = np.sort(cosine_PP[~np.eye(len(cosine_PP), dtype=bool)])
    genuine_P = np.diag(cosine_PP)
    below = np.searchsorted(impostors, genuine_P, side="left") + np.searchsorted(impostors, genuine_P, side="right")
    return float(below.mean() / 2 / len(impostors))


def margins(embeddings_2PD: np.ndarray) -> np.ndarray:
    """Each identity's genuine cosine minus the highest impostor cosine of its two images. (P,)"""
    cosine_PP = cosines(embeddings_2PD)
    genuine_P = np.diag(cosine_PP).copy()
    np.fill_diagonal(cosine_PP, -1)
    return genuine_P - np.maximum(cosine_PP.max(0), cosine_PP.max(1))


def t_statistic(gain_P: np.ndarray) -> float:
    """Student's t of the mean gain; 0 where the gains do not vary."""
    spread = gain_P.std(ddof=1)
    return float(gain_P.mean() / (spread / np.sqrt(len(gain_P)))) if spread > 0 else 0.0


def input_changes(coloured: bool) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Description -> change of uint8 images (X, 112, 112, 3)."""
    changes = {
        "zoomed in": lambda images: zoom_and_shift(images, ZOOM, 0),
        "zoomed out": lambda images: zoom_and_shift(images, 1 / ZOOM, 0),
        "moved down": lambda images: zoom_and_shift(images, 1, SHIFT),
        "moved up": lambda images: zoom_and_shift(images, 1, -SHIFT),
        "upside down": lambda images: np.ascontiguousarray(images[:, ::-1]),
        "with its input scaled to 0..1 instead of -1..1": lambda images: (127.5 + images / 2).astype(np.uint8),
    }
    if coloured:
        changes["with red and blue swapped"] = lambda images: np.ascontiguousarray(images[..., ::-1])
    return changes


def zoom_and_shift(images_XHWC: np.ndarray, zoom: float, down: float) -> np.ndarray:
    """Images enlarged about their center and moved down by `down` pixels, black outside the source."""
    from PIL import Image

    side = images_XHWC.shape[1]
    edge = side / 2 - side / zoom / 2
    matrix = (1 / zoom, 0, edge, 0, 1 / zoom, edge - down)
    arguments = ((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.stack([np.asarray(Image.fromarray(image_HWC).transform(*arguments)) for image_HWC in images_XHWC])
