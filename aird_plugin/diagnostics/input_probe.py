"""Tries the plausible ways to feed a teacher on labelled images, and tests whether one is clearly better than the present one.

N = pairs, U = distinct images, P = identities with two images each, D = embedding width.
"""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.data.pairs import Pairs, distinct_faces, identities_of, read_pairs
from aird_plugin.diagnostics.teacher_input import MIN_IDENTITIES, MIN_T, coloured_images, margins, sample_pairs, t_statistic
from aird_plugin.evaluation.significance import compare, holm, identity_interval, winner
from aird_plugin.evaluation.verification import fold_decisions, verify
from aird_plugin.models.teacher_input import TeacherInput
from aird_plugin.utils.progress import progress
from aird_plugin.utils.vectors import normalise

RAW = (0, 1)
# (mean, std) in grey levels: InsightFace's, none, 0..1, ImageNet's. Others, such as (127, 128), are within half a grey level of
# the first, which no few hundred pairs show.
NORMALISATIONS: tuple[Any, ...] = ((127.5, 127.5), RAW, (0, 255), ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
MAX_PAIRS = 300
# Least mean gain of a margin, in cosines: a std of 128 instead of 127.5 changes it by 0.0001, BGR instead of RGB by 0.04.
MIN_GAIN = 0.005


@dataclass(frozen=True)
class Sample:
    """Labelled pairs: uint8 images (U, 112, 112, 3), the two of each pair (2N,), same (N,), identity of each (2N,), in colour?"""

    images_UHWC: np.ndarray
    face_2N: np.ndarray
    same_N: np.ndarray
    label_2N: np.ndarray
    coloured: bool

    @property
    def genuine_2P(self) -> np.ndarray:
        """The images of the first genuine pair of each identity."""
        pairs = np.flatnonzero(self.same_N)
        _, first = np.unique(self.label_2N[2 * pairs], return_index=True)
        return self.face_2N.reshape(-1, 2)[pairs[np.sort(first)]].ravel()


@dataclass(frozen=True)
class Way:
    """One way of feeding and its figures, gains relative to the present way.

    accuracy: per cent of pairs; auc: 0..1; gain: mean gain of the identities' margins, in cosines, ci95 its interval over
    identities, t its Student's t; row: the paired test of the decisions on pairs (evaluation/significance.py).
    """

    stated: TeacherInput
    accuracy: float
    auc: float
    gain: float
    ci95: tuple[float, float]
    t: float
    row: dict[str, Any]
    present: bool = False

    @property
    def is_clearly_better(self) -> bool:
        """Larger margins than the present way by a paired t-test, or larger ones and significantly more pairs correct.

        The margins are the sharper test. Accuracy alone is not believed: its thresholds rest on few pairs.
        """
        return self.gain > MIN_GAIN and (self.t > MIN_T or winner(self.row) == "a")


def sample_of_pairs(file: str | Path, count: int = MAX_PAIRS) -> Sample:
    """Evenly spaced pairs of each kind of a .bin, in proportion. Raises what `read_pairs` and `distinct_faces` raise."""
    pairs = read_pairs(file)
    share = min(1.0, count / len(pairs.same))
    # Apart, since an even step would take one kind alone of pairs whose kinds alternate.
    kinds = [np.flatnonzero(pairs.same == kind) for kind in (True, False)]
    evenly = [kind[np.linspace(0, len(kind) - 1, round(share * len(kind)), dtype=int)] for kind in kinds]
    chosen = np.sort(np.concatenate(evenly))
    kept = Pairs([image for pair in chosen for image in pairs.images[2 * pair : 2 * pair + 2]], pairs.same[chosen])
    images_UHWC, face_2N = distinct_faces(kept)
    coloured = bool(coloured_images(images_UHWC).sum() >= len(images_UHWC) / 2)
    return Sample(images_UHWC, face_2N, kept.same, identities_of(face_2N, kept.same), coloured)


def sample_of_records(records, seed: int = 0) -> Sample:
    """Two images of each of up to 150 identities: a genuine pair of each, and an impostor pair with the next one.

    Raises ValueError for too few identities with two images.
    """
    images_2PHWC, coloured = sample_pairs(records, seed)
    identities = len(images_2PHWC) // 2
    if identities < MIN_IDENTITIES:
        raise ValueError(f"{records.path} has {identities} identities with two images; {MIN_IDENTITIES} are needed")
    first_P = 2 * np.arange(identities)
    face_2N = np.stack([first_P, first_P + 1, first_P, np.roll(first_P + 1, -1)], 1).ravel()
    return Sample(images_2PHWC, face_2N, np.tile([True, False], identities), face_2N // 2, coloured)


def ways_to_feed(teacher, coloured: bool = True) -> list[TeacherInput]:
    """The plausible ways that this teacher's file leaves open, the present one first."""
    colors = ("rgb", "bgr") if coloured else (teacher.input.color,)
    levels = NORMALISATIONS if teacher.input.dtype != "uint8" else (RAW,)
    outputs = tuple(getattr(teacher, "dims", ()))
    outputs = outputs if len(outputs) > 1 else (None,)
    grid = itertools.product(outputs, levels, colors)
    ways = [TeacherInput(color, mean, std, output=output) for output, (mean, std), color in grid]
    output = teacher.input.output if len(outputs) > 1 else None
    present = replace(teacher.input, layout=None, size=None, dtype=None, output=output)
    return [present, *(way for way in ways if way != present)]


def probe(teacher, sample: Sample) -> list[Way]:
    """Every way with its figures, best first by the gain of the margins. Raises ValueError as `verify` does."""
    ways = ways_to_feed(teacher, sample.coloured)
    steps = progress(ways, len(ways), "ways to feed the teacher", "ways")
    known = [embedded(teacher, way, sample.images_UHWC) for way in steps]
    decisions = [fold_decisions(e_UD[sample.face_2N], sample.same_N) for e_UD in known]
    rows = [compare(decision_N, decisions[0], sample.label_2N) for decision_N in decisions]
    for row, p in zip(rows, [1.0, *holm([row["p"] for row in rows[1:]])], strict=True):
        row["p_holm"] = p
    margins_of = [margins(e_UD[sample.genuine_2P]) for e_UD in known]
    identity_2P = np.repeat(np.arange(len(margins_of[0])), 2)
    found = []
    for way, e_UD, margin_P, row in zip(ways, known, margins_of, rows, strict=True):
        figures, gain_P = verify(e_UD[sample.face_2N], sample.same_N), margin_P - margins_of[0]
        tested = float(gain_P.mean()), identity_interval(gain_P, identity_2P), t_statistic(gain_P)
        found.append(Way(way, figures["accuracy"], figures["auc"], *tested, row, way is ways[0]))
    return sorted(found, key=lambda way: -way.gain)


def embedded(teacher, way: TeacherInput, images_UHWC: np.ndarray) -> np.ndarray:
    """Normalised embeddings of the images, fed in this way. float64 (U, D)"""
    return normalise(teacher.with_input(way).embed(images_UHWC).astype(np.float64))


def flag_value(way: TeacherInput) -> str:
    """A way as --teacher-input takes it: `color=bgr,mean=127.5,std=128`."""
    return ",".join(f"{key}={tuple(value) if isinstance(value, list) else value}" for key, value in way.describe().items())


def best_of(ways: list[Way]) -> Way | None:
    """The clearly better way with the largest margins; None where none is better than the present one."""
    return max((way for way in ways if way.is_clearly_better), key=lambda way: way.gain, default=None)
