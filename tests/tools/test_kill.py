import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="forks, and kills by file size")]


def kill(*words: str, before: str = "") -> subprocess.CompletedProcess:
    """Run the tool in a separate process, after the code `before`."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom tools import kill\n{before}\nsys.exit(kill.main())"
    return subprocess.run(
        [sys.executable, "-c", script, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
    )


def test_killed_run_and_bank_resume(tmp_path):
    done = kill("run", "bank", "bank in shards", "--trials", "3", "--json", str(tmp_path / "rows.json"))
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["work"], row["trials"]) for row in rows] == [("run", 3), ("bank", 3), ("bank in shards", 3)]
    assert all(row["kills"] >= 2 for row in rows)


def test_half_written_page_is_detected():
    careless = (
        "from aird_plugin.utils import files\ndef careless(path, content):\n    path.parent.mkdir(parents=True, exist_ok=True)\n"
    )
    careless += "    with open(path, 'wb') as file:\n"
    careless += "        content(file) if callable(content) else file.write(content)\nfiles.write_atomically = careless"
    done = kill("report", "--trials", "12", before=careless)
    assert done.returncode == 1 and "Fault: checking out" in done.stderr


def test_wrong_resumption_is_detected():
    forgetful = "from pathlib import Path\nfrom aird_plugin.training import checkpoint, loop\n"
    forgetful += (
        "loop.resume = lambda state: 0 if checkpoint.load_latest(Path(state.setup.recipe.run.checkpoints)) is None else 2"
    )
    done = kill("run", "--trials", "6", before=forgetful)
    assert done.returncode == 1 and "not as in the uninterrupted one: model" in done.stderr


@pytest.mark.slow
def test_every_killed_work_resumes():
    done = kill("--trials", "3", "--seed", "1")
    assert done.returncode == 0, done.stderr[-2000:]


def test_unknown_work_is_rejected():
    done = kill("nonsense")
    assert done.returncode == 2 and "there are run, two ranks, bank, bank in shards, onnx, report" in done.stderr
