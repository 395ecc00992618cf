"""Verification of face pairs against arcface_torch's own, in turns, on the CPU: time, memory, equality to the last bit.

    python tools/bench_evaluation.py --arcface-torch DIR --pairs lfw.bin

Time: ten folds of 6,000 drawn pairs, 512 numbers a face. Ours take float32, which `embed` gives; theirs take the same numbers in
float64, which their `test` gives. Where a fold's accuracy, TPR or FPR differs in one bit, this stops.
Memory: a process of its own reads --pairs, embeds every face with a native student and verifies; ours at 112 and at 16 px,
theirs at 112. What is told is its peak less what it had after all imports and the student's first answer. Linux alone says that.
"""

import argparse
import importlib
import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from aird_plugin.threads import bound_spinning

bound_spinning()

import numpy as np
import torch

from aird_plugin.__main__ import add_checkout_argument
from aird_plugin.bridge import checkout, seams
from aird_plugin.bridge.tools import BATCH, FOLDS, opened
from aird_plugin.evaluation.protocol import Session
from aird_plugin.evaluation.verification import THRESHOLDS_T, fold_rates, verify
from aird_plugin.export.graph import for_112_px
from aird_plugin.models import build
from aird_plugin.paths import expand_arguments
from aird_plugin.ratios import AT_LEAST, AT_MOST, Row, compare, in_turns, tell

WIDTH = 512
STUDENT, PX = "native16_0.05m", 16
GIB = 2**20  # of the KiB in which Linux tells memory


def main() -> int:
    args = arguments()
    if args.child:
        print(json.dumps(memory(args)))
        return 0
    rows = []
    if args.arcface_torch:
        rows += time_rows(args)
    else:
        print("no --arcface-torch DIR: nothing of theirs is measured")
    if args.pairs:
        rows.append(memory_row(args))
    else:
        print("no --pairs FILE: memory is not measured")
    tell(rows, args.json)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkout_argument(parser)
    parser.add_argument("--pairs", help="InsightFace's .bin, best of 6,000 pairs")
    parser.add_argument("--drawn", type=int, default=6000, help="drawn pairs for the times. default: 6000")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--child", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    return expand_arguments(parser.parse_args())


def time_rows(args) -> list[Row]:
    """Their functions against ours on the same embeddings."""
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
        compare(f"{what}: {theirs} / {ours}", AT_LEAST, 80, seconds[theirs], seconds[key], told(seconds[theirs], seconds[key]))
        for theirs, ours, key in (("calculate_roc", "fold_rates", "rates"), ("evaluate", "verify", "verify"))
    ]


def drawn_pairs(pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors, float32 (2N, D), every second pair noisy copies, hard enough for errors; and which pairs those are."""
    random, same_N = np.random.default_rng(0), np.arange(pairs) % 2 == 0
    e_2ND = random.standard_normal((2 * pairs, WIDTH), np.float32)
    e_2ND[1::2] += 0.1 * same_N[:, None] * e_2ND[0::2]
    return e_2ND / np.linalg.norm(e_2ND, axis=1, keepdims=True), same_N


@contextmanager
def upstream(directory: str):
    """Their verification module, mended for today's scipy, until the context closes."""
    with opened(checkout.find(directory, seams.IJB_OF_ONNX), seams.VERIFICATION):
        yield importlib.import_module(seams.VERIFICATION)


def refuse_difference(script, e_2ND, e64_2ND, same_N) -> None:
    """Exit where a fold differs."""
    tpr_T, fpr_T, accuracy_F, *_ = script.evaluate(e64_2ND, same_N)
    ours = fold_rates(e_2ND, same_N)
    pairs = (np.mean(ours.tpr_FT, 0), tpr_T), (np.mean(ours.fpr_FT, 0), fpr_T), (ours.accuracy_F, accuracy_F)
    equal = all(one.tobytes() == np.asarray(other).tobytes() for one, other in pairs)
    if not equal or verify(e_2ND, same_N)["accuracy"] != 100 * np.mean(accuracy_F):
        sys.exit("error: a fold's accuracy, TPR or FPR is not upstream's to the last bit")


def told(theirs: list[float], ours: list[float]) -> str:
    return f"{1000 * np.median(theirs):.0f} ms against {1000 * np.median(ours):.1f} ms; every fold equal to the last bit"


def memory_row(args) -> Row:
    """Ours in GiB, told beside theirs where a checkout is named."""
    known = {who: in_a_process(who) for who in ("ours", *(["theirs"] if args.arcface_torch else []))}
    ours = known["ours"]["gib"]
    detail = "; ".join(f"{who} {one['gib']:.2f} GiB, accuracy at 112 px {one['accuracy']:.3f}%" for who, one in known.items())
    return Row(f"GiB for {known['ours']['pairs']:,} pairs", AT_MOST, 0.5, ours, ours, ours, detail)


def in_a_process(who: str) -> dict:
    command = [sys.executable, __file__, *sys.argv[1:], "--child", who]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def memory(args) -> dict:
    """Peak memory of one side's evaluation, less what the process had before."""
    torch.manual_seed(0)
    student = build(STUDENT, WIDTH).eval()
    student(torch.zeros(2, 3, PX, PX))
    if args.child == "ours":
        before = kib("VmRSS")
        session = Session(student, args.pairs)
        row = session.evaluate(112, "lr-lr")
        session.evaluate(PX, "lr-lr")
        return {"gib": (kib("VmHWM") - before) / GIB, "pairs": row["n_pairs"], "accuracy": row["accuracy"]}
    with upstream(args.arcface_torch) as script:
        before, network = kib("VmRSS"), for_112_px(student)
        data_set = script.load_bin(args.pairs, (112, 112))
        *_, accuracy, _, _, _ = script.test(data_set, network, BATCH, FOLDS)
        return {"gib": (kib("VmHWM") - before) / GIB, "pairs": len(data_set[1]), "accuracy": 100 * float(accuracy)}


def kib(what: str) -> int:
    """A figure of this process: VmRSS, its memory now, or VmHWM, the most it ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1])


if __name__ == "__main__":
    sys.exit(main())
