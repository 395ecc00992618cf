"""Does the teacher recognise these people, and would it, were the faces given to it in another way?

Wrong channel order, scaling or crops cost a teacher little enough to go unnoticed in a loss, and a student all that it could have
learnt. They are found by asking the teacher about the same faces changed in ways that would undo the mistake: where a change
makes it better, surely, something is wrong.

P = people of a sample, two faces each: faces 2i and 2i + 1 are one person's; D = embedding width.
"""

from collections.abc import Callable, Iterator

import numpy as np

from aird_plugin.data.bank_build import decode_face
from aird_plugin.inspection.finding import Finding

PEOPLE = 150
FEWEST_PEOPLE = 20
# The least AUC that is plausible. Real teachers on sharp, aligned faces: above 0.98; random weights, or upside down: 0.6 to 0.7.
LEAST_AUC = 0.9
# A change that undoes nothing scores below 0; of six changes over runs without a mistake, none comes near this by chance.
SURE_T = 4.0
# Mean difference of red and blue, in grey levels, from which a picture has colour.
COLOUR = 8.0
ZOOM, SHIFT = 1.15, 8


def about_teacher(teacher, records, seed: int = 0) -> Iterator[Finding]:
    """Ask the teacher about some of the faces, as they are and changed."""
    faces_2PHWC, coloured = sample(records, seed)
    people = len(faces_2PHWC) // 2
    if people < FEWEST_PEOPLE:
        yield Finding("note", f"{people} people with two faces are too few to judge the teacher by")
        return
    as_is_2PD = unit(teacher.embed(faces_2PHWC))
    auc = separation(as_is_2PD)
    yield plausible(auc, people)
    margin_P = margins(as_is_2PD)
    better = {}
    for change, apply in changes(coloured).items():
        gain_P = margins(unit(teacher.embed(apply(faces_2PHWC)))) - margin_P
        better[change] = sureness(gain_P)
    change = max(better, key=better.get)
    if better[change] > SURE_T:
        yield Finding(
            "doubt",
            f"the teacher knows these people better {change} (t = {better[change]:.1f} over {people} people)",
            "see how the faces were cropped and stored, and what input this teacher was trained on",
        )
    else:
        yield Finding("ok", f"no change of crop, scale{' or channel order' if coloured else ''} makes the teacher better")
    if not coloured:
        yield Finding("note", "the faces are grey", "whether RGB and BGR were swapped cannot be seen")


def plausible(auc: float, people: int) -> Finding:
    """The finding about an AUC over people with two faces each."""
    told = f"the teacher tells {people} people apart with an AUC of {auc:.3f}"
    if auc >= LEAST_AUC:
        return Finding("ok", told)
    return Finding(
        "doubt", f"{told}; one that fits its faces reaches {LEAST_AUC} and more",
        "wrong weights, channel order, scaling or crops look like this, or wrong labels; `aird doctor RECIPE` asks on",
    )  # fmt: skip


def sample(records, seed: int = 0) -> tuple[np.ndarray, bool]:
    """Two faces of each of `PEOPLE` people, uint8 (2P, 112, 112, 3), in colour where enough are, and whether they are."""
    rng = np.random.default_rng(seed)
    rows_P2 = two_rows_each(records.labels, 4 * PEOPLE, rng)
    faces_P2HWC = np.stack([[decode_face(records, int(row)) for row in rows_2] for rows_2 in rows_P2]) if len(rows_P2) else None
    if faces_P2HWC is None:
        return np.empty((0, 112, 112, 3), np.uint8), False
    difference_P = np.abs(faces_P2HWC[..., 0].astype(np.int16) - faces_P2HWC[..., 2]).mean((2, 3)).min(1)
    colourful = difference_P > COLOUR
    coloured = bool(colourful.sum() >= min(FEWEST_PEOPLE, len(rows_P2)))
    chosen_P2HWC = faces_P2HWC[colourful] if coloured else faces_P2HWC
    return chosen_P2HWC[:PEOPLE].reshape(-1, *faces_P2HWC.shape[2:]), coloured


def two_rows_each(person_N: np.ndarray, people: int, rng: np.random.Generator) -> np.ndarray:
    """Two rows of each of at most `people` people who have two, drawn at random. (P, 2)"""
    shuffled = rng.permutation(len(person_N))
    by_person = shuffled[np.argsort(person_N[shuffled], kind="stable")]
    same = np.flatnonzero(person_N[by_person][1:] == person_N[by_person][:-1])
    first = same[np.diff(person_N[by_person][same], prepend=-1) != 0]
    first = rng.permutation(first)[:people]
    return np.stack([by_person[first], by_person[first + 1]], 1)


def unit(embeddings_XD: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    return embeddings_XD / np.maximum(np.linalg.norm(embeddings_XD, axis=1, keepdims=True), 1e-12)


def cosines(embeddings_2PD: np.ndarray) -> np.ndarray:
    """Everybody's first face against everybody's second. (P, P)"""
    return embeddings_2PD[0::2].astype(np.float64) @ embeddings_2PD[1::2].T


def separation(embeddings_2PD: np.ndarray) -> float:
    """AUC: how often two faces of a person are more alike than two of different people. 0..1"""
    cosine_PP = cosines(embeddings_2PD)
    strangers = np.sort(cosine_PP[~np.eye(len(cosine_PP), dtype=bool)])
    own_P = np.diag(cosine_PP)
    below = np.searchsorted(strangers, own_P, side="left") + np.searchsorted(strangers, own_P, side="right")
    return float(below.mean() / 2 / len(strangers))


def margins(embeddings_2PD: np.ndarray) -> np.ndarray:
    """How much more alike each person's two faces are than the nearer of them to anyone else's. (P,)"""
    cosine_PP = cosines(embeddings_2PD)
    own_P = np.diag(cosine_PP).copy()
    np.fill_diagonal(cosine_PP, -1)
    return own_P - np.maximum(cosine_PP.max(0), cosine_PP.max(1))


def sureness(gain_P: np.ndarray) -> float:
    """Student's t of the mean gain; 0 where nothing varies."""
    spread = gain_P.std(ddof=1)
    return float(gain_P.mean() / (spread / np.sqrt(len(gain_P)))) if spread > 0 else 0.0


def changes(coloured: bool) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What the teacher is asked about: in words, and as a change of uint8 faces (X, 112, 112, 3)."""
    found = {
        "zoomed in": lambda faces: moved(faces, ZOOM, 0),
        "zoomed out": lambda faces: moved(faces, 1 / ZOOM, 0),
        "moved down": lambda faces: moved(faces, 1, SHIFT),
        "moved up": lambda faces: moved(faces, 1, -SHIFT),
        "upside down": lambda faces: np.ascontiguousarray(faces[:, ::-1]),
        "with its input scaled to 0..1 instead of -1..1": lambda faces: (127.5 + faces / 2).astype(np.uint8),
    }
    swapped = {"with red and blue swapped": lambda faces: np.ascontiguousarray(faces[..., ::-1])}
    return found | (swapped if coloured else {})


def moved(faces_XHWC: np.ndarray, zoom: float, down: float) -> np.ndarray:
    """Faces enlarged about their middle and moved down by so many pixels; what comes from outside is black."""
    from PIL import Image

    side = faces_XHWC.shape[1]
    edge = side / 2 - side / zoom / 2
    matrix = (1 / zoom, 0, edge, 0, 1 / zoom, edge - down)
    how = ((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.stack([np.asarray(Image.fromarray(face_HWC).transform(*how)) for face_HWC in faces_XHWC])
