"""Several crops of one person against one: does pooling help, and does weighing the crops help beyond the plain mean?

    python tools/bench_pooling.py RUN PAIRS.bin --teacher TEACHER --draws 20

Of each person with six faces or more in PAIRS, three crops make one template and three others a second one. Each crop is shrunk
to a px drawn from --px and warped up as FaceAnalysis does it. Printed: share of first templates whose nearest second one is the
same person's, and share of same templates accepted at 1% of the different ones; mean and standard deviation over draws.
"""

import argparse
import sys
from pathlib import Path

from aird_plugin.threads import bound_spinning

bound_spinning()

import numpy as np

from aird_plugin.data.searches import bin_people, read_square
from aird_plugin.evaluation.embed import embed_sums, normalise
from aird_plugin.evaluation.pooling import merge_groups, pool
from aird_plugin.evaluation.protocol import as_seen, input_side
from aird_plugin.models.load import load_model, load_teacher
from aird_plugin.paths import expand_arguments
from aird_plugin.progress import progress

CROPS, FAR, ROAD = 3, 0.01, "insightface-warp"
WEIGHTS = {
    "one crop": lambda sums_ND, px_N: np.eye(len(px_N))[0],
    "the largest crop": lambda sums_ND, px_N: np.eye(len(px_N))[px_N.argmax()],
    "mean": lambda sums_ND, px_N: np.ones(len(px_N)),
    "by length of the embedding": lambda sums_ND, px_N: np.linalg.norm(sums_ND, axis=1),
    "by px": lambda sums_ND, px_N: px_N,
}


def main() -> int:
    args = arguments()
    pictures, who_N = bin_people(args.pairs)
    faces_NHWC = read_square(pictures, 112)
    if args.teacher:
        sums_ND = embed_sums(load_teacher(args.teacher), faces_NHWC, label="teacher, people")
        who_N = merge_groups(sums_ND, who_N, args.merge)
    people = [rows for rows in (np.flatnonzero(who_N == who) for who in np.unique(who_N)) if len(rows) >= 2 * CROPS]
    student = load_model(args.model)
    side = input_side(student)
    sums_PND = np.stack([embed_sums(student, as_seen(faces_NHWC, px, side, ROAD), label=f"{px} px") for px in args.px])
    rng = np.random.default_rng(0)
    draws = [compare(sums_PND, people, args.px, rng) for _ in progress(range(args.draws), args.draws, "pooling", "draws")]
    print(f"{len(people)} people, {CROPS} crops a template of px {args.px}, {args.draws} draws, {ROAD}\n")
    print(f"| template | first rank, per cent | accepted at {FAR:.0%} |\n|---|---|---|")
    for name in WEIGHTS:
        (rank, accepted), spread = (take([draw[name] for draw in draws], axis=0) for take in (np.mean, np.std))
        print(f"| {name} | {rank:.1f} ± {spread[0]:.1f} | {accepted:.1f} ± {spread[1]:.1f} |")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--teacher", help="join people whom the pairs leave in several parts, by this network")
    parser.add_argument("--merge", type=float, default=0.67, help="cosine above which they are joined (0.67)")
    parser.add_argument("--px", type=int, nargs="+", default=[6, 8, 12, 16, 32])
    parser.add_argument("--draws", type=int, default=20)
    return expand_arguments(parser.parse_args())


def compare(sums_PND: np.ndarray, people: list[np.ndarray], px: list[int], rng) -> dict[str, tuple[float, float]]:
    """One draw of crops and sizes: (first rank, accepted) of each way of weighing, in per cent."""
    templates = {name: ([], []) for name in WEIGHTS}
    for rows in people:
        chosen, sizes = rng.permutation(rows)[: 2 * CROPS], rng.integers(0, len(px), 2 * CROPS)
        sums_ND, px_N = sums_PND[sizes, chosen], np.array(px)[sizes].astype(float)
        for name, weigh in WEIGHTS.items():
            for side, part in enumerate((slice(0, CROPS), slice(CROPS, None))):
                templates[name][side].append(pool(normalise(sums_ND[part]), weigh(sums_ND[part], px_N[part])))
    found = {}
    for name, (first, second) in templates.items():
        cosine_GG = np.array(first) @ np.array(second).T
        strangers = cosine_GG[~np.eye(len(people), dtype=bool)]
        accepted = np.diag(cosine_GG) > np.quantile(strangers, 1 - FAR)
        found[name] = 100 * (cosine_GG.argmax(1) == np.arange(len(people))).mean(), 100 * accepted.mean()
    return found


if __name__ == "__main__":
    sys.exit(main())
