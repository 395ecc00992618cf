"""A bank built by several processes, and a bank of 10^8 images opened and trained from.

    python tools/bench_bank.py build --rec data/faces15k --teacher data/teacher/mobilefacenet_casia.onnx --images 4096
    python tools/bench_bank.py open --images 100000000 --scratch DIR

build: image cache (16 px) and teacher cache, built by one process and by two, of one thread each, in alternating turns, without
the start of Python; the checksums of all files must be equal. Then two processes, of which one is killed (each once): the other
must finish the bank, to the same checksums.

open: a synthetic bank (tools/lib/synthetic_bank.py) in sparse files, and two gloo ranks that open it by the usual way, take the
first step and some more. Memory is private memory (resident less file-mapped), sampled every two milliseconds; times count from
the start of the process, before any import. Needs 13 bytes of disk an image. Linux only.
"""

import time

BEGAN = time.perf_counter()

import argparse
import importlib
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import torch

from aird_plugin.config.recipe import from_flat
from aird_plugin.data.bank.build import open_image_cache, open_teacher_cache
from aird_plugin.data.bank.config import BankConfig
from aird_plugin.data.loader import loader
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.data.records import open_records
from aird_plugin.models.load import load_teacher
from aird_plugin.training import loop
from aird_plugin.training.state import build_state
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.memory import watched
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.rank_failure import process_group
from tools.lib.forked import fork
from tools.lib.ratios import AT_MOST, Row, compare, in_turns, print_rows
from tools.lib.synthetic_bank import synthetic_keys, write_synthetic_bank
from tools.lib.torchrun import torchrun_command

PATIENCE_S = 600
BUILD_RATIO, MEMORY, FIRST_STEP_S = 0.6, 1 << 30, 30.0


