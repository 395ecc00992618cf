"""Time of 1:N identification: `identify` on random embeddings, against the bare matrix product with its top 20.

    python tools/bench_identify.py [--probes 1000] [--gallery 150000] [--width 512] [--turns 3]

Both run in turns in one process; the best of each counts, and the ratio is the result. Peak memory is the process's, including
the embeddings.
"""

import argparse
import resource
import sys
import time

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np
import torch

from aird_plugin.evaluation.identification import identify
from aird_plugin.utils.paths import expand_arguments


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes", type=int, default=1000)
    parser.add_argument("--gallery", type=int, default=150_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--mates", type=int, default=2, help="gallery entries of each probe's identity")
    parser.add_argument("--block", type=int, default=500, help="probes per block of the bare product")
    parser.add_argument("--turns", type=int, default=3)
    args = expand_arguments(parser.parse_args())
    gallery_GD, probes_PD = random_units(args.gallery, args.width, 0), random_units(args.probes, args.width, 1)
    identities = args.probes * 4 // 5
    label_P = np.where(np.arange(args.probes) < identities, np.arange(args.probes), -1)
    label_G = np.where(np.arange(args.gallery) < identities * args.mates, np.arange(args.gallery) % identities, -1)
    calls = {
        "matrix product and top 20": lambda: bare(probes_PD, gallery_GD, args.block),
        "identify": lambda: identify(probes_PD, label_P, gallery_GD, label_G),
    }
    best, peak = dict.fromkeys(calls, float("inf")), {}
    # `identify` runs first, so that the peak after it is its own.
    for turn in range(args.turns):
        for name in reversed(calls):
            started = time.perf_counter()
            calls[name]()
            best[name] = min(best[name], time.perf_counter() - started)
            if turn == 0:
                peak[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{args.probes:,} x {args.gallery:,} x {args.width}, {torch.get_num_threads()} thread(s), best of {args.turns}\n")
    print("| what | s | ratio | peak GiB so far |\n|---|---|---|---|")
    for name, seconds in best.items():
        ratio = seconds / best["matrix product and top 20"]
        print(f"| {name} | {seconds:.2f} | {ratio:.2f} | {peak[name]:.2f} |")
    return 0


def random_units(count: int, width: int, seed: int) -> np.ndarray:
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, out=rows).numpy()


def bare(probes_PD: np.ndarray, gallery_GD: np.ndarray, block: int) -> None:
    """Scores and the top 20 of each probe, without metrics or checks."""
    gallery = torch.from_numpy(gallery_GD).T
    for rows in torch.from_numpy(probes_PD).split(block):
        torch.topk(rows @ gallery, 20)


if __name__ == "__main__":
    sys.exit(main())
