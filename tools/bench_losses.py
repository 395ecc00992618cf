"""Time of DKD, RKD and CRD here and in the public implementations, in turns, in one run.

    python tools/bench_losses.py --mdistiller DIR --repdistiller DIR [--device cuda] [--json FILE]

The folders are checkouts of github.com/megvii-research/mdistiller and github.com/HobbitLong/RepDistiller; rows of a missing one
are skipped. Every figure is forward and backward in float32. Their modules are imported unmodified; on the CPU, `Tensor.cuda`,
which RepDistiller calls unconditionally, is a no-op during construction. RepDistiller's negatives are drawn before the clock
starts, as in its data set; ours are drawn inside the timed call.

B = images, C = classes, D = embedding width, K = negatives, N = images of the training set.
"""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import torch
from torch.nn import functional as F

from aird_plugin.losses.crd import CRD, CRDLoss
from aird_plugin.losses.instance import instance_loss
from aird_plugin.losses.rkd import angle_loss
from aird_plugin.training.objective import LossInputs
from aird_plugin.utils.errors import describe
from aird_plugin.utils.paths import expand_arguments
from tools.lib.checkouts import module_of
from tools.lib.loss_probes import finite, probes
from tools.lib.random_inputs import logits, units
from tools.lib.ratios import AT_LEAST, AT_MOST, Row, backward, compare, finished, in_turns, milliseconds, print_rows

ALPHA, BETA, TEMPERATURE = 1.0, 8.0, 4.0
EXACT = 1e-5


class Claim(NamedTuple):
    """How many times as fast as theirs ours must be. detail: sizes and conditions, without the measured times."""

    what: str
    target: float
    detail: str


def main(argv: list[str] | None = None) -> int:
    """Print the table. Returns the exit status."""
    args = expand_arguments(argument_parser().parse_args(argv))
    try:
        torch.set_num_threads(args.threads)
        torch.manual_seed(0)
        print_rows([*dkd_rows(args), *angle_rows(args), *contrast_rows(args)], args.json)
    except Exception as error:
        if os.environ.get("AIRD_DEBUG") == "1":
            raise
        print(f"error: {describe(error)}", file=sys.stderr)
        return 1
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mdistiller", metavar="DIR", help="a checkout of mdistiller (DKD, RKD)")
    parser.add_argument("--repdistiller", metavar="DIR", help="a checkout of RepDistiller (CRD)")
    parser.add_argument("--device", default="cpu", help="cpu (the default) or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--classes", type=int, default=10575)
    parser.add_argument("--width", type=int, default=512, help="embedding width (512)")
    parser.add_argument("--negatives", type=int, default=1024)
    parser.add_argument("--faces", type=int, default=15553, help="images of the training set, for CRD's memories (15553)")
    parser.add_argument("--json", metavar="FILE", help="also write the rows to this file")
    return parser


def dkd_rows(args) -> list[Row]:
    """DKD against mdistiller: speed, gradient, number of finite probes."""
    theirs = module_of(args.mdistiller, "mdistiller.distillers.DKD", "DKD")
    if theirs is None:
        return []

    def ours(student_BC, teacher_BC, label_B, temperature=TEMPERATURE):
        return instance_loss(student_BC, teacher_BC, label_B, "dkd", ALPHA, BETA, temperature)

    def published(student_BC, teacher_BC, label_B, temperature=TEMPERATURE):
        return theirs.dkd_loss(student_BC, teacher_BC, label_B, ALPHA, BETA, temperature)

    student_BC, teacher_BC, label_B = logits(args.batch, args.classes, 64, args.device)
    claim = Claim("DKD", 2, f"B={args.batch}, C={args.classes}, T=4")
    rows = race(claim, args, ours, published, student_BC, (teacher_BC, label_B))
    count = {name: sum(finite(loss, *probe) for probe in probes()) for name, loss in (("ours", ours), ("theirs", published))}
    return [*rows, known("DKD, finite of 15 probes", AT_LEAST, 15, count["ours"], f"theirs {count['theirs']}")]


def angle_rows(args) -> list[Row]:
    """RKD's angle loss against mdistiller's function with distance weight 0."""
    theirs = module_of(args.mdistiller, "mdistiller.distillers.RKD", "RKD")
    if theirs is None:
        return []

    def published(student_BD, teacher_BD):
        return theirs.rkd_loss(student_BD, teacher_BD, distance_weight=0, angle_weight=1)

    student_BD, teacher_BD = (units(args.batch, args.width, device=args.device) for _ in range(2))
    detail = f"B={args.batch}, D={args.width}; theirs also computes the distances, a B x B matrix"
    claim = Claim("RKD, angles", 8, detail)
    return race(claim, args, angle_loss, published, student_BD.requires_grad_(), (teacher_BD,))


