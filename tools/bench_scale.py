"""What millions of class centres cost a rank: memory, network and time of real training steps, saving and resuming.

    python tools/bench_scale.py --classes 100000 1000000 10000000 --sample-rate 0.1 --json scale.json

Starts torchrun with --ranks processes of gloo on this machine (Linux, CPU). Each trains a small student in DDP on faces of noise
with labels at random: identity loss and IID on the sampled classes, by the loop's own step; then it saves a checkpoint and takes
it up again. The teacher's centres are a mapped file of noise, as the bank's are. Memory is private memory (resident, less what
is mapped from files), watched every two milliseconds; a rank's state is its class centres and their momentum. The network's
bytes are those that a ring of the ranks sends per rank. Needs about 3 * classes * width * 4 bytes of disk in --scratch, and as
much memory, over all ranks.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from aird_plugin.threads import bound_spinning

bound_spinning()

import numpy as np
import torch

from aird_plugin import distributed, loop
from aird_plugin.assemble import equip
from aird_plugin.data.faces import Batch
from aird_plugin.files import write_atomically
from aird_plugin.lesson import Lesson, build_student
from aird_plugin.memory import watched
from aird_plugin.objective import Objective, Sizes
from aird_plugin.paths import expand_arguments
from aird_plugin.progress import progress
from aird_plugin.ratios import AT_MOST, Row, tell
from aird_plugin.recipe import from_flat
from aird_plugin.roll_call import joined

PX, ROWS_AT_ONCE = 16, 65536
PATIENCE_S = 600
TARGET = 1.5


def main() -> int:
    args = arguments()
    if args.rank_of:
        work_as_rank(args)
        return 0
    rows = []
    for classes in args.classes:
        with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
            rows += told(classes, args, run_ranks(classes, args, Path(scratch)))
    tell(rows, args.json)
    return 0


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[10_000_000])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--width", type=int, default=128, help="of the embedding (128)")
    parser.add_argument("--sample-rate", type=float, default=0.1)
    parser.add_argument("--batch", type=int, default=16, help="faces per rank (16)")
    parser.add_argument("--network", default=f"native{PX}_0.05m")
    parser.add_argument("--turns", type=int, default=5, help="steps that are timed, after one that is not (5)")
    parser.add_argument("--scratch", help="folder for the teacher's centres and the checkpoint (the system's)")
    parser.add_argument("--json", help="keep the rows in this file too")
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    return expand_arguments(parser.parse_args(argv))


def run_ranks(classes: int, args: argparse.Namespace, scratch: Path) -> list[dict]:
    """What each rank found, from processes of their own."""
    write_centres(scratch / "centres.npy", classes, args.width)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={args.ranks}", __file__]
    keys = ("width", "sample_rate", "batch", "network", "turns")
    flags = [f"--{key.replace('_', '-')}={getattr(args, key)}" for key in keys]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*command, f"--classes={classes}", *flags, f"--rank-of={scratch}"], check=True, env=env)
    return [json.loads((scratch / f"{rank}.json").read_text()) for rank in range(args.ranks)]


def write_centres(path: Path, classes: int, width: int) -> None:
    """Class centres of noise, normalised, float32 (classes, width)."""
    rng = np.random.default_rng(0)
    centres_CD = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(classes, width))
    blocks = (range(first, min(first + ROWS_AT_ONCE, classes)) for first in range(0, classes, ROWS_AT_ONCE))
    for block in progress(blocks, classes, "teacher's centres", "classes"):
        rows_RD = rng.standard_normal((len(block), width), np.float32)
        centres_CD[block.start : block.stop] = rows_RD / np.linalg.norm(rows_RD, axis=1, keepdims=True)
    centres_CD.flush()


def work_as_rank(args: argparse.Namespace) -> None:
    """One rank's whole work; leaves what it found in the scratch folder."""
    scratch, found = Path(args.rank_of), {}
    with joined(torch.device("cpu"), PATIENCE_S):
        with watched(found, "before"):
            lesson = noise_lesson(args, scratch)
        with watched(found, "start"):
            training = equip(lesson)
        batches = noise_batches(args.classes[0], args.batch, args.width)
        seconds = []
        with watched(found, "steps"), counted(found):
            for step in range(1 + args.turns):
                started = time.perf_counter()
                loop.take_step(training, [next(batches)], step)
                seconds.append(time.perf_counter() - started)
        found["bytes_sent"] = found["bytes_sent"] / len(seconds) + ring(weights_of(training.student), reduced=True)
        found |= {"step_s": seconds[1:], "weights": nbytes(training.head.weight), "state": state_bytes(training)}
        save_and_resume(training, found)
    write_atomically(scratch / f"{distributed.local_rank()}.json", json.dumps(found).encode())


