"""Cosine thresholds per face size, measured on the exported files: thresholds.json and the table of the card."""

import json
from pathlib import Path

from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.evaluation.verification import operating_points
from aird_plugin.export.contents import ExportOptions
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.recognition.calibration import SECTION
from aird_plugin.recognition.centring import center_hr, centered, is_centered
from aird_plugin.recognition.measure import measure
from aird_plugin.recognition.network import Network
from aird_plugin.recognition.networks import open_hr
from aird_plugin.utils.files import write_atomically

SIDES = (16, 24, 32, 48, 64, 112)
DEGRADATION = "insightface-warp"


def write_thresholds(root: Path, smallest: OnnxTeacher, wide: OnnxTeacher, weights: str, options: ExportOptions) -> dict:
    """thresholds.json: the card's table of the 112 px file, and the section of `TinyFaceAnalysis`, of the smallest file.

    Where the graphs subtract the student's training mean, the HR recogniser's is subtracted from its embeddings.
    """
    student = Network(smallest.path.stem, smallest, weights)
    in_graph = is_centered(student)
    means = options.means if in_graph else None
    networks = [centered(student, None) if means else student]
    if options.threshold_teacher:
        hr = open_hr(options.threshold_teacher, "cpu", options.teacher_input)
        networks.append(center_hr(hr, means) if means else hr)
    table = threshold_table(wide, options.threshold_pairs) | {"sha256": wide.sha256, "weights": weights}
    # The weights do not tell whether a file subtracts its mean, and its cosines are others.
    table["training_centre"] = in_graph
    table[SECTION] = measure(networks, options.threshold_pairs)
    write_atomically(root / "thresholds.json", json.dumps(table, indent=1).encode())
    return table


def threshold_table(network, pairs: str, sides: tuple[int, ...] = SIDES, device: str = "cpu") -> dict:
    """Operating points of a network for pairs of images downsampled to each px and warped to 112 px as FaceAnalysis does.

    No flipped image is added, as in InsightFace's `get_feat`. A row is valid from its px up to the next row's and is measured at
    its lower end, where impostors score highest. Returns {"pairs", "pairs_sha256", "protocol", "degradation", "rows":
    [{"px", "to_px", "points"}]}; "to_px" is None in the last row; points are those of `operating_points`.
    Raises FileNotFoundError, and ValueError for a file that is no list of pairs.
    """
    evaluator = PairEvaluator(network, pairs, device=device, flip=False)
    rows = []
    for px, following in zip(sides, [*sides[1:], None], strict=True):
        points = operating_points(evaluator.embeddings(px, "lr-lr", degradation=DEGRADATION), evaluator.same_N)
        rows.append({"px": px, "to_px": following and following - 1, "points": points})
    return {
        "pairs": Path(pairs).name,
        "pairs_sha256": evaluator.pairs_sha256,
        "protocol": "both images of a pair downsampled to px and warped to 112 px as FaceAnalysis does, no flip",
        "degradation": DEGRADATION,
        "rows": rows,
    }


def as_markdown(table: dict) -> str:
    """The table as Markdown, with a dash for a rate that the number of pairs does not support."""
    fars = [point["far"] for point in table["rows"][0]["points"]]
    impostors = table["rows"][0]["points"][0]["n_impostor"]
    lines = ["| face, px | " + " | ".join(f"FAR {far:g}" for far in fars) + " |", "|---|" + "---|" * len(fars)]
    for row in table["rows"]:
        size = f"{row['px']} to {row['to_px']}" if row["to_px"] else f"{row['px']} and more"
        lines.append(f"| {size} | " + " | ".join(_cell(point) for point in row["points"]) + " |")
    return "\n".join([*lines, "", EXPLANATION.format(impostors=impostors, smallest=table["rows"][0]["px"], **table)])


EXPLANATION = """\
The cosine threshold for a false-accept rate (FAR), and in brackets the share of genuine pairs accepted at it. Measured
on {impostors:,} impostor pairs of {pairs}: {protocol},
each row at its smallest px. A dash: fewer than 10 / FAR impostor pairs. For two faces of different size use the row of the
smaller one.
Below {smallest} px nothing was measured. Your cameras differ: measure on your own data before you rely on a threshold.

The px of a face follow from the five landmarks that the detector returns for the photo:

```python
from insightface.utils import face_align
matrix = face_align.estimate_norm(face.kps, 112)
px = 112 / (matrix[0, 0] ** 2 + matrix[1, 0] ** 2) ** 0.5
```

For several crops of one track, normalise the feature of each, sum them, and compare the sum; three crops are much more accurate
than one. The norm of a feature hardly predicts the quality of its crop: weight crops of very different size by px."""


def _cell(point: dict) -> str:
    """A threshold and its TAR in the printed table."""
    return "-" if point["cosine"] is None else f"{point['cosine']:.3f} ({point['tar']:.0%})"
