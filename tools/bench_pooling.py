"""Several crops of one identity against one crop: the gain of pooling, and of weighted pooling over the plain mean.

    python tools/bench_pooling.py RUN PAIRS.bin --teacher TEACHER --draws 20

For each identity with six images or more in PAIRS, three crops form one template and three others a second one. Each crop is
downsampled to a px drawn from --px and warped as in FaceAnalysis. Printed: rank 1 of the first templates among the second ones,
and the TAR at an FAR of 1%; mean and standard deviation over draws.
"""

import argparse
import sys
from pathlib import Path

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np

from aird_plugin.data.identification import bin_identities, read_square
from aird_plugin.evaluation.embed import embed_sums
from aird_plugin.evaluation.pooling import merge_groups, pool
from aird_plugin.evaluation.sides import as_network_input, input_side
from aird_plugin.models.load import load_model, load_teacher
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.progress import progress
from aird_plugin.utils.vectors import normalise

CROPS, FAR, DEGRADATION = 3, 0.01, "insightface-warp"
WEIGHTS = {
    "one crop": lambda sums_ND, px_N: np.eye(len(px_N))[0],
    "the largest crop": lambda sums_ND, px_N: np.eye(len(px_N))[px_N.argmax()],
    "mean": lambda sums_ND, px_N: np.ones(len(px_N)),
    "by embedding norm": lambda sums_ND, px_N: np.linalg.norm(sums_ND, axis=1),
    "by px": lambda sums_ND, px_N: px_N,
}


def main() -> int:
    args = arguments()
    pictures, label_N = bin_identities(args.pairs)
    images_NHWC = read_square(pictures, 112)
    if args.teacher:
        sums_ND = embed_sums(load_teacher(args.teacher), images_NHWC, label="teacher, identities")
        label_N = merge_groups(sums_ND, label_N, args.merge)
    identities = [rows for rows in (np.flatnonzero(label_N == label) for label in np.unique(label_N)) if len(rows) >= 2 * CROPS]
    student = load_model(args.model)
    side = input_side(student)
    sums_PND = np.stack(
        [embed_sums(student, as_network_input(images_NHWC, px, side, DEGRADATION), label=f"{px} px") for px in args.px]
    )
    rng = np.random.default_rng(0)
    draws = [compare(sums_PND, identities, args.px, rng) for _ in progress(range(args.draws), args.draws, "pooling", "draws")]
    print(f"{len(identities)} identities, {CROPS} crops per template, px {args.px}, {args.draws} draws, {DEGRADATION}\n")
    print(f"| template | rank 1, per cent | TAR at FAR {FAR:.0%}, per cent |\n|---|---|---|")
    for name in WEIGHTS:
        (rank, accepted), spread = (take([draw[name] for draw in draws], axis=0) for take in (np.mean, np.std))
        print(f"| {name} | {rank:.1f} ± {spread[0]:.1f} | {accepted:.1f} ± {spread[1]:.1f} |")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument(
        "--teacher", help="merge groups of one identity that the pairs do not connect, by this network's embeddings"
    )
    parser.add_argument("--merge", type=float, default=0.67, help="cosine above which groups are merged (0.67)")
    parser.add_argument("--px", type=int, nargs="+", default=[6, 8, 12, 16, 32])
    parser.add_argument("--draws", type=int, default=20)
    return expand_arguments(parser.parse_args())


def compare(sums_PND: np.ndarray, identities: list[np.ndarray], px: list[int], rng) -> dict[str, tuple[float, float]]:
    """One draw of crops and sizes: (rank 1, TAR) of each kind of pooling, in per cent. identities: the rows of each."""
    templates = {name: ([], []) for name in WEIGHTS}
    for rows in identities:
        chosen, sizes = rng.permutation(rows)[: 2 * CROPS], rng.integers(0, len(px), 2 * CROPS)
        sums_ND, px_N = sums_PND[sizes, chosen], np.array(px)[sizes].astype(float)
        for name, weigh in WEIGHTS.items():
            for side, part in enumerate((slice(0, CROPS), slice(CROPS, None))):
                templates[name][side].append(pool(normalise(sums_ND[part]), weigh(sums_ND[part], px_N[part])))
    found = {}
    for name, (first, second) in templates.items():
        cosine_GG = np.array(first) @ np.array(second).T
        impostors = cosine_GG[~np.eye(len(identities), dtype=bool)]
        accepted = np.diag(cosine_GG) > np.quantile(impostors, 1 - FAR)
        found[name] = 100 * (cosine_GG.argmax(1) == np.arange(len(identities))).mean(), 100 * accepted.mean()
    return found


if __name__ == "__main__":
    sys.exit(main())
