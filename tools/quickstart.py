"""Train a teacher and three 16 px students on synthetic images, on a CPU, in 10 to 15 minutes.

    python tools/quickstart.py [--folder runs/quickstart]

Renders images of synthetic identities, trains a teacher on the 112 px images, then three students on the same images
downsampled to 16 px: from scratch, by AIRD as published, and by AIRD + cosine with the mutual variant of RID
(docs/aird.md). Evaluates all of them on unseen identities and writes a report. The same command resumes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from aird_plugin.utils.paths import expand_user
from aird_plugin.utils.threads import bound_spinning

ROOT = Path(__file__).resolve().parents[1]
PX = 16
# The runs in order, and the names of the students in the table.
TEACHER, SCRATCH, AIRD, AIRD_COSINE = RUNS = ("quickstart_teacher", "quickstart_scratch", "quickstart_aird", "quickstart")
NAMES = {SCRATCH: "student from scratch", AIRD: "AIRD (cls + IID + RID)", AIRD_COSINE: "AIRD + cosine (RID: mutual)"}
# Share of the total time of each step, for the estimate of the remaining time.
SHARES = {"draw": 0.13, TEACHER: 0.47, SCRATCH: 0.07, AIRD: 0.12, AIRD_COSINE: 0.11, "evaluate": 0.04, "report": 0.06}


def main() -> int:
    bound_spinning()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/quickstart"), help="output folder")
    folder = expand_user(parser.parse_args().folder).resolve()
    started, done = time.monotonic(), 0.0
    rows: list[dict] = []
    for number, (name, (what, run)) in enumerate(steps(folder, rows).items(), 1):
        print(f"\n== step {number} of {len(SHARES)}: {what} {clock(started, done)}", flush=True)
        run()
        done += SHARES[name]
    print(f"\n{table(rows)}\n")
    print(f"{time.monotonic() - started:.0f} s. {next_steps(folder)}")
    return 0


def steps(folder: Path, rows: list[dict]) -> dict[str, tuple[str, Callable[[], None]]]:
    """The steps in order: name -> (description, function). The results are appended to `rows`."""
    trainings = {
        TEACHER: "train the teacher on 112 px images",
        SCRATCH: f"train a {PX} px student on labels alone",
        AIRD: f"distil a {PX} px student by AIRD as published",
        AIRD_COSINE: f"distil a {PX} px student by AIRD + cosine",
    }
    return {
        "draw": ("render images of synthetic identities", partial(draw_images, folder)),
        **{name: (what, partial(train, folder, name)) for name, what in trainings.items()},
        "evaluate": ("evaluate on unseen identities", lambda: rows.extend(evaluate(folder))),
        "report": ("write the report", partial(report, folder)),
    }


def clock(started: float, done: float) -> str:
    """The elapsed time and, after the first step, an estimate of the rest. done: share of the work, 0..1."""
    so_far = time.monotonic() - started
    left = f", about {so_far * (1 - done) / done / 60:.0f} min left" if done else ""
    return f"({so_far / 60:.1f} min so far{left})"


def python(script: str, *arguments: str) -> None:
    """Run one of the project's scripts; exit if it fails."""
    code = subprocess.run([sys.executable, str(ROOT / script), *arguments], cwd=ROOT).returncode
    if code:
        sys.exit(code)


def draw_images(folder: Path) -> None:
    """Write training images as RecordIO, and pairs of other identities."""
    if not (folder / "faces" / "train.rec").exists():
        size = ["--people", "300", "--faces-per-person", "16"]
        python("tools/make_rec.py", "--synthetic", *size, "--seed", "0", str(folder / "faces"))
    if not (folder / "pairs.bin").exists():
        size = ["--people", "200", "--first-person", "100000", "--pairs", "4000"]
        python("tools/make_bin.py", "--synthetic", *size, str(folder / "pairs.bin"))


def train(folder: Path, recipe: str) -> None:
    """Run `train.py` on a recipe."""
    python("train.py", f"recipes/quickstart/{recipe}.py", *path_keys(folder, recipe))


def path_keys(folder: Path, recipe: str) -> list[str]:
    """The recipe's path keys, under `folder`."""
    keys = {"rec": folder / "faces", "output": folder / recipe, "bank": folder / "bank"}
    if recipe in (AIRD, AIRD_COSINE):
        keys["teacher"] = folder / TEACHER / "model.pt"
    return [f"{key}={value}" for key, value in keys.items()]


def evaluate(folder: Path) -> list[dict]:
    """Rows of `aird evaluate` on unseen identities, each with the model's name; also written to comparison.json."""
    from aird_plugin.evaluation.pair_evaluator import PairEvaluator
    from aird_plugin.models.load import load_model

    teacher = load_model(folder / TEACHER)
    specs = [("teacher, 112 px images", teacher, 112, ("lr-lr",)), (f"teacher, {PX} px images", teacher, PX, ("lr-lr", "lr-hr"))]
    for run, name in NAMES.items():
        specs.append((name, load_model(folder / run), PX, ("lr-lr",) if run == SCRATCH else ("lr-lr", "lr-hr")))
    evaluator, rows = PairEvaluator(teacher, folder / "pairs.bin", teacher), []
    for name, network, px, protocols in specs:
        evaluator = evaluator.with_student(network)
        rows += [{"name": name, **evaluator.evaluate(px, protocol)} for protocol in protocols]
    (folder / "comparison.json").write_text(json.dumps(rows, indent=1))
    return rows


def report(folder: Path) -> None:
    """Write report.html of all runs."""
    from aird_plugin.__main__ import main as aird

    runs = [str(folder / name) for name in NAMES]
    options = ["--pairs", str(folder / "pairs.bin"), "--px", str(PX), "--teacher", str(folder / TEACHER)]
    if code := aird(["report", *runs, "--out", str(folder / "report.html"), *options]):
        sys.exit(code)


def table(rows: list[dict]) -> str:
    """The results as text, one line per network."""
    lines = [f"{'accuracy on unseen identities, per cent':<40}{f'LR-LR {PX} px':>22}{f'LR-HR {PX} px':>22}"]
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name]
        cells = {row["protocol"]: "{:.2f} ({:.1f}-{:.1f})".format(row["accuracy"], *row["ci95"]) for row in own}
        lines.append(f"{name:<40}{cells['lr-lr']:>22}{cells.get('lr-hr', 'n/a'):>22}")
    lines += ["in brackets: 95% interval. LR-HR: the teacher embeds the HR image, so the student must be distilled from it"]
    return "\n".join(lines)


def next_steps(folder: Path) -> str:
    """Suggested next commands, with this machine's paths."""
    aird, here = Path(sys.executable).with_name("aird"), Path(os.path.relpath(folder))
    lines = (
        "Next:",
        f"  open {here / 'report.html'} in a browser: curves, accuracy with intervals, the hardest pairs",
        f"  {os.path.relpath(aird)} demo {here / AIRD_COSINE} --teacher {here / TEACHER} --pairs {here / 'pairs.bin'}",
        "  your own photos: README.md, section 'Train'",
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
