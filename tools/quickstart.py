"""From nothing to an AIRD student that beats its teacher on tiny faces, on a CPU, in about ten minutes.

    python tools/quickstart.py [--folder runs/quickstart]

Draws people who do not exist, trains a teacher on their sharp faces, then two students on the same faces shrunk to 16 px: one
from scratch, one distilled by AIRD. All are tested on people that none of them has seen. Run again, it goes on where it stopped.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from aird_plugin.paths import expand_user
from aird_plugin.threads import bound_spinning

ROOT = Path(__file__).resolve().parents[1]
PX = 16
STEPS = ("quickstart_teacher", "quickstart_scratch", "quickstart")


def main() -> int:
    bound_spinning()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/quickstart"), help="where everything goes")
    folder = expand_user(parser.parse_args().folder).resolve()
    started = time.monotonic()
    draw_faces(folder)
    for recipe in STEPS:
        print(f"\n== {recipe} ({time.monotonic() - started:.0f} s so far)", flush=True)
        python("train.py", f"recipes/{recipe}.py", *places(folder, recipe))
    rows = evaluate(folder)
    (folder / "comparison.json").write_text(json.dumps(rows, indent=1))
    print(f"\n{table(rows)}\n")
    print(f"{time.monotonic() - started:.0f} s. The student: {folder / 'quickstart' / 'model.pt'}")
    print(f"all figures: {folder / 'comparison.json'}")
    return 0


def python(script: str, *arguments: str) -> None:
    """Run one of the project's own commands, as the README does; stop where it fails."""
    code = subprocess.run([sys.executable, str(ROOT / script), *arguments], cwd=ROOT).returncode
    if code:
        sys.exit(code)


def draw_faces(folder: Path) -> None:
    """Training people as RecordIO, and pairs of other people."""
    if not (folder / "faces" / "train.rec").exists():
        print("== drawing people who do not exist", flush=True)
        people = ["--people", "300", "--faces-per-person", "16"]
        python("tools/make_rec.py", "--synthetic", *people, "--seed", "0", str(folder / "faces"))
    if not (folder / "pairs.bin").exists():
        people = ["--people", "200", "--first-person", "100000", "--pairs", "4000"]
        python("tools/make_bin.py", "--synthetic", *people, str(folder / "pairs.bin"))


def places(folder: Path, recipe: str) -> list[str]:
    """Recipe keys that name files under `folder`."""
    keys = {"rec": folder / "faces", "output": folder / recipe, "bank": folder / "bank"}
    if recipe == "quickstart":
        keys["teacher"] = folder / "quickstart_teacher" / "model.pt"
    return [f"{key}={value}" for key, value in keys.items()]


def evaluate(folder: Path) -> list[dict]:
    """Accuracy on unseen people: who, protocol, per cent, 95% interval."""
    sys.path.insert(0, str(ROOT))
    from aird_plugin.evaluation.protocol import Session
    from aird_plugin.models.load import load_model

    networks = {name: load_model(folder / run) for name, run in zip(("teacher", "scratch", "aird"), STEPS, strict=True)}
    teacher = networks["teacher"]
    questions = [
        ("teacher, sharp faces", teacher, 112, ("lr-lr",)), ("teacher on low faces", teacher, PX, ("lr-lr", "lr-hr")),
        ("low-from-scratch", networks["scratch"], PX, ("lr-lr",)), ("AIRD", networks["aird"], PX, ("lr-lr", "lr-hr")),
    ]  # fmt: skip
    session = Session(teacher, folder / "pairs.bin", teacher)
    rows = []
    for name, network, px, protocols in questions:
        session = session.with_student(network)
        rows += [{"name": name, **session.evaluate(px, protocol)} for protocol in protocols]
    return rows


def table(rows: list[dict]) -> str:
    """A line for each network."""
    lines = [f"{'accuracy on unseen people, per cent':<38}{f'LR-LR {PX} px':>22}{f'LR-HR {PX} px':>22}"]
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]
        cells = {row["protocol"]: "{:.2f} ({:.1f}-{:.1f})".format(row["accuracy"], *row["ci95"]) for row in mine}
        lines.append(f"{name:<38}{cells['lr-lr']:>22}{cells.get('lr-hr', 'n/a'):>22}")
    lines += ["in brackets: 95% interval. The high side of LR-HR is the teacher's, which low-from-scratch never met"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
