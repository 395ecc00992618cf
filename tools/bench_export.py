"""Images per second of exported files in onnxruntime, in turns, in one run.

    python tools/bench_export.py FILE.onnx FILE.onnx ... [--threads 1] [--batch 64]

The figure is the best of all turns, the ratio is to the first file.
"""

import argparse
import sys
import time
from pathlib import Path

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np

from aird_plugin.utils.paths import expand_arguments


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=15)
    args = expand_arguments(parser.parse_args())
    runs = {file: prepare(file, args) for file in args.files}
    best = dict.fromkeys(args.files, float("inf"))
    for _ in range(args.turns):
        for file, run in runs.items():
            started = time.perf_counter()
            run()
            best[file] = min(best[file], time.perf_counter() - started)
    print(f"{args.threads} thread(s), batch {args.batch}, best of {args.turns} turns\n")
    print("| file | images/s | ratio | MB |\n|---|---|---|---|")
    first = best[args.files[0]]
    for file in args.files:
        print(f"| {file.name} | {args.batch / best[file]:.0f} | {first / best[file]:.2f} | {file.stat().st_size / 1e6:.2f} |")
    return 0


def prepare(file: Path, args):
    """A call that runs one batch, already warmed up."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    data = session.get_inputs()[0]
    images = np.random.default_rng(0).uniform(-1, 1, (args.batch, 3, *data.shape[2:])).astype(np.float32)
    session.run(None, {data.name: images})
    return lambda: session.run(None, {data.name: images})


if __name__ == "__main__":
    sys.exit(main())
