"""Time of a training step as ratios: AIRD / student alone, online / bank, two ranks / one, bf16, compiled, deterministic.

    python tools/bench_training.py [ROW ...] [--turns 9] [--steps 4] [--json FILE] [--device cuda]

Both runs of a row train in turns, `--steps` steps per turn, and the row is the median ratio of the turns. The bare student has
the identity loss only, on the same LR images from the same bank: no teacher, no terms. The images are faces15k of $AIRD_DATA,
or its first 256 for a large teacher; teachers have random weights, which are as fast as trained ones. Banks are built in a
scratch folder, or kept in --scratch. One CPU thread, except two in the row of two ranks.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import torch

from aird_plugin.config.recipe import load
from aird_plugin.config.recipe_file import data_path, recipe_path
from aird_plugin.data.loader import loader
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.data.records import open_records
from aird_plugin.models import build
from aird_plugin.training.deterministic import deterministic
from aird_plugin.training.loop import take_step
from aird_plugin.training.state import build_state
from aird_plugin.utils import distributed
from aird_plugin.utils.memory import keep_freed_memory
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.rank_failure import process_group
from tools.lib import ratios

ROOT = Path(__file__).resolve().parents[1]
AIRD, BARE = "faces15k_small_lr16", "faces15k_small_lr16_scratch"
PATIENCE_S = 600
# Teacher network -> its embedding width and the number of images in its bank.
TEACHERS = {"native112_0.2m": (128, 15553), "r50": (512, 256)}


class Pair(NamedTuple):
    """A row: (recipe, keys) over (recipe, keys), its target, and the keys of both. teacher: the teacher network of both."""

    what: str
    bound: str
    target: float
    over: tuple[str, list[str]]
    under: tuple[str, list[str]]
    both: list[str]
    teacher: str = "native112_0.2m"
    ranks: tuple[int, int] = (1, 1)


def pairs(device: str) -> dict[str, Pair]:
    """Every row by its name on the command line."""
    online = ["online=True"]
    native, mfn, r18 = (
        ["network=native16_1m", "batch_size=96"],
        ["network=mfn", "batch_size=16"],
        ["network=r18", "batch_size=8"],
    )
    rows = {
        "aird-native": Pair(
            "AIRD from the bank / bare student: native16_1m, batch 96, 64 negatives",
            ratios.AT_MOST,
            1.25,
            (AIRD, ["rid_negatives=64"]),
            (BARE, []),
            native,
        ),
        "aird-mfn": Pair(
            "AIRD from the bank / bare student: mfn, batch 16, 256 negatives",
            ratios.AT_MOST,
            1.10,
            (AIRD, ["rid_negatives=256"]),
            (BARE, []),
            mfn,
        ),
        "online-native": Pair(
            "AIRD online / from the bank: native16_1m, batch 8, r50 teacher",
            ratios.AT_LEAST,
            10,
            (AIRD, online),
            (AIRD, []),
            ["network=native16_1m", "batch_size=8"],
            "r50",
        ),
        "online-r18": Pair(
            "AIRD online / from the bank: r18, batch 8, r50 teacher", ratios.AT_LEAST, 1.4, (AIRD, online), (AIRD, []), r18, "r50"
        ),
        "ranks": Pair(
            "two ranks, one thread each / one rank, two threads: native16_1m, 96 images in all",
            ratios.AT_MOST,
            1.15,
            (AIRD, ["batch_size=48"]),
            (AIRD, ["batch_size=96"]),
            native[:1],
            ranks=(2, 1),
        ),
        "compile-native": Pair(
            "compiled / not: native16_1m, batch 96", ratios.AT_MOST, 1.0, (AIRD, ["compile=True"]), (AIRD, []), native
        ),
        "compile-mfn": Pair("compiled / not: mfn, batch 16", ratios.AT_MOST, 1.0, (AIRD, ["compile=True"]), (AIRD, []), mfn),
        "bf16-native": Pair(
            "bf16 / float32: native16_1m, batch 96", ratios.AT_MOST, 1.0, (AIRD, ["bf16=True"]), (AIRD, []), native
        ),
        "deterministic-native": Pair(
            "deterministic / not: native16_1m, batch 96", ratios.AT_MOST, 1.25, (AIRD, ["deterministic=True"]), (AIRD, []), native
        ),
        "bf16-mfn": Pair("bf16 / float32: mfn, batch 16", ratios.AT_MOST, 1.0, (AIRD, ["bf16=True"]), (AIRD, []), mfn),
    }
    if device == "cuda":
        bf16 = ["network=r18", "batch_size=96", "bf16=True"]
        rows["aird-r18"] = Pair(
            "AIRD from the bank / bare student: r18, batch 96, bf16, 1,024 negatives",
            ratios.AT_MOST,
            1.20,
            (AIRD, ["rid_negatives=1024", "bank_hard=1024"]),
            (BARE, ["bank_hard=1024"]),
            bf16,
        )
    return rows


def main() -> int:
    args = arguments()
    keep_freed_memory()
    torch.set_num_threads(1)
    if args.child:
        return child(args)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(args.scratch or temporary)
        for name in args.rows or pairs(args.device):
            rows.append(measure(pairs(args.device)[name], args, scratch))
            print(ratios.table(rows[-1:]).splitlines()[-1], flush=True)
    ratios.print_rows(rows, args.json)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(pairs('cuda'))}. default: all rows of the device")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--steps", type=int, default=4, help="steps per turn")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--scratch", metavar="DIR", help="keep images, teachers and banks in this folder")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--child", nargs="+", metavar="KEY", help=argparse.SUPPRESS)
    args = expand_arguments(parser.parse_args())
    if unknown := set(args.rows) - set(pairs(args.device)):
        parser.error(f"no row {', '.join(sorted(unknown))} on {args.device}; there are {', '.join(pairs(args.device))}")
    return args


def first_images(scratch: Path, count: int) -> Path:
    """The first `count` images of faces15k as a new record file with labels from 0."""
    folder = scratch / f"faces{count}"
    if not (folder / "train.rec").exists():
        records = open_records(data_path("faces15k"))
        identities = records.labels[:count].tolist()
        label_of = {identity: label for label, identity in enumerate(dict.fromkeys(identities))}
        write_face_records(folder, ((label_of[identity], records.payload(row)) for row, identity in enumerate(identities)))
    return folder


def shared_keys(pair: Pair, args, scratch: Path) -> tuple[list[str], list[str]]:
    """Recipe keys of both sides (images, bank, no verification), and those of a side with a teacher."""
    width, count = TEACHERS[pair.teacher]
    faces, teacher = first_images(scratch, count), scratch / f"{pair.teacher}.pt"
    if not teacher.exists():
        torch.manual_seed(0)
        torch.save(build(pair.teacher, width).eval().state_dict(), teacher)
    records = open_records(str(faces))
    return [
        *pair.both,
        f"rec={faces}",
        f"num_classes={records.num_classes}",
        f"num_image={len(records)}",
        "views=2",
        f"embedding_size={width}",
        f"bank={scratch / 'bank'}-{pair.teacher}",
        f"device={args.device}",
        f"output={scratch / 'run'}",
        "val_targets=()",
    ], [f"teacher={teacher}", f"teacher_network={pair.teacher}"]


def measure(pair: Pair, args, scratch: Path) -> ratios.Row:
    """Measure both sides of a row in turns."""
    shared, teacher = shared_keys(pair, args, scratch)
    sides = [(recipe, [*shared, *(teacher if recipe == AIRD else []), *keys]) for recipe, keys in (pair.over, pair.under)]
    if pair.ranks == (1, 1):
        calls = {name: stepper(*side, args) for name, side in zip(("over", "under"), sides, strict=True)}
        seconds = ratios.in_turns(calls, args.turns)
    else:
        seconds = {"over": [], "under": []}
        for _ in range(args.turns):
            for name, side, ranks in zip(("over", "under"), sides, pair.ranks, strict=True):
                seconds[name].append(under_torchrun(side, ranks, max(pair.ranks) // ranks, args))
    over, under = (min(seconds[name]) / args.steps * 1e3 for name in ("over", "under"))
    return ratios.compare(
        pair.what, pair.bound, pair.target, *seconds.values(), detail=f"{over:.1f} over {under:.1f} ms per step"
    )


def stepper(recipe: str, keys: list[str], args) -> Callable[[], None]:
    """A call that trains `args.steps` more steps."""
    state = build_state(load(recipe_path(ROOT / "recipes", recipe), keys))
    accumulate = state.setup.recipe.schedule.gradient_acc
    batches = loader(state.setup.source, range(sys.maxsize), state.setup.recipe.data.num_workers, state.setup.device)
    counter = itertools.count()

    def call() -> None:
        with deterministic(state.setup.recipe.run.deterministic):
            for _ in range(args.steps):
                take_step(state, itertools.islice(batches, accumulate), next(counter))
        if args.device == "cuda":
            torch.cuda.synchronize()

    return call


def under_torchrun(side: tuple[str, list[str]], ranks: int, threads: int, args) -> float:
    """Seconds of one turn on several ranks, after a warm-up turn."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={ranks}",
        __file__,
        "--steps",
        str(args.steps),
        "--device",
        args.device,
        "--child",
        side[0],
        *side[1],
    ]
    env = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
    return json.loads(done.stdout.splitlines()[-1])


def child(args) -> int:
    """One side of a row on this rank; rank 0 prints the seconds."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    recipe, *keys = args.child
    with process_group(torch.device(args.device), PATIENCE_S):
        call = stepper(recipe, keys, args)
        call()
        distributed.barrier()
        started = time.perf_counter()
        call()
        if distributed.rank() == 0:
            print(json.dumps(time.perf_counter() - started))
    return 0


if __name__ == "__main__":
    sys.exit(main())
