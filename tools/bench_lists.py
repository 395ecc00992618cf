"""Lists of hard negatives from a random sample of the images, against the exact lists of a complete bank.

    python tools/bench_lists.py runs/bank/teacher-v2 --shares 0.5 0.25 0.0625 --json lists.json

For each share of the images as candidates: the share of the exact list that the sampled one holds (recall), and the mean cosine
of the listed negatives to their image, of the first and of all, beside that of the exact lists and of random impostors.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np

from aird_plugin.data.bank.caches import TeacherCache
from aird_plugin.data.bank.neighbors import Candidates, hard_lists
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.json_files import read_object
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.vectors import normalise

BLOCK = 1024


def main() -> int:
    args = arguments()
    bank = TeacherCache(Path(args.bank), read_object(Path(args.bank) / "manifest.json"))
    mean_ND = normalise(np.asarray(bank.embeddings_NVD).astype(np.float32).mean(1))
    exact_NK = np.asarray(bank.hard_NK)[:, : args.length]
    random_NK = np.random.default_rng(1).integers(0, len(mean_ND), (len(mean_ND), 8))
    first, everything = cosines(mean_ND, exact_NK)
    print(f"{len(mean_ND):,} images, width {mean_ND.shape[1]}, lists of {exact_NK.shape[1]}")
    chance = cosines(mean_ND, random_NK)[1]
    print(f"exact: mean cosine {first:.3f} of the first, {everything:.3f} of all; random images {chance:.3f}")
    rows = [{"share": 1.0, "recall": 1.0, "first": first, "all": everything}]
    for share in args.shares:
        candidates = Candidates.sample(mean_ND, int(share * len(mean_ND)))
        found_NK = hard_lists(mean_ND, bank.label_N, exact_NK.shape[1], candidates=candidates)
        first, everything = cosines(mean_ND, found_NK)
        row = {"share": len(candidates.row_M) / len(mean_ND), "recall": recall(exact_NK, found_NK)}
        rows.append(row | {"first": first, "all": everything})
        print(f"{row['share']:.1%} of the images: recall {row['recall']:.1%}, mean cosine {first:.3f}, {everything:.3f}")
    if args.json:
        write_atomically(Path(args.json), json.dumps(rows, indent=1).encode())
    return 0


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bank", help="the folder of a complete teacher cache with exact lists")
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[0.5, 0.25, 0.0625], help="candidates, as shares of the images"
    )
    parser.add_argument("--length", type=int, default=256, help="length of the lists (256)")
    parser.add_argument("--json", help="also write the rows to this file")
    return expand_arguments(parser.parse_args(argv))


def cosines(mean_ND: np.ndarray, lists_NK: np.ndarray) -> tuple[float, float]:
    """Mean cosine of the images to the first of their lists, and to all of them."""
    found_NK = np.full(lists_NK.shape, np.nan, np.float32)
    for start in range(0, len(mean_ND), BLOCK):
        rows = slice(start, start + BLOCK)
        found_NK[rows] = np.einsum("nd,nkd->nk", mean_ND[rows], mean_ND[lists_NK[rows]])
    found_NK[lists_NK < 0] = np.nan
    return float(np.nanmean(found_NK[:, 0])), float(np.nanmean(found_NK))


def recall(exact_NK: np.ndarray, found_NK: np.ndarray) -> float:
    """Share of the exact lists' images that the found lists hold."""
    held = [np.isin(exact_K[exact_K >= 0], found_K).mean() for exact_K, found_K in zip(exact_NK, found_NK, strict=True)]
    return float(np.mean(held))


if __name__ == "__main__":
    sys.exit(main())