def main() -> int:
    args = arguments()
    if args.rank_of:
        run_rank(args)
        return 0
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        rows = (build_rows if args.work == "build" else open_rows)(args, Path(scratch))
    print_rows(rows, args.json)
    return 0


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=("build", "open"))
    parser.add_argument("--images", type=int, required=True, help="images of the bank")
    parser.add_argument("--shard", type=int, help="images of a shard (build: an eighth of all; open: 1,048,576)")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rec", help="build: the training set, of which the first images are taken")
    parser.add_argument("--teacher", help="build: the teacher")
    parser.add_argument("--teacher-network", help="build: of a teacher whose file does not name it")
    parser.add_argument("--turns", type=int, default=3, help="build: turns of each; open: steps after the first (3)")
    parser.add_argument("--identities", type=int, default=100_000, help="open: identities (100,000)")
    parser.add_argument("--batch", type=int, default=64, help="open: images per rank (64)")
    parser.add_argument("--scratch", help="folder for the files (default: the system's)")
    parser.add_argument("--json", help="also write the rows to this file")
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    args = expand_arguments(parser.parse_args(argv))
    if args.work == "build" and not (args.rec and args.teacher):
        parser.error("build needs --rec and --teacher")
    args.shard = args.shard or (max(args.images // 8, 1) if args.work == "build" else 1 << 20)
    return args


def build_rows(args: argparse.Namespace, scratch: Path) -> list[Row]:
    """The ratio of the times; raises AssertionError where two banks differ."""
    for module in ("onnx", "aird_plugin.models.onnx_teacher", "filelock"):
        importlib.import_module(module)
    records = open_records(args.rec)
    write_face_records(scratch / "faces", ((int(records.labels[row]), records.payload(row)) for row in range(args.images)))
    banks: set[str] = set()

    def built_by(ranks: int) -> None:
        for child in begin(args, scratch, ranks):
            assert os.waitpid(child, 0)[1] == 0, "a rank failed (AIRD_DEBUG=1 shows why)"
        take_bank(scratch, banks)

    calls = {str(ranks): partial(built_by, ranks) for ranks in (1, args.ranks)}
    alone, together = in_turns(calls, args.turns, warm=0).values()
    for victim in range(2):
        killed_build(args, scratch, victim)
        take_bank(scratch, banks)
    assert len(banks) == 1, f"{len(banks)} different banks"
    name = f"time of building a bank by {args.ranks} ranks / by one"
    detail = f"{args.images:,} images in shards of {args.shard:,}; all banks have equal bytes, also those of a killed rank"
    detail += f"; one rank {statistics.median(alone):.0f} s, {args.ranks} ranks {statistics.median(together):.0f} s"
    return [compare(name, AT_MOST, BUILD_RATIO, together, alone, detail)]


def begin(args: argparse.Namespace, scratch: Path, ranks: int) -> list[int]:
    """Start one process for each rank; they build image cache and teacher cache. Returns their ids."""
    config = BankConfig(bank=str(scratch / "bank"), bank_shard_images=args.shard)

    def work(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks)}
        torch.set_num_threads(1)
        records = open_records(str(scratch / "faces"))
        open_image_cache(config, records, 16)
        open_teacher_cache(config, records, load_teacher(args.teacher, args.teacher_network, "cpu"))

    return [fork(partial(work, rank)) for rank in range(ranks)]


def killed_build(args: argparse.Namespace, scratch: Path, victim: int) -> None:
    """Two processes build, the victim is killed once a shard of the teacher cache is complete, the other one finishes."""
    ranks = begin(args, scratch, 2)
    while not list((scratch / "bank").glob("teacher-*/shard-*/manifest.json")):
        assert os.waitpid(ranks[victim], os.WNOHANG)[0] == 0
        time.sleep(0.01)
    os.kill(ranks[victim], signal.SIGKILL)
    assert os.waitpid(ranks[victim], 0)[1] and os.waitpid(ranks[1 - victim], 0)[1] == 0
    print(f"rank {victim} was killed, rank {1 - victim} finished the bank", file=sys.stderr)


def one_thread() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def take_bank(scratch: Path, banks: set[str]) -> None:
    """Add the checksums of a bank's files to `banks`, and remove it."""
    manifests = sorted((scratch / "bank").glob("*/manifest.json"))
    assert len(manifests) == 2
    banks.add(json.dumps({path.parent.name: json.loads(path.read_text())["crc32"] for path in manifests}, sort_keys=True))
    shutil.rmtree(scratch / "bank")


def open_rows(args: argparse.Namespace, scratch: Path) -> list[Row]:
    """Memory and time to the first step of the worst rank."""
    started = time.perf_counter()
    write_synthetic_bank(scratch, args.images, args.identities, args.shard)
    print(f"the synthetic bank was written in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    flags = [f"--images={args.images}", f"--shard={args.shard}", f"--batch={args.batch}", f"--turns={args.turns}"]
    command = [*torchrun_command(__file__, args.ranks), "open", *flags, f"--rank-of={scratch}"]
    subprocess.run(command, check=True, env=one_thread())
    ranks = [json.loads((scratch / f"{rank}.json").read_text()) for rank in range(args.ranks)]
    worst = {key: max(rank[key] for rank in ranks) for key in ranks[0]}
    print(", ".join(f"{key} {value:.3g}" for key, value in worst.items()))
    about = f"{args.images:,} images, {args.identities:,} identities, {args.ranks} ranks, batch {args.batch}"
    memory = max(worst["opening"], worst["steps"])
    detail = f"{about}; {memory / 2**20:.0f} MiB, of which {worst['before'] / 2**20:.0f} MiB before the bank"
    rows = [Row("private memory of a rank / 1 GiB", AT_MOST, 1.0, *[memory / MEMORY] * 3, detail)]
    detail = f"{about}; {worst['first_step_s']:.1f} s, {worst['processor_s']:.1f} s of processor time"
    return [*rows, Row("first step / 30 s", AT_MOST, 1.0, *[worst["first_step_s"] / FIRST_STEP_S] * 3, detail)]


def run_rank(args: argparse.Namespace) -> None:
    """Open the bank and train some steps on one rank; writes its figures to the scratch folder."""
    scratch, found = Path(args.rank_of), {}
    recipe = from_flat(synthetic_keys(scratch, args.batch, args.shard))
    with process_group(torch.device("cpu"), PATIENCE_S):
        with watched(found, "before"):
            found["import_s"] = time.perf_counter() - BEGAN
        with watched(found, "opening"):
            state = build_state(recipe)
        found["opened_s"] = time.perf_counter() - BEGAN
        with watched(found, "steps"):
            for step, batch in enumerate(loader(state.setup.source, range(1 + args.turns), 0, state.setup.device)):
                loop.take_step(state, [batch], step)
                if step == 0:
                    found["first_step_s"] = time.perf_counter() - BEGAN
                    usage = resource.getrusage(resource.RUSAGE_SELF)
                    found["processor_s"] = usage.ru_utime + usage.ru_stime
    found["last_step_s"] = (time.perf_counter() - BEGAN - found["first_step_s"]) / max(args.turns, 1)
    write_atomically(scratch / f"{os.environ['LOCAL_RANK']}.json", json.dumps(found).encode())


if __name__ == "__main__":
    sys.exit(main())
