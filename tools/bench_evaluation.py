"""Verification of face pairs against arcface_torch's, in turns, on the CPU: time, memory, bit equality.

    python tools/bench_evaluation.py --arcface-torch DIR --pairs lfw.bin

Time: ten folds of 6,000 random pairs of 512-d embeddings. Ours take float32, as `embed` returns; theirs take the same numbers
in float64, as their `test` returns. The tool exits if the accuracy, TPR or FPR of a fold differs in one bit. Memory: a separate
process reads --pairs, embeds every image with a native student and verifies; ours at 112 and at 16 px, theirs at 112 px. The
figure is its peak less its memory after all imports and the student's first forward pass. Linux only.
"""

import argparse
import importlib
import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np
import torch

from aird_plugin.bridge import checkout, hooks
from aird_plugin.bridge.tools import BATCH, FOLDS, opened
from aird_plugin.cli.recipe_arguments import add_checkout_argument
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.evaluation.verification import THRESHOLDS_T, fold_rates, verify
from aird_plugin.export.graph import for_112_px
from aird_plugin.models import build
from aird_plugin.utils.paths import expand_arguments
from tools.lib.ratios import AT_LEAST, AT_MOST, Row, compare, in_turns, print_rows

WIDTH = 512
STUDENT, PX = "native16_0.05m", 16
GIB = 2**20  # in KiB, the unit of /proc


def main() -> int:
    args = arguments()
    if args.child:
        print(json.dumps(memory(args)))
        return 0
    rows = []
    if args.arcface_torch:
        rows += time_rows(args)
    else:
        print("no --arcface-torch DIR: rows against upstream are skipped")
    if args.pairs:
        rows.append(memory_row(args))
    else:
        print("no --pairs FILE: the memory row is skipped")
    print_rows(rows, args.json)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkout_argument(parser)
    parser.add_argument("--pairs", help="InsightFace .bin, preferably of 6,000 pairs")
    parser.add_argument("--drawn", type=int, default=6000, help="random pairs for the times (6000)")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--child", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    return expand_arguments(parser.parse_args())


def time_rows(args) -> list[Row]:
    """Upstream's functions against ours on the same embeddings."""
    e_2ND, same_N = drawn_pairs(args.drawn)
    e64_2ND = e_2ND.astype(np.float64)
    with upstream(args.arcface_torch) as script:
        refuse_difference(script, e_2ND, e64_2ND, same_N)
        seconds = in_turns(
            {
                "rates": lambda: fold_rates(e_2ND, same_N),
                "calculate_roc": lambda: script.calculate_roc(THRESHOLDS_T, e64_2ND[0::2], e64_2ND[1::2], same_N),
                "verify": lambda: verify(e_2ND, same_N),
                "evaluate": lambda: script.evaluate(e64_2ND, same_N),
            },
            args.turns,
        )
    what = f"{args.drawn:,} pairs, {FOLDS} folds, {WIDTH}-d"
    return [
        compare(
            f"{what}: {theirs} / {ours}", AT_LEAST, 80, seconds[theirs], seconds[key], detail_of(seconds[theirs], seconds[key])
        )
        for theirs, ours, key in (("calculate_roc", "fold_rates", "rates"), ("evaluate", "verify", "verify"))
    ]


def drawn_pairs(pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors, float32 (2N, D), and genuine flags (N,): every second pair is a noisy copy, hard enough for errors."""
    random, same_N = np.random.default_rng(0), np.arange(pairs) % 2 == 0
    e_2ND = random.standard_normal((2 * pairs, WIDTH), np.float32)
    e_2ND[1::2] += 0.1 * same_N[:, None] * e_2ND[0::2]
    return e_2ND / np.linalg.norm(e_2ND, axis=1, keepdims=True), same_N


@contextmanager
def upstream(directory: str):
    """Their verification module, patched for today's scipy, until the context closes."""
    with opened(checkout.find(directory, hooks.IJB_OF_ONNX), hooks.VERIFICATION):
        yield importlib.import_module(hooks.VERIFICATION)


def refuse_difference(script, e_2ND, e64_2ND, same_N) -> None:
    """Exit if a fold differs in one bit."""
    tpr_T, fpr_T, accuracy_F, *_ = script.evaluate(e64_2ND, same_N)
    ours = fold_rates(e_2ND, same_N)
    pairs = (np.mean(ours.tpr_FT, 0), tpr_T), (np.mean(ours.fpr_FT, 0), fpr_T), (ours.accuracy_F, accuracy_F)
    equal = all(one.tobytes() == np.asarray(other).tobytes() for one, other in pairs)
    if not equal or verify(e_2ND, same_N)["accuracy"] != 100 * np.mean(accuracy_F):
        sys.exit("error: the accuracy, TPR or FPR of a fold is not bit-identical to upstream's")


def detail_of(theirs: list[float], ours: list[float]) -> str:
    return f"{1000 * np.median(theirs):.0f} ms against {1000 * np.median(ours):.1f} ms; every fold bit-identical"


def memory_row(args) -> Row:
    """Our peak in GiB; upstream's is in the detail if a checkout is given."""
    known = {side: in_a_process(side) for side in ("ours", *(["theirs"] if args.arcface_torch else []))}
    ours = known["ours"]["gib"]
    detail = "; ".join(f"{side} {one['gib']:.2f} GiB, accuracy at 112 px {one['accuracy']:.3f}%" for side, one in known.items())
    return Row(f"GiB for {known['ours']['pairs']:,} pairs", AT_MOST, 0.5, ours, ours, ours, detail)


def in_a_process(side: str) -> dict:
    command = [sys.executable, __file__, *sys.argv[1:], "--child", side]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def memory(args) -> dict:
    """Peak memory of one side's evaluation, less the memory of the process before it."""
    torch.manual_seed(0)
    student = build(STUDENT, WIDTH).eval()
    student(torch.zeros(2, 3, PX, PX))
    if args.child == "ours":
        before = kib("VmRSS")
        evaluator = PairEvaluator(student, args.pairs)
        row = evaluator.evaluate(112, "lr-lr")
        evaluator.evaluate(PX, "lr-lr")
        return {"gib": (kib("VmHWM") - before) / GIB, "pairs": row["n_pairs"], "accuracy": row["accuracy"]}
    with upstream(args.arcface_torch) as script:
        before, network = kib("VmRSS"), for_112_px(student)
        data_set = script.load_bin(args.pairs, (112, 112))
        *_, accuracy, _, _, _ = script.test(data_set, network, BATCH, FOLDS)
        return {"gib": (kib("VmHWM") - before) / GIB, "pairs": len(data_set[1]), "accuracy": 100 * float(accuracy)}


def kib(what: str) -> int:
    """A figure of /proc/self/status in KiB: VmRSS, the memory now, or VmHWM, its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1])


if __name__ == "__main__":
    sys.exit(main())
