"""Cost of millions of class centers per rank: memory, network traffic and time of training steps, saving and resuming.

    python tools/bench_scale.py --classes 100000 1000000 10000000 --sample-rate 0.1 --json scale.json

Starts torchrun with --ranks gloo processes on this machine (Linux, CPU). Each trains a small student in DDP on noise images
with random labels: identity loss and IID on the sampled classes, with the loop's own step; then it saves a checkpoint and
resumes from it. The teacher's centers are a mapped file of noise, like the bank's. Memory is private memory (resident less
file-mapped), sampled every two milliseconds; a rank's state is its class centers and their momentum. Bytes sent are those of a
ring, per rank. Needs about 3 * classes * width * 4 bytes of disk in --scratch, and as much memory, over all ranks.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np
import torch

from aird_plugin.config.recipe import from_flat
from aird_plugin.data.batches import Batch
from aird_plugin.training import loop
from aird_plugin.training.objective import LossDims, Objective
from aird_plugin.training.setup import TrainingSetup, build_student
from aird_plugin.training.state import state_from_setup
from aird_plugin.utils import distributed
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.memory import watched
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.progress import progress
from aird_plugin.utils.rank_failure import process_group
from tools.lib.ratios import AT_MOST, Row, print_rows

PX, ROWS_AT_ONCE = 16, 65536
PATIENCE_S = 600
TARGET = 1.5


def main() -> int:
    args = arguments()
    if args.rank_of:
        run_rank(args)
        return 0
    rows = []
    for classes in args.classes:
        with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
            rows += report_rows(classes, args, run_ranks(classes, args, Path(scratch)))
    print_rows(rows, args.json)
    return 0


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[10_000_000])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--width", type=int, default=128, help="embedding width (128)")
    parser.add_argument("--sample-rate", type=float, default=0.1)
    parser.add_argument("--batch", type=int, default=16, help="images per rank (16)")
    parser.add_argument("--network", default=f"native{PX}_0.05m")
    parser.add_argument("--turns", type=int, default=5, help="timed steps, after one warm-up step (5)")
    parser.add_argument("--scratch", help="folder for the teacher's centers and the checkpoint (default: the system's)")
    parser.add_argument("--json", help="also write the rows to this file")
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    return expand_arguments(parser.parse_args(argv))


def run_ranks(classes: int, args: argparse.Namespace, scratch: Path) -> list[dict]:
    """Run torchrun. Returns the figures of each rank."""
    write_centers(scratch / "centres.npy", classes, args.width)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={args.ranks}", __file__]
    keys = ("width", "sample_rate", "batch", "network", "turns")
    flags = [f"--{key.replace('_', '-')}={getattr(args, key)}" for key in keys]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*command, f"--classes={classes}", *flags, f"--rank-of={scratch}"], check=True, env=env)
    return [json.loads((scratch / f"{rank}.json").read_text()) for rank in range(args.ranks)]


def write_centers(path: Path, classes: int, width: int) -> None:
    """Write random class centers, normalised, float32 (classes, width)."""
    rng = np.random.default_rng(0)
    centers_CD = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(classes, width))
    blocks = (range(first, min(first + ROWS_AT_ONCE, classes)) for first in range(0, classes, ROWS_AT_ONCE))
    for block in progress(blocks, classes, "teacher's centers", "classes"):
        rows_RD = rng.standard_normal((len(block), width), np.float32)
        centers_CD[block.start : block.stop] = rows_RD / np.linalg.norm(rows_RD, axis=1, keepdims=True)
    centers_CD.flush()


def run_rank(args: argparse.Namespace) -> None:
    """Train, save and resume on one rank; writes its figures to the scratch folder."""
    scratch, found = Path(args.rank_of), {}
    with process_group(torch.device("cpu"), PATIENCE_S):
        with watched(found, "before"):
            setup = noise_setup(args, scratch)
        with watched(found, "start"):
            state = state_from_setup(setup)
        batches = noise_batches(args.classes[0], args.batch, args.width)
        seconds = []
        with watched(found, "steps"), counted(found):
            for step in range(1 + args.turns):
                started = time.perf_counter()
                loop.take_step(state, [next(batches)], step)
                seconds.append(time.perf_counter() - started)
        found["bytes_sent"] = found["bytes_sent"] / len(seconds) + ring(weights_of(state.setup.student), reduced=True)
        found |= {"step_s": seconds[1:], "weights": nbytes(state.head.weight), "state": state_bytes(state)}
        save_and_resume(state, found)
    write_atomically(scratch / f"{distributed.local_rank()}.json", json.dumps(found).encode())


def noise_setup(args: argparse.Namespace, scratch: Path) -> TrainingSetup:
    """A training setup whose teacher is a file of class centers."""
    recipe = from_flat(
        {
            "rec": "noise",
            "px": PX,
            "network": args.network,
            "embedding_size": args.width,
            "num_classes": args.classes[0],
            "sample_rate": args.sample_rate,
            "head_init": "teacher",
            "batch_size": args.batch,
            "device": "cpu",
            "terms": {"iid": "aird_plugin.losses.instance:IID"},
            "output": str(scratch / "run"),
        }
    )
    return TrainingSetup(
        recipe=recipe,
        device=torch.device("cpu"),
        records=None,
        teacher=None,
        bank=SimpleNamespace(centers_CD=np.load(scratch / "centres.npy", mmap_mode="c")),
        student=build_student(recipe, args.width),
        objective=Objective(recipe.terms, LossDims(args.width)),
        source=SimpleNamespace(sampler=SimpleNamespace(batches_per_epoch=1_000_000)),
        metadata={"embedding_size": args.width},
    )


def noise_batches(classes: int, batch: int, width: int):
    """Random images, labels and teacher embeddings, different on each rank."""
    generator = torch.Generator().manual_seed(distributed.rank())
    while True:
        yield Batch(
            images_BHWC=torch.randint(0, 256, (batch, PX, PX, 3), generator=generator, dtype=torch.uint8),
            label_B=torch.randint(0, classes, (batch,), generator=generator),
            row_B=torch.arange(batch),
            teacher_BD=torch.randn(batch, width, generator=generator),
        )


def save_and_resume(state, found: dict) -> None:
    """Save a checkpoint and resume from it: its size and the time of both."""
    started = time.perf_counter()
    with watched(found, "saving"):
        loop.save(state, 1)
        distributed.barrier()
    found["save_s"] = time.perf_counter() - started
    folder = Path(state.setup.recipe.run.checkpoints) / "step_00000001"
    found["checkpoint"] = sum(path.stat().st_size for path in folder.iterdir())
    state.head_optimizer.state.clear()
    started = time.perf_counter()
    with watched(found, "resuming"):
        loop.resume(state)
    found["resume_s"] = time.perf_counter() - started


def nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def weights_of(module: torch.nn.Module) -> int:
    return sum(map(nbytes, module.parameters()))


def state_bytes(state) -> int:
    """Bytes of the class centers and their optimizer state."""
    kept = (value for values in state.head_optimizer.state.values() for value in values.values())
    return nbytes(state.head.weight) + sum(nbytes(value) for value in kept if isinstance(value, torch.Tensor))


@contextlib.contextmanager
def counted(found: dict):
    """Sum under "bytes_sent" the bytes that a ring sends per rank for the block's collectives, without those of DDP."""
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