def noise_lesson(args: argparse.Namespace, scratch: Path) -> Lesson:
    """A lesson whose teacher is a file of class centres."""
    recipe = from_flat({
        "rec": "noise", "px": PX, "network": args.network, "embedding_size": args.width, "num_classes": args.classes[0],
        "sample_rate": args.sample_rate, "head_init": "teacher", "batch_size": args.batch, "device": "cpu",
        "terms": {"iid": "aird_plugin.losses.instance:Instance"}, "output": str(scratch / "run"),
    })  # fmt: skip
    return Lesson(
        recipe=recipe, device=torch.device("cpu"), records=None, teacher=None,
        bank=SimpleNamespace(centres_CD=np.load(scratch / "centres.npy", mmap_mode="c")),
        student=build_student(recipe, args.width), objective=Objective(recipe.terms, Sizes(args.width)),
        source=SimpleNamespace(plan=SimpleNamespace(batches_per_epoch=1_000_000)), facts={"embedding_size": args.width},
    )  # fmt: skip


def noise_batches(classes: int, batch: int, width: int):
    """Faces, labels and teacher embeddings at random, others on each rank."""
    generator = torch.Generator().manual_seed(distributed.rank())
    while True:
        yield Batch(
            faces_BHWC=torch.randint(0, 256, (batch, PX, PX, 3), generator=generator, dtype=torch.uint8),
            person_B=torch.randint(0, classes, (batch,), generator=generator), row_B=torch.arange(batch),
            teacher_BD=torch.randn(batch, width, generator=generator),
        )  # fmt: skip


def save_and_resume(training, found: dict) -> None:
    """A checkpoint, and a start from it: what it weighs, and how long both take."""
    started = time.perf_counter()
    with watched(found, "saving"):
        loop.save(training, 1)
        distributed.barrier()
    found["save_s"] = time.perf_counter() - started
    folder = Path(training.recipe.run.checkpoints) / "step_00000001"
    found["checkpoint"] = sum(path.stat().st_size for path in folder.iterdir())
    training.head_optimizer.state.clear()
    started = time.perf_counter()
    with watched(found, "resuming"):
        loop.resume(training)
    found["resume_s"] = time.perf_counter() - started


def nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def weights_of(module: torch.nn.Module) -> int:
    return sum(map(nbytes, module.parameters()))


def state_bytes(training) -> int:
    """The class centres and what their optimizer keeps of them."""
    kept = (value for values in training.head_optimizer.state.values() for value in values.values())
    return nbytes(training.head.weight) + sum(nbytes(value) for value in kept if isinstance(value, torch.Tensor))


@contextlib.contextmanager
def counted(found: dict):
    """Sum up under "bytes_sent" what a ring of ranks sends, per rank, for the block's collectives; DDP's own are not seen."""
    found["bytes_sent"] = 0
    all_reduce, all_gather = torch.distributed.all_reduce, torch.distributed.all_gather

    def reduce_counted(tensor, *args, **keys):
        found["bytes_sent"] += ring(nbytes(tensor), reduced=True)
        return all_reduce(tensor, *args, **keys)

    def gather_counted(parts, tensor, *args, **keys):
        found["bytes_sent"] += ring(nbytes(tensor), reduced=False)
        return all_gather(parts, tensor, *args, **keys)

    torch.distributed.all_reduce, torch.distributed.all_gather = reduce_counted, gather_counted
    try:
        yield
    finally:
        torch.distributed.all_reduce, torch.distributed.all_gather = all_reduce, all_gather


def ring(size: int, reduced: bool) -> float:
    """Bytes that each of R ranks sends: all-reduce 2 (R - 1) / R of the tensor, all-gather R - 1 times its part."""
    ranks = distributed.world_size()
    return size * (ranks - 1) * (2 / ranks if reduced else 1)


def told(classes: int, args: argparse.Namespace, ranks: list[dict]) -> list[Row]:
    """The rows of one number of classes: the worst rank's memory in each phase."""
    worst = {key: max(rank[key] for rank in ranks) for key in ranks[0] if key != "step_s"}
    seconds = statistics.median(second for rank in ranks for second in rank["step_s"])
    about = f"{classes:,} classes of {args.width}, {args.ranks} ranks, sample rate {args.sample_rate:g}, batch {args.batch}"
    print(
        f"{about}: state {size(worst['state'])} a rank (centres {size(worst['weights'])}); before it, with Python and torch, "
        f"{size(worst['before'])}; step {seconds:.3f} s, {worst['bytes_sent'] / 1e6:.2f} MB sent a rank; "
        f"checkpoint {size(worst['checkpoint'])}, saved in {worst['save_s']:.1f} s, taken up in {worst['resume_s']:.1f} s"
    )
    rows = []
    for phase in ("start", "steps", "saving", "resuming"):
        ratio = worst[phase] / worst["state"]
        detail = f"{about}; {size(worst[phase])}"
        rows.append(Row(f"peak memory of a rank, {phase} / its centres and momentum", AT_MOST, TARGET, *[ratio] * 3, detail))
    return rows


def size(count: float) -> str:
    return f"{count / 2**30:.3f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
