"""Run every ratio benchmark: the speed and memory targets of the project, one row each.

    python tools/bench.py OUT [--only training losses ...] [--arcface-torch DIR] [--mdistiller DIR] [--repdistiller DIR]
                              [--mxnet-python PYTHON] [--pairs lfw.bin] [--device cuda]

OUT holds a JSON file of rows and a log for each part. A part whose rows exist is not measured again, so the same command
resumes, on the same machine with the same package versions. Rows against third-party code need a checkout of it (or a Python
with MXNet 1.9.1) and are skipped without it. The table is printed and written to OUT/bench.md, below a line with the machine
and the package versions.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import torch

from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.paths import expand_arguments
from tools.lib import ratios

HERE = Path(__file__).resolve().parent
# Part -> its script and the options of this tool that it takes, the fastest part first.
PARTS = {
    "evaluation": ("bench_evaluation.py", ["arcface_torch", "pairs"]),
    "reading": ("bench_reading.py", ["mxnet_python", "device"]),
    "losses": ("bench_losses.py", ["mdistiller", "repdistiller", "device"]),
    "terms": ("bench_terms.py", ["device"]),
    "inference": ("bench_inference.py", []),
    "training": ("bench_training.py", ["device"]),
    "spinning": ("bench_spinning.py", []),
}
# The part whose first argument is a folder for exported networks.
KEEPS_FILES = "inference"
PACKAGES = ("torch", "numpy", "onnxruntime")


def main() -> int:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    now, before = machine(args.device), args.out / "machine.txt"
    if before.exists() and before.read_text() != now:
        print(f"error: {args.out} holds rows of {before.read_text()}; this is {now}; name another folder", file=sys.stderr)
        return 1
    write_atomically(before, now.encode())
    failed = [part for part in args.only or PARTS if not measure(args, part)]
    rows = [ratios.Row(*row.values()) for part in PARTS for row in rows_of(args.out / f"{part}.json")]
    text = f"{now}; {datetime.date.today()}\n\n{ratios.table(rows)}\n"
    write_atomically(args.out / "bench.md", text.encode())
    print(text)
    for part in failed:
        print(f"{part}: failed, see {args.out / part}.log", file=sys.stderr)
    return int(bool(failed))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(PARTS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    for name in ("arcface-torch", "mdistiller", "repdistiller"):
        parser.add_argument(f"--{name}", metavar="DIR", help="a checkout")
    parser.add_argument("--pairs", metavar="FILE", help="a .bin of 6,000 pairs, for the memory of verification")
    parser.add_argument("--mxnet-python", metavar="PYTHON", help="Python interpreter with MXNet 1.9.1")
    return expand_arguments(parser.parse_args())


def measure(args, part: str) -> bool:
    """Measure a part in its own process unless its rows exist. Returns whether they exist now."""
    rows = args.out / f"{part}.json"
    if rows.exists():
        return True
    script, takes = PARTS[part]
    given = {name: getattr(args, name) for name in takes if getattr(args, name)}
    options = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
    options = [str(args.out / "networks")] * (part == KEEPS_FILES) + options
    print(f"{part}: {script} {' '.join(options)}", file=sys.stderr, flush=True)
    with (args.out / f"{part}.log").open("w") as log:
        command = [sys.executable, str(HERE / script), *options, "--json", str(rows)]
        code = subprocess.run(command, stdout=log, stderr=log).returncode
    return code == 0


def rows_of(path: Path) -> list[dict]:
    return json.loads(path.read_text()) if path.exists() else []


def machine(device: str) -> str:
    """One line: processor, cores, package versions."""
    processor = next((line.split(":")[1].strip() for line in cpuinfo() if line.startswith("model name")), platform.processor())
    graphics = f", {torch.cuda.get_device_name()}" if device == "cuda" else ""
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)])
    return f"{processor}, {os.cpu_count()} cores{graphics}; {versions}"


def cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []


if __name__ == "__main__":
    sys.exit(main())
