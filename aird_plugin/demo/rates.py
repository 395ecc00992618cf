"""Where thresholds come from: the file of an exported set, or a measurement at the start."""

import json
from pathlib import Path

from aird_plugin.evaluation.verification import supports

WANTED = "the thresholds.json of `aird export --thresholds PAIRS`"


def read_thresholds(path: str | Path) -> dict:
    """The table of a `thresholds.json`, as `export.thresholds.threshold_table` gives it.

    Raises FileNotFoundError, and ValueError for a file that holds something else, or a threshold that its pairs cannot support.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no thresholds at {path}; give {WANTED}")
    try:
        table = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file ({error}); give {WANTED}") from error
    if not _is_table(table):
        raise ValueError(f"{path} holds no thresholds, or those of another version; give {WANTED}")
    for point in (point for row in table["rows"] for point in row["points"]):
        if point["cosine"] is not None and not supports(point["n_impostor"], point["far"]):
            raise ValueError(
                f"{path}: a threshold for a false-accept rate of {point['far']:g} needs 10 / FAR impostor pairs, it rests on "
                f"{point['n_impostor']}; measure it on more with `aird export --thresholds PAIRS`"
            )
    return table


def _is_table(table) -> bool:
    try:
        cells = [point for row in table["rows"] for point in row["points"]]
        numbers = [row["px"] for row in table["rows"]] + [point["far"] for point in cells]
        numbers += [point["n_impostor"] for point in cells]
        numbers += [point["cosine"] for point in cells if point["cosine"] is not None]
        words = [table["pairs"], table["degradation"]]
    except (KeyError, TypeError):
        return False
    fars = {tuple(point["far"] for point in row["points"]) for row in table["rows"]}
    sound = all(isinstance(value, int | float) for value in numbers) and all(isinstance(word, str) for word in words)
    return sound and len(fars) == 1 and fars != {()}
