import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and kills by the size of files")


def kill(*words: str, before: str = "") -> subprocess.CompletedProcess:
    """The tool in a process of its own, with `before` run first."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom tools import kill\n{before}\nsys.exit(kill.main())"
    return subprocess.run([sys.executable, "-c", script, *words], env=os.environ | {"PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=900)  # fmt: skip


def test_a_run_and_a_bank_outlive_being_killed(tmp_path):
    done = kill("run", "bank", "--trials", "3", "--json", str(tmp_path / "told.json"))
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads((tmp_path / "told.json").read_text())
    assert [(row["work"], row["trials"]) for row in told] == [("run", 3), ("bank", 3)]
    assert all(row["kills"] >= 2 for row in told)


def test_a_page_that_is_not_written_atomically_is_found_half_written():
    careless = "from aird_plugin import files\ndef careless(path, content):\n    path.parent.mkdir(parents=True, exist_ok=True)\n"
    careless += "    with open(path, 'wb') as file:\n"
    careless += "        content(file) if callable(content) else file.write(content)\nfiles.write_atomically = careless"
    done = kill("report", "--trials", "12", before=careless)
    assert done.returncode == 1 and "Fault: looking at out" in done.stderr


def test_a_run_that_does_not_go_on_as_it_was_is_told():
    forgetful = "from aird_plugin import loop\nloop.resume = lambda training: 0 if loop.checkpoint.load_latest("
    forgetful += "loop.Path(training.recipe.run.checkpoints)) is None else 2"
    done = kill("run", "--trials", "6", before=forgetful)
    assert done.returncode == 1 and "not as in the unbroken one: model" in done.stderr


@pytest.mark.slow
def test_everything_outlives_being_killed():
    done = kill("--trials", "3", "--seed", "1")
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_work_that_is_not_there_is_refused():
    done = kill("nonsense")
    assert done.returncode == 2 and "there are run, two ranks, bank, onnx, report" in done.stderr
