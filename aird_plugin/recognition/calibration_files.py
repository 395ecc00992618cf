"""The measured thresholds of networks, in files: NAME.thresholds.json of `aird calibrate`, thresholds.json of an export.

Both are JSON objects whose key "recognition" holds a section of `recognition/calibration.py`.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aird_plugin.evaluation.eval_spec import PROTOCOLS
from aird_plugin.evaluation.verification import supports
from aird_plugin.recognition.calibration import SECTION
from aird_plugin.recognition.crops import CROPS
from aird_plugin.recognition.network import Network, brief, listed
from aird_plugin.utils.files import write_atomically

SUFFIX = ".thresholds.json"


def beside(model: Path) -> Path:
    """Where the thresholds of `aird calibrate` for a model file are: NAME.onnx -> NAME.thresholds.json in the same folder."""
    return model.with_suffix(SUFFIX)


def write_section(path: Path, section: dict) -> None:
    """Write the file atomically, in place of an earlier one."""
    write_atomically(path, json.dumps({SECTION: section}, indent=1).encode())


def read_section(path: str | Path) -> dict:
    """The section of a file. Raises FileNotFoundError, and ValueError for other content or thresholds of other crops."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no thresholds at {path}; `aird calibrate PAIRS.bin --models MODEL` measures them")
    try:
        section = json.loads(path.read_bytes()).get(SECTION)
    except (ValueError, RecursionError, AttributeError) as error:
        raise ValueError(f"{path} is no thresholds file ({error}); run `aird calibrate` again") from error
    if section is None:
        raise ValueError(f"{path} has no section {SECTION!r}; `aird calibrate` or `aird export --thresholds` writes one")
    check_section(path, section)
    if section["crops"] != CROPS:
        raise ValueError(f"{path} was measured on crops {section['crops']!r}, these are {CROPS!r}; run `aird calibrate` again")
    return section


def find_sections(networks: Sequence[Network], given: str | Path | None = None) -> list[dict]:
    """The sections for these networks, the first to be used first.

    given: a file that comes before all others. Then the files beside the models, the HR recogniser's first, then those of the
    exports, except for other crops. Raises what `read_section` raises, and ValueError for a file of other networks.
    """
    sections = []
    if given is not None:
        sections.append(read_section(given))
        check_networks(given, sections[0], networks)
    for network in reversed(networks):
        file = beside(network.model.path)
        if file.is_file():
            sections.append(read_section(file))
            check_networks(file, sections[-1], [network])
    for network in networks:
        section = network.thresholds.get(SECTION)
        if section is not None:
            check_section(f"the thresholds.json of {network.name}", section)
            sections += [section] if section["crops"] == CROPS else []
    return sections


def check_networks(path: str | Path, section: dict, networks: Sequence[Network]) -> None:
    """Raise ValueError unless the section has thresholds of one of the networks, centered or not, by their hashes."""
    measured = dict.fromkeys(entry["network"] for entry in section["entries"])
    if not {network.identity.partition("+")[0] for network in networks} & {one.partition("+")[0] for one in measured}:
        raise ValueError(
            f"{path} belongs to another model ({', '.join(map(brief, measured)) or 'none'}): its thresholds mean nothing "
            f"for {listed(networks)}. Measure its own with `aird calibrate`, or remove the file"
        )


def check_section(path: str | Path, section: Any) -> None:
    """Raise ValueError for another structure, values out of range, or a threshold with too few impostor pairs."""
    if problem := _problem(section):
        raise ValueError(f"{path}: its section {SECTION!r} {problem}; measure the thresholds again")


def _problem(section: Any) -> str:
    """What is wrong with a section; "" for nothing."""
    try:
        texts = [section["crops"], *(entry[key] for entry in section["entries"] for key in ("network", "other"))]
        protocols = {entry["protocol"] for entry in section["entries"]}
        rows = [row for entry in section["entries"] for row in entry["rows"]]
        points = [point for row in rows for point in row["points"]]
        measured = [point for point in points if point["cosine"] is not None]
        numbers = [row["px"] for row in rows] + [point["far"] for point in points]
        numbers += [point[key] for point in measured for key in ("cosine", "tar", "n_impostor")]
    except (KeyError, TypeError):
        return "has another format"
    if not all(isinstance(text, str) for text in texts) or not protocols <= set(PROTOCOLS):
        return "has another format"
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        return "holds what is no number"
    if not all(-1 <= point["cosine"] <= 1 and 0 < point["far"] < 1 for point in measured):
        return "has a cosine or rate out of range"
    few = [point["far"] for point in measured if not supports(point["n_impostor"], point["far"])]
    return f"has a threshold for a false-accept rate of {few[0]:g} from fewer than 10 / FAR impostor pairs" if few else ""
