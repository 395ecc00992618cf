"""A report's options, and the data that its sections draw: plain values, no networks and no files.

N = pairs, M = images on a map.
"""

import statistics
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from aird_plugin.data.degradation import BICUBIC
from aird_plugin.evaluation.comparison import short_names
from aird_plugin.evaluation.verification import wilson_interval
from aird_plugin.report.charts import TEACHER, SeriesStyle, series_style
from aird_plugin.report.runs import TEACHER_NAME, Method

VARIANTS = ("facebn", "centre")


@dataclass(frozen=True)
class ReportOptions:
    """The evaluations of every run. pairs: .bin files; px: sides of LR images, () for the px of the runs' training.

    teacher: file. high_side: "student" or "teacher". faces: False leaves the images of the hardest pairs out.
    include_bn1d: whether FaceBN adapts BatchNorm1d too.
    """

    pairs: tuple[str, ...] = ()
    px: tuple[int, ...] = ()
    teacher: str | None = None
    high_side: str | None = None
    degradation: str = "bicubic"
    faces: bool = True
    teacher_input: dict | None = None
    include_bn1d: bool = False


@dataclass(frozen=True)
class Scores:
    """The pairs of one evaluation: their cosines, and the error rates at every threshold."""

    cosine_N: np.ndarray
    same_N: np.ndarray
    far_T: np.ndarray
    frr_T: np.ndarray


@dataclass(frozen=True)
class EvalResult:
    """One row of `aird evaluate` with its method, model and teacher, and the scores where they were computed for this report.

    teacher_input, teacher_join: how the teacher is fed, and several are joined, as in the recipe.
    """

    name: str
    seed: int | None
    model_path: str
    teacher: str | None
    row: dict
    scores: Scores | None = None
    teacher_input: dict | list | None = None
    teacher_join: str = "mean"

    @property
    def plain(self) -> bool:
        """Without FaceBN and without centering."""
        return not any(self.row.get(variant) for variant in VARIANTS)


@dataclass(frozen=True)
class MethodSummary:
    """A method's results in one evaluation, in per cent: mean and standard deviation over seeds, interval of the pairs."""

    name: str
    values: list[float]
    mean: float
    spread: float | None
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class IdentityMap:
    """Embeddings of a few identities in two dimensions.

    nearest: share of images whose nearest neighbour in the full embedding width has the same identity. how: the projection.
    """

    name: str
    point_M2: np.ndarray
    label_M: np.ndarray
    nearest: float
    how: str


@dataclass(frozen=True)
class BatchNormShift:
    """Per BatchNorm layer of a student: distance between the channel means of the tested images and the stored means, in the
    layer's standard deviations, before and after FaceBN."""

    name: str
    keep: float
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]


@dataclass(frozen=True)
class HardPair:
    """A pair that most networks get wrong: PNG files of the LR and HR images, and per network (name, cosine, correct)."""

    number: int
    same: bool
    low: tuple[bytes, bytes]
    high: tuple[bytes, bytes]
    decisions: list[tuple[str, float, bool]]


@dataclass(frozen=True)
class FocusDetails:
    """Details of the first pairs file at the first px that only embeddings can show."""

    pairs: str
    px: int
    n_identities: int = 0
    maps: list[IdentityMap] = field(default_factory=list)
    shifts: list[BatchNormShift] = field(default_factory=list)
    hard: list[HardPair] = field(default_factory=list)


@dataclass(frozen=True)
class ReportData:
    """All data of a report. notes: what was left out, and why."""

    methods: list[Method]
    results: list[EvalResult]
    focus: FocusDetails | None
    command: str
    notes: list[str]

    @property
    def names(self) -> list[str]:
        """Methods in the given order, then the teacher if it was evaluated."""
        names = [method.name for method in self.methods]
        return names + [TEACHER_NAME] * any(result.name == TEACHER_NAME for result in self.results)

    def style_of(self, name: str) -> SeriesStyle:
        """The line style of a method or the teacher, the same in every section."""
        names = [method.name for method in self.methods]
        return series_style(names.index(name)) if name in names else TEACHER

    def evaluated(self) -> list[tuple[str, str]]:
        """The (pairs file, protocol) combinations with results, in order."""
        return list(dict.fromkeys((result.row["pairs"], result.row["protocol"]) for result in self.results))

    def find(self, **spec) -> list[EvalResult]:
        """Plain results that match pairs=, px=, protocol=, name=."""
        return [
            result
            for result in self.results
            if result.plain and all((result.row | {"name": result.name}).get(key) == value for key, value in spec.items())
        ]

    def degradation_of(self, **spec) -> str:
        """The degradations of these results for a title, " (blur)"; "" for bicubic alone, that of the published figures."""
        names = list(dict.fromkeys(str(result.row.get("degradation", BICUBIC)) for result in self.find(**spec)))
        return "" if names == [BICUBIC] else f" ({', '.join(names)})"

    def summaries(self, **spec) -> list[MethodSummary]:
        """Every method with results for one evaluation, best first."""
        found = [(name, self.find(name=name, **spec)) for name in self.names]
        return sorted((summarise(name, results) for name, results in found if results), key=lambda s: -s.mean)

    @cached_property
    def file_names(self) -> dict[str, str]:
        """Path of a pairs file -> its name in headings."""
        return file_names(self.results)


def summarise(name: str, results: list[EvalResult]) -> MethodSummary:
    """Over seeds: the mean, the sample standard deviation (None for one seed), and Wilson's interval at that mean.

    All seeds use the same pairs, so they do not narrow the interval: it is that of one set of pairs.
    """
    values, pairs = [result.row["accuracy"] for result in results], results[0].row["n_pairs"]
    mean = statistics.mean(values)
    low, high = results[0].row["ci95"]
    if len(values) > 1:
        low, high = (100 * end for end in wilson_interval(round(mean / 100 * pairs), pairs))
    return MethodSummary(name, values, mean, statistics.stdev(values) if len(values) > 1 else None, low, high, pairs)


def file_names(results: list[EvalResult]) -> dict[str, str]:
    """Path of each pairs file -> the shortest end of it, without suffix, that no other file has."""
    paths = list(dict.fromkeys(result.row["pairs"] for result in results))
    return dict(zip(paths, short_names([str(Path(path).with_suffix("")) for path in paths]), strict=True))
