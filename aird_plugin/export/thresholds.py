"""Which cosine means "the same person" for a face of this size: measured on the exported file, as InsightFace's users run it."""

from pathlib import Path

from aird_plugin.evaluation.protocol import Session
from aird_plugin.evaluation.verification import operating_points
from aird_plugin.models.onnx_teacher import OnnxTeacher

SIDES = (16, 24, 32, 48, 64, 112)


def threshold_table(file: Path, pairs: str, sides: tuple[int, ...] = SIDES) -> dict:
    """Operating points of the 112 px file for pairs of faces that were shrunk to each px and grown back to 112.

    No mirrored face is added, as InsightFace's `get_feat` adds none. Gives {"pairs", "protocol", "rows": [{"px", "points"}]};
    points as `operating_points` has them. Raises FileNotFoundError, and ValueError for a file that is no list of pairs.
    """
    session = Session(OnnxTeacher(file), pairs, flip=False)
    rows = [{"px": px, "points": operating_points(session.embeddings(px, "lr-lr"), session.same_N)} for px in sides]
    return {"pairs": Path(pairs).name, "protocol": "both faces of a pair at px, grown back to 112, no flip", "rows": rows}


def as_markdown(table: dict) -> str:
    """The table for the card; a rate that the pairs cannot support stays empty."""
    fars = [point["far"] for point in table["rows"][0]["points"]]
    impostors = table["rows"][0]["points"][0]["n_impostor"]
    lines = ["| face, px | " + " | ".join(f"FAR {far:g}" for far in fars) + " |", "|---|" + "---|" * len(fars)]
    for row in table["rows"]:
        lines.append(f"| {row['px']} | " + " | ".join(_cell(point) for point in row["points"]) + " |")
    told = (
        "The cosine above which two faces count as one person, and in brackets the share of same pairs then accepted, for a\n"
        f"false-accept rate on {impostors:,} impostor pairs of {table['pairs']} ({table['protocol']}).\n"
        "Between two sizes take the higher cosine. A dash: too few impostor pairs to say. Yours are other cameras: measure your\n"
        "own before you rely on it."
    )
    return "\n".join([*lines, "", told])


def _cell(point: dict) -> str:
    return "-" if point["cosine"] is None else f"{point['cosine']:.3f} ({point['tar']:.0%})"
