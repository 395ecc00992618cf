"""What the sections of a report draw: plain data, no network and no file among it. N = pairs, D = embedding width."""

import statistics
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aird_plugin.evaluation.verification import wilson_interval
from aird_plugin.report.charts import TEACHER, Look, look
from aird_plugin.report.runs import Method

TEACHER_NAME = "teacher"
TRAITS = ("facebn", "centre")


@dataclass(frozen=True)
class Scores:
    """The pairs of one question: their cosines, and the error rates at every threshold."""

    cosine_N: np.ndarray
    same_N: np.ndarray
    far_T: np.ndarray
    frr_T: np.ndarray


@dataclass(frozen=True)
class Answer:
    """One row of `aird evaluate`, whose it is, with which teacher, and the scores behind it where they were computed here."""

    name: str
    seed: int | None
    model: str
    teacher: str | None
    row: dict
    scores: Scores | None = None

    @property
    def plain(self) -> bool:
        """Neither FaceBN nor centring."""
        return not any(self.row.get(trait) for trait in TRAITS)


@dataclass(frozen=True)
class Standing:
    """A method's answers to one question over its seeds, in per cent: mean, spread of seeds, interval of pairs."""

    name: str
    values: list[float]
    mean: float
    spread: float | None
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class PeopleMap:
    """Pictures of some people on a plane, and how often a picture's nearest neighbour in the full width is the same person."""

    name: str
    place_M2: np.ndarray
    person_M: np.ndarray
    nearest: float
    how: str


@dataclass(frozen=True)
class Norms:
    """A student's BatchNorm before the tested faces: for each layer the distance of their channel means from the layer's, in its
    own standard deviations, before and after FaceBN."""

    name: str
    keep: float
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]


@dataclass(frozen=True)
class HardPair:
    """A pair that is hard for most: PNG files of what the networks saw and of the pictures behind, and who judged how."""

    number: int
    same: bool
    low: tuple[bytes, bytes]
    high: tuple[bytes, bytes]
    verdicts: list[tuple[str, float, bool]]


@dataclass(frozen=True)
class Focus:
    """The question that the pictures are about, the first pairs file at the first px, and what only embeddings can show."""

    pairs: str
    px: int
    people: int = 0
    maps: list[PeopleMap] = field(default_factory=list)
    norms: list[Norms] = field(default_factory=list)
    hard: list[HardPair] = field(default_factory=list)


@dataclass(frozen=True)
class Material:
    """All that a report is made of. notes: what was left out, and why."""

    methods: list[Method]
    answers: list[Answer]
    focus: Focus | None
    command: str
    notes: list[str]

    @property
    def names(self) -> list[str]:
        """Methods in the order given, the teacher last where it answered."""
        names = [method.name for method in self.methods]
        return names + [TEACHER_NAME] * any(answer.name == TEACHER_NAME for answer in self.answers)

    def look(self, name: str) -> Look:
        """The same look in every panel."""
        names = [method.name for method in self.methods]
        return look(names.index(name)) if name in names else TEACHER

    def asked(self) -> list[tuple[str, str]]:
        """(pairs file, protocol) that somebody answered, in that order."""
        return list(dict.fromkeys((answer.row["pairs"], answer.row["protocol"]) for answer in self.answers))

    def find(self, **wanted) -> list[Answer]:
        """Plain answers to a question: pairs=, px=, protocol=, name=."""
        return [
            answer for answer in self.answers
            if answer.plain and all((answer.row | {"name": answer.name}).get(key) == value for key, value in wanted.items())
        ]  # fmt: skip

    def standings(self, **wanted) -> list[Standing]:
        """Every method that answered one question, best first."""
        found = [(name, self.find(name=name, **wanted)) for name in self.names]
        return sorted((standing(name, answers) for name, answers in found if answers), key=lambda s: -s.mean)


def standing(name: str, answers: list[Answer]) -> Standing:
    """Over seeds: the mean, the sample standard deviation (None for one seed), and Wilson's interval at that mean.

    The seeds meet the same pairs, so they do not make the interval narrower: it is that of one set of pairs.
    """
    values, pairs = [answer.row["accuracy"] for answer in answers], answers[0].row["n_pairs"]
    mean = statistics.mean(values)
    low, high = answers[0].row["ci95"]
    if len(values) > 1:
        low, high = (100 * end for end in wilson_interval(round(mean / 100 * pairs), pairs))
    return Standing(name, values, mean, statistics.stdev(values) if len(values) > 1 else None, low, high, pairs)


def file_name(path: str) -> str:
    """How a pairs file is called in a heading."""
    return Path(path).stem
