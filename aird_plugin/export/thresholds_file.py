"""Reads and checks the thresholds.json of an exported model."""

import json
from pathlib import Path
from typing import Any

from aird_plugin.evaluation.verification import supports
from aird_plugin.models.find import find_model
from aird_plugin.models.recorded import recorded_metadata, weights_of
from aird_plugin.utils.files import file_sha256, is_same

EXPECTED = "the thresholds.json of `aird export --thresholds PAIRS`"


def read_thresholds(path: str | Path) -> dict:
    """The table of a `thresholds.json`, in the format of `export.thresholds.threshold_table`.

    Raises FileNotFoundError, and ValueError for other content or a threshold with too few impostor pairs.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no thresholds at {path}; give {EXPECTED}")
    try:
        table = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file ({error}); give {EXPECTED}") from error
    if not _is_table(table):
        raise ValueError(f"{path} holds no thresholds, or has another format version; give {EXPECTED}")
    for point in (point for row in table["rows"] for point in row["points"]):
        if point["cosine"] is not None and not supports(point["n_impostor"], point["far"]):
            raise ValueError(
                f"{path}: the threshold for a false-accept rate of {point['far']:g} was measured on {point['n_impostor']} "
                "impostor pairs and needs 10 / FAR; measure it on more with `aird export --thresholds PAIRS`"
            )
    return table


def check_owner(path: str, table: dict, model: str, network: Any) -> str:
    """Compare the hashes of a thresholds.json with those of the model; a remark where they cannot be compared, else "".

    A new export records the weights, which run folder, exported files and int8 files share; older ones the 112 px file alone.
    Raises ValueError where the thresholds are of another model, or of these weights with or without the training mean.
    """
    file, weights = find_model(model).file, weights_of(model, network)
    hashes = {"sha256": file_sha256(file) if file.suffix == ".onnx" else None, "weights": weights}
    same = {key: is_same(table.get(key), present) for key, present in hashes.items()}
    if True in same.values():
        check_centring(path, table, model, network)
        return ""
    # Where older exports record the 112 px file alone, its native and int8 versions lie beside it.
    beside = Path(path).resolve().parent in file.resolve().parents
    if same["weights"] is None and (beside or same["sha256"] is None):
        return "" if beside else f"{path} does not record whether it belongs to {model}; an export of now does"
    key = "sha256" if same["weights"] is None else "weights"
    raise ValueError(
        f"{path} belongs to another model (sha256 {table[key][:16]}, that of {model} is {str(hashes[key])[:16]}): its "
        "thresholds mean nothing for this one. Give its own (`aird export RUN --thresholds PAIRS`), or measure with --pairs"
    )


def check_centring(path: str, table: dict, model: str, network: Any) -> None:
    """Raise ValueError where one of two files of the same weights subtracts the training mean. Older tables do not record it."""
    centered = bool(recorded_metadata(model, network).get("training_centre"))
    if table.get("training_centre", centered) == centered:
        return
    does, does_not = (model, path) if centered else (path, model)
    raise ValueError(
        f"{path} holds thresholds of other cosines than those of {model}: the weights are the same, but {does} is of an export "
        f"with --training-centre, and {does_not} is not. Give the thresholds of its own export, or measure with --pairs"
    )


def _is_table(table: Any) -> bool:
    """Whether the content has the structure and value ranges of a thresholds file."""
    try:
        points = [point for row in table["rows"] for point in row["points"]]
        numbers = [row["px"] for row in table["rows"]] + [point["far"] for point in points]
        numbers += [point["n_impostor"] for point in points]
        numbers += [point["cosine"] for point in points if point["cosine"] is not None]
        strings = [table["pairs"], table["degradation"]]
    except (KeyError, TypeError):
        return False
    fars = {tuple(point["far"] for point in row["points"]) for row in table["rows"]}
    valid = all(isinstance(value, int | float) for value in numbers) and all(isinstance(value, str) for value in strings)
    return valid and len(fars) == 1 and fars != {()}
