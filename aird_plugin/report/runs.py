"""Reads run folders and groups runs that differ only in the seed into methods."""

import itertools
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.models.find import MODEL_FILE, run_folder
from aird_plugin.training.resumed_run import RESUMABLE_KEYS, STARTED_WITH, as_object, former_recipe
from aird_plugin.training.run_log import METRICS, gradients_of, terms_of
from aird_plugin.utils.provenance import rows_made_with

# The name of the teacher beside those of the methods.
TEACHER_NAME = "teacher"
LARGEST = 1e100
SEED_IN_NAME = re.compile(r"[-_. ]*(seed)[-_]?\d+$", re.IGNORECASE)
NUMBER_IN_NAME = re.compile(r"[-_. ]*(seed)?[-_]?\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class Run:
    """A run folder. curves: term -> [(epoch, value)]; rows: of evaluation.json; unread: invalid lines in metrics.jsonl.

    gradients: as curves, of the gradient diagnostics. outdated: how many rows of evaluation.json are left out, because they are
    of other weights than those in model.pt: the run was started again, or continued without an evaluation.
    """

    folder: str
    metadata: dict
    curves: dict[str, list[tuple[float, float]]]
    rows: list[dict]
    unread: int
    gradients: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    outdated: int = 0

    @property
    def name(self) -> str:
        """Name of the folder."""
        return Path(self.folder).name or self.folder

    @property
    def recipe(self) -> dict:
        """The recipe of the run."""
        return self.metadata["recipe"]

    @property
    def seed(self) -> int | None:
        """The seed, if the recipe has one."""
        return self.recipe.get("seed")

    @property
    def origin(self) -> dict[str, str | None]:
        """What the weights depend on besides the recipe, which names files but not their bytes. None: not recorded."""
        entries = {entry: as_object(self.metadata.get(entry)) for entry in STARTED_WITH}
        hashes = {f"{entry}, hash": entries[entry].get(key) for entry, (key, _) in STARTED_WITH.items()}
        # The teacher's hash is recorded with 16 digits or in full.
        short = {name: digest[:16] if isinstance(digest, str) else None for name, digest in hashes.items()}
        fed = entries["teacher"].get("input")
        return short | {"teacher, input": fed and json.dumps(fed, sort_keys=True), "resize": self.metadata.get("resize")}

    @property
    def finished(self) -> bool:
        """Whether the run has a model.pt."""
        return (Path(self.folder) / MODEL_FILE).is_file()

    def key(self, *free: str) -> str:
        """Equal for runs that differ only in the seed, in keys that do not change the weights, and in the keys `free`.

        A run of an older version had the defaults of keys that are newer, and terms may have had other names.
        """
        apart = {"seed", *RESUMABLE_KEYS, *free}
        fixed = {key: value for key, value in former_recipe(self.recipe).items() if key not in apart}
        return json.dumps([fixed, self.origin, self.metadata.get("adapted")], sort_keys=True)

    @property
    def untrained(self) -> bool:
        """Whether the run ended without a step: a log without a line, and no checkpoint. Its model.pt holds initial weights."""
        folder = Path(self.folder)
        return (folder / METRICS).is_file() and not (self.curves or self.unread or any(folder.glob("checkpoints/step_*")))


@dataclass(frozen=True)
class Method:
    """Runs of one recipe with different seeds."""

    name: str
    runs: list[Run]


def read_run(folder: str) -> Run:
    """Read a run folder, finished or not. Raises FileNotFoundError or ValueError if it is not one."""
    path = run_folder(folder)
    if not (path / "recipe.json").is_file():
        raise FileNotFoundError(f"{folder} is not a run folder: it has no recipe.json; give a folder that `aird train` made")
    metadata = _json(path / "recipe.json")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("recipe"), dict):
        raise ValueError(f"{path / 'recipe.json'} holds no recipe; give a folder that `aird train` made")
    rows = _json(path / "evaluation.json") if (path / "evaluation.json").is_file() else []
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise ValueError(f"{path / 'evaluation.json'} is not a list of results; remove it or run the evaluation again")
    curves, unread = read_curves(path / METRICS)
    gradients, _ = read_curves(path / METRICS, gradients_of)
    kept = rows_made_with(rows, "student", path / MODEL_FILE)
    return Run(os.path.normpath(path), metadata, curves, kept, unread, gradients, len(rows) - len(kept))


