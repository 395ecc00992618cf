"""From a frame to a native student's input: one warp straight to its px, against InsightFace's 112 px crop and a resize.

    python tools/bench_warp.py PAIRS.bin [--student RUN] [--px 12 16 24 32 48 64] [--turns 7]

RUN: a run folder, or the native .onnx of an export; without it the crops of 25 pairs alone are compared. Each image of PAIRS
becomes a face of px in a frame, at a random position between pixels and turned by up to 20 degrees; both images of a pair have
the same px. "direct" is what TinyFaceAnalysis does; "by way of 112" is what the 112 px file of an export does with InsightFace's
crop. Printed: the accuracy of both on the pairs with its interval, the share of pairs on which they decide differently, the mean
difference of their crops in grey levels, and the processor time of a crop, in turns.
"""

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np

from aird_plugin.alignment.crop import template
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.lowres import resize_faces
from aird_plugin.data.pairs import Pairs, distinct_faces, read_pairs
from aird_plugin.evaluation.embed import embed
from aird_plugin.evaluation.sides import input_side
from aird_plugin.evaluation.verification import fold_decisions, verify
from aird_plugin.models.load import load_model
from aird_plugin.recognition.crops import face_crops, face_sizes
from aird_plugin.utils.paths import expand_arguments
from tools.lib.ratios import in_turns

ANGLE = np.radians(20)
TIMED = 50
COLUMNS = (
    "px",
    "direct: accuracy",
    "by way of 112: accuracy",
    "decisions that differ",
    "grey levels",
    "us a crop: direct",
    "by 112",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs")
    parser.add_argument("--student", help="a native student; default: none, and the crops of --side alone")
    parser.add_argument("--side", type=int, default=16, help="without a student: side of the crops. default: 16")
    parser.add_argument("--px", type=int, nargs="+", default=[12, 16, 24, 32, 48, 64])
    parser.add_argument("--network", help="architecture of a bare .pt file")
    parser.add_argument("--turns", type=int, default=7)
    args = expand_arguments(parser.parse_args())
    student = load_model(args.student, args.network) if args.student else None
    side = input_side(student) if student else args.side
    if side == FACE_SIDE:
        parser.error(f"an input of {FACE_SIDE} px gets InsightFace's crop either way; give a native student, or a smaller --side")
    pairs = read_pairs(args.pairs)
    if not student:
        pairs = Pairs(pairs.images[:TIMED], pairs.same[: TIMED // 2])
    images_UHWC, face_2N = distinct_faces(pairs)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for px in args.px:
        rng = np.random.default_rng(0)
        placed = [place(image_HWC, px, rng) for image_HWC in images_UHWC]
        crops = {way: np.concatenate([make(*one, side) for one in placed]) for way, make in WAYS.items()}
        accuracies = compare(student, crops, face_2N, pairs.same) if student else ["-"] * 3
        cells = [*accuracies, *compare_crops(crops), *times(placed[:TIMED], side, args.turns)]
        print(f"| {px} | {' | '.join(cells)} |", flush=True)
    return 0


def compare(student, crops: dict[str, np.ndarray], face_2N: np.ndarray, same_N: np.ndarray) -> list[str]:
    """The accuracy of each way, and the share of pairs on which they decide differently."""
    decisions, cells = {}, []
    for way, crops_USSC in crops.items():
        e_2ND = embed(student, crops_USSC, flip=False, label=way)[face_2N]
        figures, decisions[way] = verify(e_2ND, same_N), fold_decisions(e_2ND, same_N)
        cells.append("{:.2f} ({:.1f}-{:.1f})".format(figures["accuracy"], *figures["ci95"]))
    one, other = decisions.values()
    return [*cells, f"{(one != other).mean():.1%}"]


def compare_crops(crops: dict[str, np.ndarray]) -> list[str]:
    """The mean difference of the crops in grey levels."""
    one, other = (crops_USSC.astype(int) for crops_USSC in crops.values())
    return [f"{np.abs(one - other).mean():.1f}"]


def times(placed: list, side: int, turns: int) -> list[str]:
    """The time of a crop by each way, in microseconds."""
    calls = {way: functools.partial(all_crops, make, placed, side) for way, make in WAYS.items()}
    seconds = in_turns(calls, turns, clock=time.process_time)
    return [f"{1e6 * statistics.median(own) / len(placed):.0f}" for own in seconds.values()]


def place(image_HWC: np.ndarray, px: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A BGR frame that shows an aligned RGB image as a turned face of px, and its landmarks (5, 2).

    The image is turned at its full size, twice as wide as it is, and then downsampled by the reference resize.
    """
    import cv2

    wide, angle = 2 * FACE_SIDE, rng.uniform(-ANGLE, ANGLE)
    step = FACE_SIDE // (2 * px)
    shift = rng.integers(-step, step + 1, 2) if step else np.zeros(2, int)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = (FACE_SIDE - 1) / 2
    offset = np.array([wide / 2, wide / 2]) + shift - turn @ np.array([middle, middle])
    matrix_23 = np.concatenate([turn, offset[:, None]], 1)
    frame_HWC = cv2.warpAffine(image_HWC, matrix_23, (wide, wide), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    side = round(px * wide / FACE_SIDE)
    scale = side / wide
    small_HWC = resize_faces(frame_HWC[None], side)[0]
    points_52 = (template() @ turn.T + offset + 0.5) * scale - 0.5
    return np.ascontiguousarray(small_HWC[..., ::-1]), points_52


def direct(frame_HWC: np.ndarray, points_52: np.ndarray, side: int) -> np.ndarray:
    """The crop of TinyFaceAnalysis, (1, S, S, 3)."""
    return face_crops(frame_HWC, *face_sizes(points_52[None]), side)


def by_way_of_112(frame_HWC: np.ndarray, points_52: np.ndarray, side: int) -> np.ndarray:
    """InsightFace's 112 px crop, downsampled by the reference resize."""
    return resize_faces(face_crops(frame_HWC, *face_sizes(points_52[None]), FACE_SIDE), side)


WAYS: dict[str, Callable] = {"direct": direct, "by way of 112": by_way_of_112}


def all_crops(make: Callable, placed: list, side: int) -> None:
    """Make the crop of each frame."""
    for frame_HWC, points_52 in placed:
        make(frame_HWC, points_52, side)


if __name__ == "__main__":
    sys.exit(main())
