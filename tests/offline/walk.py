"""What a user does from quickstart to report, small, in one process: FOLDER. Ends with 0 where all of it went well."""

import importlib
import pkgutil
import sys
from pathlib import Path

import aird_plugin
from aird_plugin.__main__ import main
from tools import make_bin, make_rec, quickstart

SMALL = ["num_epoch=1", "batch_size=8", "warmup_epoch=0", "device=cpu"]


def walk(folder: Path) -> None:
    """Quickstart's own steps with its own recipes, then the verbs of the README."""
    for module in pkgutil.walk_packages(aird_plugin.__path__, "aird_plugin."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    drawn = ["--synthetic", "--people", "8", "--faces-per-person", "6", str(folder / "faces")]
    assert make_rec.main(drawn) in (0, None)
    pairs = str(folder / "pairs.bin")
    assert make_bin.main(["--synthetic", pairs, "--people", "40", "--first-person", "1000", "--pairs", "80"]) == 0
    for recipe in quickstart.RUNS:
        done(["train", f"recipes/quickstart/{recipe}.py", *quickstart.path_keys(folder, recipe), *SMALL])
    told = quickstart.table(quickstart.evaluate(folder))
    assert "AIRD (cls + IID + RID)" in told and "AIRD + cosine" in told
    quickstart.report(folder)
    assert (folder / "report.html").stat().st_size and "demo" in quickstart.next_steps(folder)
    student, teacher = str(folder / "quickstart"), str(folder / "quickstart_teacher" / "model.pt")
    done(["evaluate", student, "--pairs", pairs, "--px", "16", "--json", str(folder / "rows.json")])
    done(["export", student, "--out", str(folder / "onnx"), "--count", "8"])
    done(["report", student, "--out", str(folder / "report.html"), "--pairs", pairs, "--px", "16", "--teacher", teacher])
    done(["doctor", "recipes/quickstart/quickstart.py"], codes=(0, 1))
    done(["recipes", str(folder / "recipes")])
    assert Path(teacher).exists()


def done(words: list[str], codes: tuple[int, ...] = (0,)) -> None:
    """One command of `aird`. The doctor's 1 says that something is missing."""
    assert main(words) in codes, words


if __name__ == "__main__":
    walk(Path(sys.argv[1]))
