"""Kill training, bank building, export and report at random moments, and check that no result is lost or half-written.

    python tools/kill.py [WORK ...] [--trials 30] [--seed 0] [--json FILE]

Each trial starts a work from scratch, kills it one to three times (SIGKILL; one of two ranks, or both), checks after each kill
that every finished file is complete, then lets the work finish and compares the result bit by bit with an uninterrupted one.
The kill happens before a random file operation of the work, while a file is being written (at a random size), or at a random
time. A hanging process, a half-written file or a differing bit ends the tool with an error. Linux only; works:
tools/lib/kill_works.py.
"""

import argparse
import importlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.progress import progress
from tools.lib.forked import Fault, call_forked, exit_status, finish, fork
from tools.lib.kill_works import WORKS, Work, prepare

# Imported once here instead of in every child process; these imports start no thread.
IMPORTED = ("aird_plugin.training.loop", "aird_plugin.export.folder", "aird_plugin.report.collect", "onnxruntime", "insightface")
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree"}


@dataclass(frozen=True)
class Shot:
    """When a process is killed: before its nth file operation, at a file size in bytes, or after some seconds; one is set."""

    operation: int = 0
    size: int = 0
    seconds: float = 0.0


def main() -> int:
    args = arguments()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        inputs = Path(scratch) / "inputs"
        inputs.mkdir()
        for module in IMPORTED:
            importlib.import_module(module)
        finish(fork(lambda: prepare(inputs)), "preparing")
        for name in args.works or WORKS:
            rows.append(trials(name, WORKS[name], inputs, Path(scratch), args.trials, args.seed))
            print(
                "{work}: {trials} trials, {kills} kills ({operation} before a file operation, {size} while writing, "
                "{seconds} at a time): every result equals the uninterrupted one".format(**rows[-1]),
                flush=True,
            )
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"{', '.join(WORKS)}; default: all")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE")
    args = expand_arguments(parser.parse_args())
    if unknown := set(args.works) - set(WORKS):
        parser.error(f"no work {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    return args


def trials(name: str, work: Work, inputs: Path, scratch: Path, count: int, seed: int) -> dict:
    """Run all trials of one work. Returns the number of trials and kills; raises Fault."""
    draw = random.Random(f"{seed} {name}")
    reference, count_file = scratch / "reference", scratch / "operations"
    started = time.monotonic()
    for child in start(work, inputs, reference, 0, Shot(), count_file):
        finish(child, f"{name}, uninterrupted")
    span = Shot(int(count_file.read_text()), largest(reference), time.monotonic() - started)
    expected, kills = call_forked(work.result, reference), dict.fromkeys(("operation", "size", "seconds"), 0)
    for number in progress(range(count), count, f"killing: {name}", "trials"):
        out = scratch / "out"
        for _ in range(draw.randint(1, 3)):
            shot = draw_shot(draw, span)
            if shoot(work, inputs, out, draw.randrange(work.ranks), shot, both=draw.random() < 0.5):
                kills[next(key for key in kills if getattr(shot, key))] += 1
            call_forked(work.check, out)
        for child in start(work, inputs, out, 0, Shot()):
            finish(child, f"{name}, trial {number}, resumed")
        found = call_forked(work.result, out)
        if different := [key for key in expected if found.get(key) != expected[key]]:
            raise Fault(f"{name}, trial {number}: not as in the uninterrupted one: {', '.join(different)}")
        shutil.rmtree(out)
    shutil.rmtree(reference)
    return {"work": name, "trials": count, "kills": sum(kills.values()), **kills}


def draw_shot(draw: random.Random, span: Shot) -> Shot:
    """A random moment of one of the three kinds. span: operations, bytes and seconds of the uninterrupted work."""
    kind = draw.randrange(3)
    if kind == 0:
        return Shot(operation=draw.randint(1, span.operation))
    return Shot(size=draw.randint(1, span.size)) if kind == 1 else Shot(seconds=draw.uniform(0, span.seconds))


def start(work: Work, inputs: Path, out: Path, victim: int, shot: Shot, count_file: Path | None = None) -> list[int]:
    """Start one process per rank; `shot` kills the victim. Rank 0 writes its number of file operations to `count_file`."""
    out.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def one(rank: int):
        if work.ranks > 1:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(work.ranks)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        operations = watch(out, shot.operation if rank == victim else 0)
        if shot.size and rank == victim:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (shot.size, shot.size))
        work.run(inputs, out)
        if count_file and rank == 0:
            count_file.write_text(str(len(operations)))

    return [fork(lambda rank=rank: one(rank)) for rank in range(work.ranks)]


def watch(out: Path, kill_at: int) -> list[str]:
    """Record this process's file operations in `out` in the returned list; SIGKILL before number `kill_at` (0: never)."""
    operations: list[str] = []

    def hook(event: str, args: tuple) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not (writes or event in CHANGES) or not str(args[0]).startswith(str(out)):
            return
        operations.append(event)
        if len(operations) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return operations


def shoot(work: Work, inputs: Path, out: Path, victim: int, shot: Shot, both: bool) -> bool:
    """Start the work and kill the victim, or all ranks with `both`; others end by themselves. Returns whether one was killed."""
    children = start(work, inputs, out, victim, shot)
    if shot.seconds:
        time.sleep(shot.seconds)
        for number, child in enumerate(children):
            if both or number == victim:
                os.kill(child, signal.SIGKILL)
    statuses = [exit_status(child) for child in children]
    return any(os.WIFSIGNALED(status) for status in statuses)


def largest(folder: Path) -> int:
    return max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=1)


if __name__ == "__main__":
    sys.exit(main())
