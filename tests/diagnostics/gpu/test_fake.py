"""Recipes under fake CUDA tensors, in a process of their own: a device guard is not unregistered."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NAMES = ("faces15k_small_lr16_align", "faces15k_small_lr16_at", "faces15k_small_allsizes")
# The second time, a term makes a tensor without naming its device. A guard of CUDA stays in the process.
CODE = """
import json, sys, torch
from pathlib import Path
from aird_plugin.diagnostics.gpu import fake, synthetic
from aird_plugin.diagnostics.gpu.check import CheckContext, Sizes
from aird_plugin.losses.cosine import CosineRegressionLoss

try:
    fake.enable_fake_cuda()
except RuntimeError as problem:
    sys.exit(f"skip: {problem}")
context = CheckContext(torch.device("cpu"), Path(sys.argv[1]), Sizes(identities=8))
files = [path for path in synthetic.recipe_files() if path.stem in sys.argv[2:]]
rows = [list(fake.check_fake(context, files))]
right = CosineRegressionLoss.forward
CosineRegressionLoss.forward = lambda self, inputs: right(self, inputs) + (inputs.student_BD[:, 0] * torch.ones(8)).sum()
rows.append(list(fake.check_fake(context, files[:1])))
print(json.dumps(rows))
"""


@pytest.mark.slow
def test_recipes_mix_no_devices_and_a_mixed_device_is_found(tmp_path):
    command = [sys.executable, "-c", CODE, str(tmp_path), *NAMES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.stderr.startswith("skip: "):
        pytest.skip(f"no fake CUDA tensors: {done.stderr[6:].strip()}; install a C++ compiler")
    assert done.returncode == 0, done.stderr
    followed, mixed = json.loads(done.stdout.splitlines()[-1])
    assert [row[:2] for row in followed] == [["fake forward of 3 recipes with CUDA tensors", "ok"]]
    assert mixed[0][1] == "FAILED" and "two devices" in mixed[0][2]
