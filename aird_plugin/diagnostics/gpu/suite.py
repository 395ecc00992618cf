"""All checks in order, and the table that docs/benchmarks/gpu.md takes."""

import datetime
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from aird_plugin.diagnostics.gpu.arcface_torch import check_arcface_torch
from aird_plugin.diagnostics.gpu.check import FAILED, SMALL_SIZES, Check, CheckContext, Row, Sizes, table
from aird_plugin.diagnostics.gpu.images import check_degradations, check_resize
from aird_plugin.diagnostics.gpu.inference import check_evaluation, check_export
from aird_plugin.diagnostics.gpu.processes import run_limited
from aird_plugin.diagnostics.gpu.runs import check_bank, check_compile, check_ranks, check_resume
from aird_plugin.diagnostics.gpu.speed import check_speed
from aird_plugin.diagnostics.gpu.steps import check_steps
from aird_plugin.training.deterministic import WORKSPACE

# Time limit of a check in seconds.
LIMIT_S = 300.0
STEPS = "steps"
# The long check of every recipe comes last: what `minutes` cuts off is the rest of it.
CHECKS: dict[str, Check] = {
    "resize": check_resize,
    "degradations": check_degradations,
    "bank": check_bank,
    "resume": check_resume,
    "evaluation": check_evaluation,
    "export": check_export,
    "compile": check_compile,
    "ranks": check_ranks,
    "host": check_arcface_torch,
    "speed": check_speed,
    STEPS: check_steps,
}
NO_GPU = "no GPU: this torch ({version}) sees no CUDA device; {remedy}"


def run_checks(
    device: str = "cuda",
    only: Sequence[str] = (),
    checkout: str | None = None,
    minutes: float = 10.0,
    scratch: str | None = None,
    limit_s: float = LIMIT_S,
) -> int:
    """Run the checks of these names (default: all), print the rows as they come and the table at the end.

    Each runs in a process of its own, which is ended after `limit_s` seconds; its row is then FAILED.
    device: "cuda", or "cpu" to compare the CPU with itself, on less data. minutes: no check, and no further recipe, begins
    after them. scratch: a folder to keep images, banks and runs in. Returns 1 if a check failed, 2 without a GPU, else 0.
    Raises ValueError for an unknown name.
    """
    if unknown := set(only) - set(CHECKS):
        raise ValueError(f"no check {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    if device == "cuda" and not torch.cuda.is_available():
        print(no_gpu(), file=sys.stderr)
        return 2
    # cuBLAS reads it once, at its first product; deterministic=True needs it.
    os.environ.setdefault(WORKSPACE, ":4096:8")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(scratch or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        sizes = SMALL_SIZES if device == "cpu" else Sizes()
        context = CheckContext(torch.device(device), folder.resolve(), sizes, checkout, time.monotonic() + 60 * minutes, limit_s)
        for name in only or CHECKS:
            for row in run_limited(name, CHECKS[name], context, limit_of(name, context)):
                rows.append(row)
                print(f"{row.status or 'note':<8}{row.what}: {row.figure}", file=sys.stderr, flush=True)
    print(f"{machine(device)}\n\n{table(rows)}")
    return 1 if any(row.status == FAILED for row in rows) else 0


def limit_of(name: str, context: CheckContext) -> float:
    """Seconds that a check may take. `steps` watches the deadline itself and has the limit for its last recipe."""
    return context.limit_s + (max(0.0, context.deadline - time.monotonic()) if name == STEPS else 0.0)


def no_gpu() -> str:
    """The line for a machine without a GPU: the reason, and what to do."""
    built = torch.version.cuda
    remedy = f"it is built for CUDA {built}: check the driver (nvidia-smi)" if built else "install a CUDA build of torch"
    return NO_GPU.format(version=torch.__version__, remedy=remedy)


def machine(device: str) -> str:
    """The line above the table."""
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())] if device == "cuda" else []
    names = f"{len(gpus)} x {gpus[0]}, CUDA {torch.version.cuda}" if gpus else "no GPU, the CPU compared with itself"
    today = datetime.date.today().isoformat()
    return f"{names}; {os.cpu_count()} cores; Python {platform.python_version()}, torch {torch.__version__}; {today}"
