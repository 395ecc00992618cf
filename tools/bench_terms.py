"""Time of AIRD's two terms relative to the student: forward and backward of each, in turns, in one run.

    python tools/bench_terms.py [--device cuda --student-batch 96] [--json FILE]

On a GPU the student runs in bfloat16, the terms in float32. The detail also lists the cosines of both networks to the class
centers; the head needs the student's with or without IID.

B = images, C = classes, D = embedding width, K = negatives.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import torch

from aird_plugin.losses.instance import IIDLoss
from aird_plugin.losses.relation import RID, RelationLoss
from aird_plugin.models import build
from aird_plugin.models.head import Head, HeadConfig
from aird_plugin.training.objective import LossInputs
from aird_plugin.utils.paths import expand_arguments
from tools.lib.random_inputs import units
from tools.lib.ratios import AT_MOST, Row, backward, compare, finished, in_turns, milliseconds, print_rows


def main(argv: list[str] | None = None) -> int:
    """Print the table. Returns the exit status."""
    args = expand_arguments(argument_parser().parse_args(argv))
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print_rows([share_of_student(args)], args.json)
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="r18")
    parser.add_argument("--student-batch", type=int, default=8, help="the student is timed at this batch and scaled (8)")
    parser.add_argument("--device", default="cpu", help="cpu (the default) or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--classes", type=int, default=10575)
    parser.add_argument("--width", type=int, default=512, help="embedding width (512)")
    parser.add_argument("--negatives", type=int, default=1024)
    parser.add_argument("--json", metavar="FILE", help="also write the row to this file")
    return parser


def share_of_student(args) -> Row:
    """IID + RID over the student, scaled to the same batch; the time of each part is in the detail."""
    calls = {"student": student_call(args), **term_calls(args)}
    seconds = in_turns({name: finished(call, args.device) for name, call in calls.items()}, args.turns)
    seconds["student"] = [s * args.batch / args.student_batch for s in seconds["student"]]
    both = [a + b for a, b in zip(seconds["IID"], seconds["RID"], strict=True)]
    scaled = "" if args.student_batch == args.batch else f" timed at batch {args.student_batch} and scaled"
    sizes = f"B={args.batch}, C={args.classes}, D={args.width}, K={args.negatives}, {args.student}{scaled}"
    parts = ", ".join(f"{name} {milliseconds(times)}" for name, times in seconds.items())
    return compare("IID + RID / student", AT_MOST, 0.15, both, seconds["student"], f"{sizes}: {parts}")


def student_call(args) -> Callable[[], None]:
    """The student alone on its own input, channels last."""
    student = build(args.student, args.width).to(args.device, memory_format=torch.channels_last)
    images_BCHW = torch.randn(args.student_batch, 3, student.input_size, student.input_size, device=args.device)
    images_BCHW = images_BCHW.contiguous(memory_format=torch.channels_last)

    def embed():
        with torch.autocast(args.device, torch.bfloat16, enabled=args.device == "cuda"):
            return student(images_BCHW).float()

    return backward(embed)


def term_calls(args) -> dict[str, Callable[[], None]]:
    """The class cosines of both networks, IID and RID, each on its own inputs."""
    random_units = partial(units, device=args.device)
    student_BD, teacher_BD = random_units(args.batch, args.width).requires_grad_(), random_units(args.batch, args.width)
    label_B = torch.randint(args.classes, (args.batch,), device=args.device)
    head = Head(HeadConfig(args.classes), args.width, teacher_centers_CD=random_units(args.classes, args.width)).to(args.device)
    cosines = head.cosines(student_BD, teacher_BD, label_B)
    inputs = LossInputs(
        student_BD,
        label_B,
        teacher_BD=teacher_BD,
        label_G=label_B,
        student_cosine_GC=cosines.student_GC.detach().requires_grad_(),
        teacher_cosine_GC=cosines.teacher_GC,
        anchor_BD=random_units(args.batch, args.width),
        has_anchor_B=torch.ones_like(label_B, dtype=torch.bool),
        negative_BKD=random_units(args.batch, args.negatives, args.width),
        negative_exists_BK=torch.ones(args.batch, args.negatives, dtype=torch.bool, device=args.device),
    )
    relation = RelationLoss(args.width, RID(negatives=args.negatives)).to(args.device)
    return {
        "cosines of both": backward(lambda: head.cosines(student_BD, teacher_BD, label_B).student_GC),
        "IID": backward(IIDLoss(), inputs),
        "RID": backward(relation, inputs),
    }


if __name__ == "__main__":
    sys.exit(main())
