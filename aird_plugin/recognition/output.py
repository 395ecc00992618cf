"""The output of `aird recognise`: faces.csv, faces.jsonl, the summary. Pictures: annotated.py."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from aird_plugin.recognition.recognise import FaceRow, Recognition
from aird_plugin.utils.counts import counted
from aird_plugin.utils.files import write_atomically

TABLE, LINES = "faces.csv", "faces.jsonl"
REASONS_SHOWN = 3


def write_table(folder: Path, result: Recognition) -> Path:
    """faces.csv: a line for each face of each frame; cosine and threshold are empty where there is none."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FaceRow._fields)
    writer.writerows([_cell(value) for value in row] for row in result.rows)
    write_atomically(folder / TABLE, text.getvalue().encode("utf-8", "surrogateescape"))
    return folder / TABLE


def json_lines(result: Recognition) -> bytes:
    """One JSON object a face, with the keys of faces.csv and `candidates`, the best identities of its track, in UTF-8.

    Bytes of a name that are no UTF-8 become JSON's own escapes, such as \\udce9, from which Python reads the same name: as bytes
    they would make the whole file invalid.
    """
    rows = (
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row._asdict().items()}
        | {"candidates": result.matches[row.track].candidates}
        for row in result.rows
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "backslashreplace")


def summary(result: Recognition) -> str:
    """Counts, and the tracks of each name."""
    broken = f", {len(result.broken)} of them broken and skipped" if result.broken else ""
    faces, tracks_in_all = counted(len(result.rows), "face"), counted(len(result.matches), "track")
    lines = [f"{counted(result.n_frames, 'frame')}{broken}: {faces} in {tracks_in_all}"]
    by_name: dict[str, list[int]] = {}
    for track, match in enumerate(result.matches):
        by_name.setdefault(match.name or "no decision", []).append(track)
    for name, tracks in sorted(by_name.items(), key=lambda item: -len(item[1])):
        cosines = [cosine for track in tracks if (cosine := result.matches[track].cosine) is not None]
        highest = f", highest cosine {max(cosines):.3f}" if cosines else ""
        n_faces = sum(result.n_faces[track] for track in tracks)
        lines.append(f"  {name}: {counted(len(tracks), 'track')}, {counted(n_faces, 'face')}{highest}")
    shown = [f"no decision: {reason}" for reason in result.reasons[:REASONS_SHOWN]]
    return "\n".join([*lines, *shown, *(["..."] if len(result.reasons) > REASONS_SHOWN else [])])


def broken_frames(result: Recognition) -> str:
    """Why the first broken frames could not be read, a line each, and the number of the others."""
    shown, more = result.broken[:REASONS_SHOWN], len(result.broken) - REASONS_SHOWN
    return "\n".join(f"broken: {reason}" for reason in [*shown, *([f"and {more} more"] if more > 0 else [])])


def _cell(value: Any) -> Any:
    """Cosines with four decimals; nothing for None and nan."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
