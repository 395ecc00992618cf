"""Every benchmark of ratios in one run: what the project promises of speed and memory, each row with its target.

    python tools/bench.py OUT [--only training losses ...] [--arcface-torch DIR] [--mdistiller DIR] [--repdistiller DIR]
                              [--mxnet-python PYTHON] [--pairs lfw.bin] [--device cuda]

OUT keeps a file of rows and a log for each part; a part that is there is not measured again, so the same command goes on where
it was stopped. Rows against other people's code need a checkout of it (or a Python with MXNet 1.9.1) and are left out without.
The table is printed, and kept as OUT/bench.md under a line that says which machine this was.
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

from aird_plugin.threads import bound_spinning

bound_spinning()

import torch

from aird_plugin import ratios
from aird_plugin.files import write_atomically
from aird_plugin.paths import expand_arguments

HERE = Path(__file__).resolve().parent
# Part -> its script, and which of our options it takes. The order is that of the time they need.
PARTS = {
    "evaluation": ("bench_evaluation.py", ["arcface_torch", "pairs"]),
    "reading": ("bench_reading.py", ["mxnet_python", "device"]),
    "losses": ("bench_losses.py", ["mdistiller", "repdistiller", "device"]),
    "terms": ("bench_terms.py", ["device"]),
    "inference": ("bench_inference.py", []),
    "training": ("bench_training.py", ["device"]),
    "spinning": ("bench_spinning.py", []),
}
# Its first argument is the folder of the networks it has exported.
KEEPS_FILES = "inference"
PACKAGES = ("torch", "numpy", "onnxruntime")


def main() -> int:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    failed = [part for part in args.only or PARTS if not measured(args, part)]
    rows = [ratios.Row(*row.values()) for part in PARTS for row in rows_of(args.out / f"{part}.json")]
    text = f"{machine(args.device)}\n\n{ratios.table(rows)}\n"
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
    parser.add_argument("--pairs", metavar="FILE", help="a .bin of 6,000 pairs, whose verification's memory is measured")
    parser.add_argument("--mxnet-python", metavar="PYTHON", help="the interpreter of an environment with MXNet 1.9.1")
    return expand_arguments(parser.parse_args())


def measured(args, part: str) -> bool:
    """Measure a part in a process of its own, unless that is done. Gives whether its rows are there."""
    rows = args.out / f"{part}.json"
    if rows.exists():
        return True
    script, takes = PARTS[part]
    given = {name: getattr(args, name) for name in takes if getattr(args, name)}
    told = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
    told = [str(args.out / "networks")] * (part == KEEPS_FILES) + told
    print(f"{part}: {script} {' '.join(told)}", file=sys.stderr, flush=True)
    with (args.out / f"{part}.log").open("w") as log:
        command = [sys.executable, str(HERE / script), *told, "--json", str(rows)]
        code = subprocess.run(command, stdout=log, stderr=log).returncode
    return code == 0


def rows_of(path: Path) -> list[dict]:
    return json.loads(path.read_text()) if path.exists() else []


def machine(device: str) -> str:
    """One line: processor, cores, versions, day."""
    processor = next((line.split(":")[1].strip() for line in cpuinfo() if line.startswith("model name")), platform.processor())
    graphics = f", {torch.cuda.get_device_name()}" if device == "cuda" else ""
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)])
    return f"{processor}, {os.cpu_count()} cores{graphics}; {versions}; {datetime.date.today()}"


def cpuinfo() -> list[str]:
    place = Path("/proc/cpuinfo")
    return place.read_text().splitlines() if place.exists() else []


if __name__ == "__main__":
    sys.exit(main())
