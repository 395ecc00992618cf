"""Are the faces a model is tested on among those it is trained on, as the same picture or as the same person?

N = training faces, Q = faces that are looked up, D = embedding width.
"""

from pathlib import Path

import numpy as np

from aird_plugin.data.pairs import first_places, pair_faces, read_pairs
from aird_plugin.inspection.finding import Finding
from aird_plugin.inspection.likeness import unit
from aird_plugin.progress import progress

TAIL = 32
QUERIES = 500
ROW_BLOCK = 65536
# Of strangers one in a hundred is so alike by definition; five in a hundred is no accident of 500.
ALIKE_QUANTILE, MOST_ALIKE = 0.99, 0.05
NOBODY = -1


def about_pictures(records, target: str) -> Finding:
    """Whether pictures of a .bin file are, byte for byte, training faces."""
    images = read_pairs(target).images
    shared = shared_pictures(records, images)
    name = Path(target).name
    if not shared:
        return Finding("ok", f"no picture of {name} is among the training faces")
    image, row = next(iter(shared.items()))
    return Finding(
        "doubt",
        f"{len(shared)} of {len(set(images))} pictures of {name} are training faces (one of pair {image // 2} is face {row})",
        "its accuracy says nothing about people that a model has not seen; leave their people out of the training faces",
    )


def shared_pictures(records, images: list[bytes]) -> dict[int, int]:
    """Place of each distinct image that is also a training face -> that face's row."""
    place_of = {image: place for place, image in reversed(list(enumerate(images)))}
    # Most training faces are told from all images by their length and end, which costs no hash of the whole picture.
    ends = {(len(image), image[-TAIL:]) for image in place_of}
    found = {}
    for row in progress(range(len(records)), len(records), "pictures in both training and tests", "faces"):
        payload = bytes(records.payload(row))
        if (len(payload), payload[-TAIL:]) in ends and payload in place_of:
            found.setdefault(place_of[payload], row)
    return found


def about_people_in_both(bank, teacher, target: str, seed: int = 0) -> Finding:
    """Whether test faces look like training faces more often than strangers do, as the teacher sees it."""
    rng = np.random.default_rng(seed)
    pairs = read_pairs(target)
    distinct = np.unique(first_places(pairs.images))
    chosen = rng.permutation(distinct)[:QUERIES]
    faces = pair_faces(pairs._replace(images=[pairs.images[place] for place in chosen]))
    test_QD = unit(teacher.embed(faces))
    row_Q = rng.permutation(len(bank.person_N))[:QUERIES]
    stranger_Q = nearest(bank, unit(bank.embeddings_NVD[row_Q, 0].astype(np.float32)), bank.person_N[row_Q])
    limit = np.quantile(stranger_Q, ALIKE_QUANTILE)
    share = float((nearest(bank, test_QD, np.full(len(test_QD), NOBODY)) > limit).mean())
    told = (
        f"{share:.0%} of {len(test_QD)} faces of {Path(target).name} have a training face more alike (cosine above {limit:.2f}) "
        f"than all but {1 - ALIKE_QUANTILE:.0%} of training faces have a stranger"
    )
    if share <= MOST_ALIKE:
        return Finding("ok", told)
    return Finding("doubt", told, "people of this test are probably among the training faces; test on others")


def nearest(bank, query_QD: np.ndarray, person_Q: np.ndarray) -> np.ndarray:
    """Cosine of each query to the most alike training face, in its plain view, that is not `person_Q`'s. (Q,)"""
    best_Q = np.full(len(query_QD), -1.0, np.float32)
    for start in range(0, len(bank.person_N), ROW_BLOCK):
        rows = slice(start, start + ROW_BLOCK)
        cosine_QN = query_QD @ bank.embeddings_NVD[rows, 0].astype(np.float32).T
        cosine_QN[person_Q[:, None] == bank.person_N[rows]] = -1
        best_Q = np.maximum(best_Q, cosine_QN.max(1))
    return best_Q
