"""From nothing to a 16 px student that beats its teacher on tiny faces, on a CPU, in about ten minutes.

    python tools/quickstart.py [--folder runs/quickstart]

Draws images of identities that do not exist, trains a teacher on the 112 px images, then three students on the same images
downsampled to 16 px: from scratch, by AIRD as published, and by AIRD + cosine. All are tested on identities that none of them
has seen, and a report shows them side by side. Run again, it goes on where it stopped.
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

from aird_plugin.paths import expand_user
from aird_plugin.threads import bound_spinning

ROOT = Path(__file__).resolve().parents[1]
PX = 16
# The runs, in order; what the table calls those of students.
TEACHER, SCRATCH, AIRD, AIRD_COSINE = RUNS = ("quickstart_teacher", "quickstart_scratch", "quickstart_aird", "quickstart")
NAMES = {SCRATCH: "student from scratch", AIRD: "AIRD (cls + IID + RID)", AIRD_COSINE: "AIRD + cosine"}
# Share of the whole that each step took where it was measured; for the time left.
SHARES = {"draw": 0.13, TEACHER: 0.47, SCRATCH: 0.07, AIRD: 0.12, AIRD_COSINE: 0.11, "evaluate": 0.04, "report": 0.06}


def main() -> int:
    bound_spinning()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/quickstart"), help="where everything goes")
    folder = expand_user(parser.parse_args().folder).resolve()
    started, done = time.monotonic(), 0.0
    rows: list[dict] = []
    for number, (name, (what, work)) in enumerate(steps(folder, rows).items(), 1):
        print(f"\n== step {number} of {len(SHARES)}: {what} {clock(started, done)}", flush=True)
        work()
        done += SHARES[name]
    print(f"\n{table(rows)}\n")
    print(f"{time.monotonic() - started:.0f} s. {next_steps(folder)}")
    return 0


def steps(folder: Path, rows: list[dict]) -> dict[str, tuple[str, Callable[[], None]]]:
    """What is done, in order: name -> (a line for the screen, the work). `rows` takes the results."""
    trained = {
        TEACHER: "train the teacher on 112 px images", SCRATCH: f"train a {PX} px student on labels alone",
        AIRD: f"distil a {PX} px student by AIRD as published", AIRD_COSINE: f"distil a {PX} px student by AIRD + cosine",
    }  # fmt: skip
    return {
        "draw": ("draw images of identities that do not exist", partial(draw_images, folder)),
        **{name: (what, partial(train, folder, name)) for name, what in trained.items()},
        "evaluate": ("test them on identities that none has seen", lambda: rows.extend(evaluate(folder))),
        "report": ("write the report", partial(report, folder)),
    }


def clock(started: float, done: float) -> str:
    """The time so far and, once a step is done, about how long the rest takes. done: share of the work, 0..1."""
    so_far = time.monotonic() - started
    left = f", about {so_far * (1 - done) / done / 60:.0f} min left" if done else ""
    return f"({so_far / 60:.1f} min so far{left})"


def python(script: str, *arguments: str) -> None:
    """Run one of the project's own commands, as the README does; stop where it fails."""
    code = subprocess.run([sys.executable, str(ROOT / script), *arguments], cwd=ROOT).returncode
    if code:
        sys.exit(code)


def draw_images(folder: Path) -> None:
    """Training images as RecordIO, and pairs of other identities."""
    if not (folder / "faces" / "train.rec").exists():
        people = ["--people", "300", "--faces-per-person", "16"]
        python("tools/make_rec.py", "--synthetic", *people, "--seed", "0", str(folder / "faces"))
    if not (folder / "pairs.bin").exists():
        people = ["--people", "200", "--first-person", "100000", "--pairs", "4000"]
        python("tools/make_bin.py", "--synthetic", *people, str(folder / "pairs.bin"))


def train(folder: Path, recipe: str) -> None:
    """One run of `train.py`."""
    python("train.py", f"recipes/{recipe}.py", *places(folder, recipe))


def places(folder: Path, recipe: str) -> list[str]:
    """Recipe keys that name files under `folder`."""
    keys = {"rec": folder / "faces", "output": folder / recipe, "bank": folder / "bank"}
    if recipe in (AIRD, AIRD_COSINE):
        keys["teacher"] = folder / TEACHER / "model.pt"
    return [f"{key}={value}" for key, value in keys.items()]


def evaluate(folder: Path) -> list[dict]:
    """Accuracy on unseen identities, also into comparison.json: the model's name beside each row of `aird evaluate`."""
    from aird_plugin.evaluation.protocol import Session
    from aird_plugin.models.load import load_model

    teacher = load_model(folder / TEACHER)
    asked = [("teacher, 112 px images", teacher, 112, ("lr-lr",)), (f"teacher, {PX} px images", teacher, PX, ("lr-lr", "lr-hr"))]
    for run, name in NAMES.items():
        asked.append((name, load_model(folder / run), PX, ("lr-lr",) if run == SCRATCH else ("lr-lr", "lr-hr")))
    session, rows = Session(teacher, folder / "pairs.bin", teacher), []
    for name, network, px, protocols in asked:
        session = session.with_student(network)
        rows += [{"name": name, **session.evaluate(px, protocol)} for protocol in protocols]
    (folder / "comparison.json").write_text(json.dumps(rows, indent=1))
    return rows


def report(folder: Path) -> None:
    """report.html, of all runs."""
    from aird_plugin.__main__ import main as aird

    runs = [str(folder / name) for name in NAMES]
    asked = ["--pairs", str(folder / "pairs.bin"), "--px", str(PX), "--teacher", str(folder / TEACHER)]
    if code := aird(["report", *runs, "--out", str(folder / "report.html"), *asked]):
        sys.exit(code)


def table(rows: list[dict]) -> str:
    """A line for each network."""
    lines = [f"{'accuracy on unseen identities, per cent':<40}{f'LR-LR {PX} px':>22}{f'LR-HR {PX} px':>22}"]
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]
        cells = {row["protocol"]: "{:.2f} ({:.1f}-{:.1f})".format(row["accuracy"], *row["ci95"]) for row in mine}
        lines.append(f"{name:<40}{cells['lr-lr']:>22}{cells.get('lr-hr', 'n/a'):>22}")
    lines += ["in brackets: 95% interval. LR-HR: the teacher embeds the HR image, which needs a student that it has taught"]
    return "\n".join(lines)


def next_steps(folder: Path) -> str:
    """What a newcomer would do next, as commands for this machine."""
    aird, here = Path(sys.executable).with_name("aird"), Path(os.path.relpath(folder))
    lines = (
        "Next:",
        f"  open {here / 'report.html'} in a browser: curves, accuracy with intervals, the hardest pairs",
        f"  {os.path.relpath(aird)} demo {here / AIRD_COSINE} --teacher {here / TEACHER} --pairs {here / 'pairs.bin'}",
        "  your own photos: README.md, section 'Real faces'",
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