def contrast_rows(args) -> list[Row]:
    """CRD against RepDistiller: speed with each one's own negatives, gradient with the same negatives for both."""
    theirs = module_of(args.repdistiller, "crd.criterion", "CRD")
    if theirs is None:
        return []
    published = published_contrast(theirs, args)
    ours = CRDLoss(args.width, args.faces, CRD(negatives=args.negatives)).to(args.device)
    copy_weights(published, ours)
    student_BD, teacher_BD = (units(args.batch, args.width, device=args.device) for _ in range(2))
    drawn_K = ours._draw(0).to(args.device)
    # The batch's rows are not among the negatives: ours would exclude them, theirs would not.
    row_B = torch.tensor(sorted({*range(args.faces)} - {*drawn_K.tolist()})[: args.batch], device=args.device)
    inputs = LossInputs(student_BD.requires_grad_(), torch.arange(args.batch, device=args.device), row_B, teacher_BD)

    def contrast(student_BD, index_BX):
        with contextlib.redirect_stdout(io.StringIO()):
            return published(student_BD, teacher_BD, row_B, index_BX).sum()

    same_BX = torch.cat([row_B[:, None], drawn_K.expand(args.batch, -1)], 1)
    # Ours normalises the embedding inside, so theirs is differentiated through the same normalisation.
    error = difference(ours(inputs), contrast(F.normalize(student_BD, dim=1), same_BX), student_BD)
    own_BX = torch.randint(args.faces, same_BX.shape, device=args.device)
    own_BX[:, 0] = row_B
    detail = f"B={args.batch}, D={args.width}; {args.negatives} negatives, ours per batch, theirs per image"
    calls = {"ours": backward(ours, inputs), "theirs": backward(contrast, student_BD, own_BX)}
    gradient = known("CRD, gradient difference", AT_MOST, EXACT, error, "with the same negatives for both")
    return [speed(Claim("CRD", 10, detail), args, calls), gradient]


def published_contrast(theirs, args):
    """RepDistiller's CRD with this run's sizes."""
    patch = contextlib.nullcontext() if args.device == "cuda" else mock.patch.object(torch.Tensor, "cuda", lambda tensor: tensor)
    sizes = {"s_dim": args.width, "t_dim": args.width, "feat_dim": 128, "n_data": args.faces, "nce_k": args.negatives}
    with patch:
        return theirs.CRDLoss(SimpleNamespace(**sizes, nce_t=0.07, nce_m=0.5)).to(args.device)


def copy_weights(published, ours: CRDLoss) -> None:
    """Copy the initial weights and memories of RepDistiller's CRD to ours."""
    with torch.no_grad():
        for side, embed, memory in (("student", "embed_s", "memory_v1"), ("teacher", "embed_t", "memory_v2")):
            layer = getattr(published, embed).linear
            ours.get_parameter(f"{side}_weight").copy_(layer.weight)
            ours.get_parameter(f"{side}_bias").copy_(layer.bias)
            ours.get_buffer(f"{side}_memory_NR").copy_(getattr(published.contrast, memory))


def race(claim: Claim, args, ours: Callable, theirs: Callable, x: torch.Tensor, others: tuple) -> list[Row]:
    """The row of theirs / ours, and the row of the relative difference of the gradients by x."""
    error = difference(ours(x, *others), theirs(x, *others), x)
    calls = {"ours": backward(ours, x, *others), "theirs": backward(theirs, x, *others)}
    return [speed(claim, args, calls), known(f"{claim.what}, gradient difference", AT_MOST, EXACT, error)]


def speed(claim: Claim, args, calls: dict[str, Callable]) -> Row:
    """The row of theirs / ours."""
    seconds = in_turns({name: finished(call, args.device) for name, call in calls.items()}, args.turns)
    times = ", ".join(f"{name} {milliseconds(values)}" for name, values in seconds.items())
    detail = f"{claim.detail}: {times}"
    return compare(claim.what, AT_LEAST, claim.target, seconds["theirs"], seconds["ours"], detail)


def known(what: str, bound: str, target: float, value: float, detail: str = "") -> Row:
    """The row of a figure that is not timed."""
    return compare(what, bound, target, [value], [1], detail)


def difference(ours: torch.Tensor, theirs: torch.Tensor, x: torch.Tensor) -> float:
    """|gradient of ours - gradient of theirs| / |gradient of theirs|, by x."""
    ours_X, theirs_X = (torch.autograd.grad(loss, x)[0] for loss in (ours, theirs))
    return ((ours_X - theirs_X).norm() / theirs_X.norm()).item()


if __name__ == "__main__":
    sys.exit(main())
