"""Run folders -> what they say of themselves; runs that differ by seed alone are one method."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from aird_plugin.data.lowres import FACE_SIDE
from aird_plugin.models.load import run_folder
from aird_plugin.runfolder import FREE_TO_CHANGE
from aird_plugin.runlog import METRICS, terms_of

LARGEST = 1e100
SEED_IN_NAME = re.compile(r"[-_. ]*(seed)[-_]?\d+$", re.IGNORECASE)
NUMBER_IN_NAME = re.compile(r"[-_. ]*(seed)?[-_]?\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class Run:
    """A run folder. curves: term -> [(epoch, value)]; rows: evaluation.json's; unread: lines of metrics.jsonl that are none."""

    folder: str
    facts: dict
    curves: dict[str, list[tuple[float, float]]]
    rows: list[dict]
    unread: int

    @property
    def name(self) -> str:
        return Path(self.folder).name or self.folder

    @property
    def recipe(self) -> dict:
        return self.facts["recipe"]

    @property
    def seed(self) -> int | None:
        return self.recipe.get("seed")

    @property
    def finished(self) -> bool:
        return (Path(self.folder) / "model.pt").is_file()


@dataclass(frozen=True)
class Method:
    """Runs of one recipe with different seeds."""

    name: str
    runs: list[Run]


def read_run(folder: str) -> Run:
    """What a run folder holds, finished or not. FileNotFoundError or ValueError, in words for the user, where it is none."""
    path = run_folder(folder)
    if not (path / "recipe.json").is_file():
        raise FileNotFoundError(f"{folder} is no run folder: it has no recipe.json")
    facts = _json(path / "recipe.json")
    if not isinstance(facts, dict) or not isinstance(facts.get("recipe"), dict):
        raise ValueError(f"{path / 'recipe.json'} tells no recipe; give a folder that `aird train` made")
    rows = _json(path / "evaluation.json") if (path / "evaluation.json").is_file() else []
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise ValueError(f"{path / 'evaluation.json'} is no list of results; take it away, or evaluate again")
    curves, unread = read_curves(path / METRICS)
    return Run(os.path.normpath(path), facts, curves, rows, unread)


def read_curves(path: Path) -> tuple[dict[str, list[tuple[float, float]]], int]:
    """Every term of metrics.jsonl against the epoch, and how many lines could not be read (a kill may cut the last one)."""
    curves, unread = {}, 0
    for text in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
            epoch, terms = line["epoch"], terms_of(line)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            unread += 1
            continue
        for term, value in terms.items():
            if _is_number(epoch, 0) and _is_number(value):
                curves.setdefault(str(term), []).append((float(epoch), float(value)))
    return curves, unread


def group(runs: list[Run]) -> list[Method]:
    """Runs that differ by seed alone (and by keys that do not change the weights) together, in the order given.

    Raises ValueError for a folder that was given twice.
    """
    if len({os.path.realpath(run.folder) for run in runs}) < len(runs):
        raise ValueError("a run folder was given twice; a run counts once")
    together: dict[str, list[Run]] = {}
    for run in runs:
        fixed = {key: value for key, value in run.recipe.items() if key != "seed" and key not in FREE_TO_CHANGE}
        key = json.dumps([fixed, run.facts.get("adapted")], sort_keys=True)
        together.setdefault(key, []).append(run)
    methods = [Method(_name(runs), runs) for runs in together.values()]
    names = [method.name for method in methods]
    return [m if names.count(m.name) == 1 else Method(m.runs[0].folder, m.runs) for m in methods]


def differences(methods: list[Method]) -> dict[str, list]:
    """Recipe keys that change the weights and in which the methods differ -> each method's value, None where it has none."""
    recipes = [method.runs[0].recipe for method in methods]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe if key != "seed" and key not in FREE_TO_CHANGE)
    columns = {key: [recipe.get(key) for recipe in recipes] for key in keys}
    return {key: values for key, values in columns.items() if any(value != values[0] for value in values)}


def _name(runs: list[Run]) -> str:
    """The folder's name without its seed."""
    pattern = SEED_IN_NAME if len(runs) == 1 else NUMBER_IN_NAME
    names = {pattern.sub("", run.name) or run.name for run in runs}
    return names.pop() if len(names) == 1 else runs[0].name


def _is_row(row) -> bool:
    """A row of `aird evaluate`, as far as it is drawn."""
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("pairs", "protocol")):
        return False
    shares = [row.get("accuracy"), *(row["ci95"] if isinstance(row.get("ci95"), list) else [])]
    px, pairs = row.get("px"), row.get("n_pairs")
    counts = isinstance(px, int) and 4 <= px <= FACE_SIDE and isinstance(pairs, int) and pairs > 0
    return counts and len(shares) == 3 and all(_is_number(share, 0, 100) for share in shares)


def _is_number(value, low: float = -LARGEST, high: float = LARGEST) -> bool:
    """Finite, and of a size that can be drawn."""
    return isinstance(value, int | float) and low <= value <= high


def _json(path: Path):
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error