def read_curves(path: Path, wanted=terms_of) -> tuple[dict[str, list[tuple[float, float]]], int]:
    """The curve of every term in metrics.jsonl, and the number of invalid lines (a killed run may truncate the last one).

    wanted: the function that takes from a line what is drawn.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    unread = 0
    for text in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
            epoch, terms = line["epoch"], wanted(line)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            unread += 1
            continue
        for term, value in terms.items():
            if _is_number(epoch, 0) and _is_number(value):
                curves.setdefault(str(term), []).append((float(epoch), float(value)))
    return curves, unread


def group(runs: list[Run]) -> list[Method]:
    """Group runs that differ only in the seed and in keys that do not change the weights, in the given order.

    Runs of one recipe whose files had other contents are different methods. Raises ValueError for a folder given twice, and for
    two finished runs of one recipe with one seed: they would stand for two seeds, without a spread.
    """
    if len({os.path.realpath(run.folder) for run in runs}) < len(runs):
        raise ValueError("a run folder is given twice; give each folder once")
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.key(), []).append(run)
    for first, second in itertools.chain.from_iterable(itertools.combinations(runs, 2) for runs in groups.values()):
        if first.seed == second.seed and first.finished and second.finished:
            raise ValueError(
                f"{first.folder} and {second.folder} are runs of one recipe with the same seed, {first.seed}: they would count "
                "as two seeds; leave one out, or train one with another seed"
            )
    methods = [Method(_name(runs), runs) for runs in groups.values()]
    names = [TEACHER_NAME, *(method.name for method in methods)]
    methods = [m if names.count(m.name) == 1 else Method(m.runs[0].folder, m.runs) for m in methods]
    names = [TEACHER_NAME, *(method.name for method in methods)]
    # A folder given as `x_1` or `teacher` has that name itself; only its whole path is unique.
    return [m if names.count(m.name) == 1 else Method(os.path.abspath(m.runs[0].folder), m.runs) for m in methods]


def differences(methods: list[Method]) -> dict[str, list]:
    """What changes the weights and differs between the methods -> one value per method, None where it is not set.

    Recipe keys, and the hashes of the files that the runs began with.
    """
    recipes = [former_recipe(method.runs[0].recipe) | method.runs[0].origin for method in methods]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe if key != "seed" and key not in RESUMABLE_KEYS)
    columns = {key: [recipe.get(key) for recipe in recipes] for key in keys}
    return {key: values for key, values in columns.items() if any(value != values[0] for value in values)}


def _name(runs: list[Run]) -> str:
    """The folder name without the seed."""
    pattern = SEED_IN_NAME if len(runs) == 1 else NUMBER_IN_NAME
    names = {pattern.sub("", run.name) or run.name for run in runs}
    return names.pop() if len(names) == 1 else runs[0].name


def _is_row(row: object) -> bool:
    """Whether a row of `aird evaluate` has the fields that are drawn."""
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("pairs", "protocol")):
        return False
    shares = [row.get("accuracy"), *(row["ci95"] if isinstance(row.get("ci95"), list) else [])]
    px, pairs = row.get("px"), row.get("n_pairs")
    counts = isinstance(px, int) and 4 <= px <= FACE_SIDE and isinstance(pairs, int) and pairs > 0
    return counts and len(shares) == 3 and all(_is_number(share, 0, 100) for share in shares)


def _is_number(value: object, low: float = -LARGEST, high: float = LARGEST) -> bool:
    """Whether a value is finite and small enough to draw."""
    return isinstance(value, int | float) and low <= value <= high


def _json(path: Path):
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