def report_rows(classes: int, args: argparse.Namespace, ranks: list[dict]) -> list[Row]:
    """The rows of one number of classes: the largest memory of any rank in each phase."""
    worst = {key: max(rank[key] for rank in ranks) for key in ranks[0] if key != "step_s"}
    seconds = statistics.median(second for rank in ranks for second in rank["step_s"])
    about = f"{classes:,} classes of {args.width}, {args.ranks} ranks, sample rate {args.sample_rate:g}, batch {args.batch}"
    print(
        f"{about}: state {size(worst['state'])} per rank (centers {size(worst['weights'])}); Python and torch before it "
        f"{size(worst['before'])}; step {seconds:.3f} s, {worst['bytes_sent'] / 1e6:.2f} MB sent per rank; "
        f"checkpoint {size(worst['checkpoint'])}, saved in {worst['save_s']:.1f} s, resumed in {worst['resume_s']:.1f} s"
    )
    rows = []
    for phase in ("start", "steps", "saving", "resuming"):
        ratio = worst[phase] / worst["state"]
        detail = f"{about}; {size(worst[phase])}"
        rows.append(Row(f"peak memory of a rank, {phase} / its centers and momentum", AT_MOST, TARGET, *[ratio] * 3, detail))
    return rows


def size(count: float) -> str:
    return f"{count / 2**30:.3f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
