"""Write a recipe, run `train.py` on two ranks, and read what a run wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from aird_plugin.config.recipe import from_flat
from aird_plugin.training import loop
from aird_plugin.utils.errors import Interrupted

ROOT = Path(__file__).parents[1]


def write_recipe(path: Path, keys: dict[str, Any]) -> Path:
    """Write a recipe file with these keys; returns its path."""
    path.write_text(f"from easydict import EasyDict\n\nconfig = EasyDict({keys!r})\n")
    return path


def metrics(folder) -> list[dict]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def weights(folder) -> dict[str, torch.Tensor]:
    """The student's state dict, model.pt."""
    return torch.load(Path(folder) / "model.pt", weights_only=True)


def assert_same_to_the_bit(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """The same names with the same tensors."""
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def train_on_two_ranks(*words) -> subprocess.CompletedProcess:
    """`train.py WORDS` under torchrun on two ranks; asserts that it ends well."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(ROOT / "train.py")]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *map(str, words)], env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done


def stop_after(keys: dict, steps: int) -> None:
    """Train with a stop signal after this many steps."""
    calls = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop.distributed, "any_rank", lambda *_: calls.append(0) or len(calls) >= steps)
        with pytest.raises(Interrupted):
            loop.train(from_flat(keys))
