"""Start every recipe of the repository on clean data, take two steps, and count the warnings: there should be none.

    python tools/count_warnings.py [--only NAME ...] [--skip NAME ...] [--images K]

Data: K images of each of 64 identities of $AIRD_DATA/celeb240 for training, 20 pairs of others for verification, and the
teachers of $AIRD_DATA. What a recipe names otherwise (a ResNet50, CASIA-WebFace, another recipe's run) is replaced: a warning
would be about the recipe, not about what is absent. Batches of eight images; the schedule stays, so that its own warnings appear.
Runs of two stages come in order: a prior, then the recipes that use it. Exit status 1 where a recipe warns or fails.
"""

import argparse
import contextlib
import io
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import torch

from aird_plugin.cli.tables import aligned
from aird_plugin.config.recipe import Recipe, from_flat, load
from aird_plugin.config.recipe_file import data_path
from aird_plugin.data.pairs import write_pairs
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.data.records import open_records
from aird_plugin.models import build
from aird_plugin.utils.errors import describe
from aird_plugin.utils.paths import expand_user
from aird_plugin.utils.warning import warn

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
IDENTITIES, PAIRS, STEPS, BATCH = 64, 20, 2, 8
WARNING = re.compile(r"\bwarning\b", re.IGNORECASE)
TEACHERS = {".pt": "mobilefacenet_casia.pt", ".onnx": "mobilefacenet_casia.onnx"}


def main(argv: list[str] | None = None) -> int:
    """Run with the arguments of the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only recipes whose name contains one of these")
    parser.add_argument("--skip", nargs="+", default=[], metavar="NAME", help="no recipe whose name contains one of these")
    parser.add_argument("--images", type=int, default=4, metavar="K", help="images of each identity (4)")
    parser.add_argument("--folder", type=Path, help="for data, banks and runs. default: a temporary one, removed afterwards")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = expand_user(args.folder or Path(temporary)).resolve()
        write_data(folder, args.images)
        lines = [["recipe", "seconds", "warnings", ""]]
        for path in in_order(args.only, args.skip):
            started = time.monotonic()
            found = warnings_of(path, folder)
            lines.append([path.stem, f"{time.monotonic() - started:.0f}", str(len(found)), " | ".join(found)])
            print(*lines[-1], file=sys.stderr, flush=True)
    print(aligned(lines))
    count = sum(int(line[2]) for line in lines[1:])
    print(f"{len(lines) - 1} recipes, {count} warnings")
    return 1 if count else 0


def in_order(only: list[str] | None = None, skip: Sequence[str] = ()) -> list[Path]:
    """The recipes: priors first, then first stages, then all others."""
    paths = sorted(
        RECIPES.rglob("*.py"), key=lambda path: (not path.stem.endswith("prior"), "stage1" not in path.stem, path.stem)
    )
    chosen = [path for path in paths if not only or any(part in path.stem for part in only)]
    return [path for path in chosen if not any(part in path.stem for part in skip)]


def write_data(folder: Path, images: int) -> None:
    """FOLDER/faces, the training set, and FOLDER/pairs.bin: two pairs a fold, one genuine, each identity in one pair alone."""
    records = open_records(data_path("celeb240"))
    rows = [list((records.labels == label).nonzero()[0]) for label in range(records.num_classes)]
    rows = [own for own in rows if len(own) >= max(images, 2)]
    if len(rows) < IDENTITIES + 3 * PAIRS // 2:
        raise ValueError(f"--images {images}: only {len(rows)} identities have as many; give a smaller number")
    training = [(label, records.payload(row)) for label, own in enumerate(rows[:IDENTITIES]) for row in own[:images]]
    write_face_records(folder / "faces", training)
    others = iter(rows[IDENTITIES:])
    same = [number % 2 == 0 for number in range(PAIRS)]
    shown = [(own[0], own[1]) if genuine else (own[0], next(others)[0]) for genuine, own in zip(same, others, strict=False)]
    write_pairs(folder / "pairs.bin", [records.payload(row) for pair in shown for row in pair], same)


def warnings_of(path: Path, folder: Path) -> list[str]:
    """The lines of a run's output that warn, or the error that ends it."""
    output = io.StringIO()
    with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
        try:
            with few_steps():
                train(clean(load(path), folder))
        except Exception as error:
            warn(f"stopped: {describe(error)}")
    return [line.strip() for line in output.getvalue().splitlines() if WARNING.search(line)]


@contextlib.contextmanager
def few_steps() -> Iterator[None]:
    """Inside, a run ends after STEPS steps; its schedule remains that of the whole run."""
    from aird_plugin.prior.state import PriorTrainState
    from aird_plugin.training.setup import TrainingSetup

    with mock.patch.object(TrainingSetup, "total_steps", STEPS), mock.patch.object(PriorTrainState, "total_steps", STEPS):
        yield


def train(recipe: Recipe) -> None:
    """The run of `aird train`."""
    from aird_plugin.prior.training import train as train_prior
    from aird_plugin.training.loop import train as train_student

    (train_prior if recipe.prior.prior_side else train_student)(recipe)


def clean(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe on the clean data, on a CPU, with batches of eight images."""
    keys: dict[str, Any] = recipe.flat()
    keys |= {
        "rec": str(folder / "faces"),
        "num_classes": 0,
        "num_image": 0,
        "batch_size": BATCH,
        "num_workers": 0,
        "device": "cpu",
    }
    keys |= {key: str(folder / keys[key]) for key in ("bank", "output")}
    if keys["val_targets"]:
        keys["val_targets"] = (str(folder / "pairs.bin"),)
    if keys["teacher"] and not Path(keys["teacher"]).is_file():
        # A file of its kind, or of any kind for another recipe's run.
        file = TEACHERS.get(Path(keys["teacher"]).suffix, TEACHERS[".onnx"])
        # On the images as they are: the check at the start would rightly doubt a teacher that was not trained for LR images.
        keys |= {"teacher": data_path("teacher", file), "teacher_network": None, "teacher_px": 0}
    if keys["teacher"]:
        # The width of the teacher at hand; keys of the teacher's width follow.
        keys["embedding_size"] = 0
    if keys["student_init"] and not Path(keys["student_init"]).is_file():
        keys["student_init"] = initial_weights(keys, folder)
    if keys["prior"]:
        keys["prior"] = str(folder / keys["prior"])
    if keys["margin"] is None:
        del keys["margin"]
    return from_flat(keys)


def initial_weights(keys: dict[str, Any], folder: Path) -> str:
    """A file of random weights for the student, in the place of an earlier run's."""
    file = folder / f"{keys['network']}.pt"
    torch.manual_seed(0)
    torch.save(build(keys["network"], 128).state_dict(), file)
    return str(file)


if __name__ == "__main__":
    sys.exit(main())
