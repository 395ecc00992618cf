"""Which cosine means "the same person" for a face of this size: measured on the exported file, as InsightFace's users run it."""

from pathlib import Path

from aird_plugin.evaluation.protocol import Session
from aird_plugin.evaluation.verification import operating_points

SIDES = (16, 24, 32, 48, 64, 112)
ROAD = "insightface-warp"


def threshold_table(network, pairs: str, sides: tuple[int, ...] = SIDES, device="cpu") -> dict:
    """Operating points of a network for pairs of faces that were shrunk to each px and warped up as FaceAnalysis does it.

    No mirrored face is added, as InsightFace's `get_feat` adds none. A row holds from its px up to the next row's and is measured
    at its lower end, where strangers score highest. Gives {"pairs", "pairs_sha256", "protocol", "degradation", "rows":
    [{"px", "to_px", "points"}]}; "to_px" is None in the last row; points as `operating_points` has them.
    Raises FileNotFoundError, and ValueError for a file that is no list of pairs.
    """
    session = Session(network, pairs, device=device, flip=False)
    rows = []
    for px, following in zip(sides, [*sides[1:], None], strict=True):
        points = operating_points(session.embeddings(px, "lr-lr", degradation=ROAD), session.same_N)
        rows.append({"px": px, "to_px": following and following - 1, "points": points})
    told = "both faces of a pair shrunk to px and warped up to 112 px as FaceAnalysis does, no flip"
    told_of = {"pairs": Path(pairs).name, "pairs_sha256": session.pairs_sha256}
    return told_of | {"protocol": told, "degradation": ROAD, "rows": rows}


def as_markdown(table: dict) -> str:
    """The table for the card; a rate that the pairs cannot support stays empty."""
    fars = [point["far"] for point in table["rows"][0]["points"]]
    impostors = table["rows"][0]["points"][0]["n_impostor"]
    lines = ["| face, px | " + " | ".join(f"FAR {far:g}" for far in fars) + " |", "|---|" + "---|" * len(fars)]
    for row in table["rows"]:
        size = f"{row['px']} to {row['to_px']}" if row["to_px"] else f"{row['px']} and more"
        lines.append(f"| {size} | " + " | ".join(_cell(point) for point in row["points"]) + " |")
    return "\n".join([*lines, "", TOLD.format(impostors=impostors, smallest=table["rows"][0]["px"], **table)])


TOLD = """\
The cosine above which two faces count as one person, and in brackets the share of same pairs then accepted, for a false-accept
rate on {impostors:,} impostor pairs of {pairs}: {protocol}, each row
measured at its smallest px. A dash: fewer than 10 / FAR impostor pairs, too few to say. Of two faces of different size take the
smaller one's row.
Below {smallest} px nothing was measured. Yours are other cameras: measure your own before you rely on it.

How large a face really is, its px, is told by the five points that the detector found in the photograph:

```python
from insightface.utils import face_align
matrix = face_align.estimate_norm(face.kps, 112)
px = 112 / (matrix[0, 0] ** 2 + matrix[1, 0] ** 2) ** 0.5
```

Several crops of one track of a camera: normalise the features of each, add them up, and compare the sum; three crops tell far
more than one. The length of a feature says little about its crop: where crops differ much in size, weigh them by px."""


def _cell(point: dict) -> str:
    return "-" if point["cosine"] is None else f"{point['cosine']:.3f} ({point['tar']:.0%})"
