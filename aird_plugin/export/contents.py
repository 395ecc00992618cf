"""What an exported folder holds, and what was asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from aird_plugin.export.quantise import Quantised
from aird_plugin.models.training_means import TrainingMeans


@dataclass(frozen=True)
class VerifiedFile:
    """An exported file. onnxruntime, insightface: minimum cosine to the student, or why it was not compared with InsightFace."""

    file: str
    side: int
    onnxruntime: float
    insightface: float | str


@dataclass
class ExportResult:
    """The contents of the exported folder. rejected: why an int8 file was left out. centered: whether the graphs subtract the
    training mean."""

    folder: Path
    files: list[VerifiedFile] = field(default_factory=list)
    int8: list[Quantised] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    thresholds: dict | None = None
    centered: bool = False


class ExportOptions(NamedTuple):
    """What to write besides the files of a student.

    int8_pairs: also int8 files, calibrated on the images and evaluated on these pairs. threshold_pairs: pairs for the table of
    thresholds; threshold_teacher: also measure this HR recogniser, fed as `teacher_input` states (None: by the rules), and the
    student against its embeddings.
    server_detector: also a folder for InsightFace Server with this detector, checked by `check_detector`.
    means: None, or the run's training means: the files subtract the student's in their graph. The graph of an .onnx student stays
    as it was, and its mean is beside it. safetensors: also the student's weights, model.safetensors.
    """

    int8_pairs: str | None = None
    threshold_pairs: str | None = None
    threshold_teacher: Path | None = None
    server_detector: Path | None = None
    means: TrainingMeans | None = None
    safetensors: bool = False
    teacher_input: dict[str, Any] | None = None
