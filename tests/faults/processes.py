"""Training runs in subprocesses, for fault injection."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.runs import ROOT, assert_same_to_the_bit, weights

PATIENCE_S = 120


def start(recipe: Path, *words: str, before: str = "", **environment: str) -> subprocess.Popen:
    """`aird train RECIPE WORDS`, after the Python in `before`."""
    script = f"import sys\n{before}\nfrom aird_plugin.__main__ import main\nsys.exit(main(['train', *sys.argv[1:]]))"
    return subprocess.Popen(
        [sys.executable, "-c", script, str(recipe), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment,
    )


def slowly(seconds: float = 0.05) -> str:
    """Python code that delays every step, so that a test can interfere with the run."""
    return (
        "import time\nfrom aird_plugin.training import loop\nstep = loop.take_step\n"
        f"def slow(*a):\n    time.sleep({seconds})\n    return step(*a)\nloop.take_step = slow"
    )


def wait_for_step(run: subprocess.Popen, folder: Path, step: int) -> None:
    """Wait until metrics.jsonl holds that step."""
    until = time.monotonic() + PATIENCE_S
    while not any(line["step"] >= step for line in lines(folder)):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until, "the run did not reach the step"
        time.sleep(0.01)


def lines(folder: Path) -> list[dict]:
    """Complete lines of metrics.jsonl, without the speed."""
    path = folder / "metrics.jsonl"
    whole = path.read_text().split("\n")[:-1] if path.exists() else []
    return [{key: value for key, value in json.loads(line).items() if key != "samples_per_s"} for line in whole]


def assert_equals_uninterrupted(folder: Path, uninterrupted: Path) -> None:
    """The same weights and the same log."""
    assert lines(folder) == lines(uninterrupted)
    assert_same_to_the_bit(weights(folder), weights(uninterrupted))
