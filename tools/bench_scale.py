"""Cost of millions of class centers per rank: memory, network traffic and time of training steps, saving and resuming.

    python tools/bench_scale.py --classes 100000 1000000 10000000 --sample-rate 0.1 --json scale.json

Starts torchrun with --ranks gloo processes on this machine (Linux, CPU). Each trains a small student in DDP on noise images
with random labels: identity loss and IID on the sampled classes, with the loop's own step; then it saves a checkpoint and
resumes from it. The teacher's centers are a mapped file of noise, like the bank's. Memory is private memory (resident less
file-mapped), sampled every two milliseconds; a rank's state is its class centers and their momentum. Bytes sent are those of a
ring, per rank. Needs about 3 * classes * width * 4 bytes of disk in --scratch, and as much memory, over all ranks.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import torch

from aird_plugin.training import loop
from aird_plugin.training.state import state_from_setup
from aird_plugin.utils import distributed
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.memory import watched
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.rank_failure import process_group
from tools.lib.noise_training import CENTERS, PX, noise_batches, noise_setup, write_centers
from tools.lib.ratios import AT_MOST, Row, print_rows
from tools.lib.torchrun import torchrun_command
from tools.lib.traffic import count_bytes_sent, nbytes, ring_bytes, state_bytes, weight_bytes

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
    write_centers(scratch / CENTERS, classes, args.width)
    command = torchrun_command(__file__, args.ranks)
    keys = ("width", "sample_rate", "batch", "network", "turns")
    flags = [f"--{key.replace('_', '-')}={getattr(args, key)}" for key in keys]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*command, f"--classes={classes}", *flags, f"--rank-of={scratch}"], check=True, env=env)
    return [json.loads((scratch / f"{rank}.json").read_text()) for rank in range(args.ranks)]


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
        with watched(found, "steps"), count_bytes_sent(found):
            for step in range(1 + args.turns):
                started = time.perf_counter()
                loop.take_step(state, [next(batches)], step)
                seconds.append(time.perf_counter() - started)
        found["bytes_sent"] = found["bytes_sent"] / len(seconds) + ring_bytes(weight_bytes(state.setup.student), reduced=True)
        found |= {"step_s": seconds[1:], "weights": nbytes(state.head.weight), "state": state_bytes(state)}
        save_and_resume(state, found)
    write_atomically(scratch / f"{distributed.local_rank()}.json", json.dumps(found).encode())


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
