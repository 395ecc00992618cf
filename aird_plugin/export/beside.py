"""Files beside the exported networks: thresholds.json and means.json."""

import json
from dataclasses import replace
from pathlib import Path

from aird_plugin.export.contents import ExportOptions
from aird_plugin.export.thresholds import threshold_table
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.training_means import TrainingMeans, write_means
from aird_plugin.recognition.calibration import SECTION
from aird_plugin.recognition.centring import center_hr, centered, is_centered
from aird_plugin.recognition.measure import measure
from aird_plugin.recognition.networks import Network, open_hr
from aird_plugin.utils.files import file_sha256, write_atomically


def write_thresholds(root: Path, smallest: OnnxTeacher, wide: OnnxTeacher, weights: str, options: ExportOptions) -> dict:
    """thresholds.json: the card's table of the 112 px file, and the section of `TinyFaceAnalysis`, of the smallest file.

    Where the graphs subtract the student's training mean, the HR recogniser's is subtracted from its embeddings.
    """
    student = Network(smallest.path.stem, smallest, weights)
    means = options.means if is_centered(student) else None
    networks = [centered(student, None) if means else student]
    if options.threshold_teacher:
        hr = open_hr(options.threshold_teacher, "cpu", options.teacher_input)
        networks.append(center_hr(hr, means) if means else hr)
    table = threshold_table(wide, options.threshold_pairs) | {"sha256": wide.sha256, "weights": weights}
    table[SECTION] = measure(networks, networks[-1], options.threshold_pairs)
    write_atomically(root / "thresholds.json", json.dumps(table, indent=1).encode())
    return table


def write_means_beside(root: Path, means: TrainingMeans, in_graph: bool) -> None:
    """means.json in each folder that holds exported files."""
    beside = replace(means, student_D=None) if in_graph else means
    for folder in (root, root / "native", root / "int8"):
        if files := {file.name: file_sha256(file) for file in sorted(folder.glob("*.onnx"))}:
            write_means(folder, beside, {"files": files})
