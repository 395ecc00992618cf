"""Kill training, bank building, export and report at random moments; nothing may be lost, nothing half-written read.

    python tools/kill.py [WORK ...] [--trials 30] [--seed 0] [--json FILE]

Each trial does a work from the beginning, is killed one to three times (SIGKILL; of two ranks one, or both), looks after each
whether what counts as there is whole, then lets it finish and compares the result with an unbroken one, bit for bit. A shot
falls before one of the work's own file operations (each as likely), while a file is being written (when it has grown to a drawn
size), or at a drawn time. A process that hangs, a half-written file or a differing bit ends the tool with what was done.
Linux; works are those of kill_works.py beside this file.
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

from aird_plugin.threads import bound_spinning

bound_spinning()

from aird_plugin.paths import expand_arguments
from aird_plugin.progress import progress
from tools.forked import Fault, asked, ended, finish, fork
from tools.kill_works import WORKS, Work, prepare

# Once, here, and not in every process; importing starts no thread.
IMPORTED = ("aird_plugin.loop", "aird_plugin.export.folder", "aird_plugin.report.gather", "onnxruntime", "insightface")
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree"}


@dataclass(frozen=True)
class Shot:
    """When a process dies: before its nth file operation, when a file has so many bytes, after so many seconds; one of them."""

    operation: int = 0
    size: int = 0
    seconds: float = 0.0


def main() -> int:
    args = arguments()
    told = []
    with tempfile.TemporaryDirectory() as scratch:
        inputs = Path(scratch) / "inputs"
        inputs.mkdir()
        for module in IMPORTED:
            importlib.import_module(module)
        finish(fork(lambda: prepare(inputs)), "preparing")
        for name in args.works or WORKS:
            told.append(trials(name, WORKS[name], inputs, Path(scratch), args.trials, args.seed))
            print("{work}: {trials} trials, {kills} kills ({operation} before a file operation, {size} while writing, "
                  "{seconds} at a time): every result as the unbroken one".format(**told[-1]), flush=True)  # fmt: skip
    if args.json:
        Path(args.json).write_text(json.dumps(told, indent=1))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of {', '.join(WORKS)}; default: all")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE")
    args = expand_arguments(parser.parse_args())
    if unknown := set(args.works) - set(WORKS):
        parser.error(f"no work {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    return args


def trials(name: str, work: Work, inputs: Path, scratch: Path, count: int, seed: int) -> dict:
    """All trials of one work. Gives what was done; raises Fault."""
    draw = random.Random(f"{seed} {name}")
    unbroken, counted = scratch / "unbroken", scratch / "operations"
    started = time.monotonic()
    for child in start(work, inputs, unbroken, 0, Shot(), counted):
        finish(child, f"{name}, unbroken")
    span = Shot(int(counted.read_text()), largest(unbroken), time.monotonic() - started)
    expected, kills = asked(work.result, unbroken), dict.fromkeys(("operation", "size", "seconds"), 0)
    for number in progress(range(count), count, f"killing: {name}", "trials"):
        out = scratch / "out"
        for _ in range(draw.randint(1, 3)):
            shot = drawn(draw, span)
            if shoot(work, inputs, out, draw.randrange(work.ranks), shot, both=draw.random() < 0.5):
                kills[next(key for key in kills if getattr(shot, key))] += 1
            asked(work.whole, out)
        for child in start(work, inputs, out, 0, Shot()):
            finish(child, f"{name}, trial {number}, going on")
        found = asked(work.result, out)
        if different := [key for key in expected if found.get(key) != expected[key]]:
            raise Fault(f"{name}, trial {number}: not as in the unbroken one: {', '.join(different)}")
        shutil.rmtree(out)
    shutil.rmtree(unbroken)
    return {"work": name, "trials": count, "kills": sum(kills.values()), **kills}


def drawn(draw: random.Random, span: Shot) -> Shot:
    """One of the three kinds of moment within what the unbroken work took."""
    kind = draw.randrange(3)
    if kind == 0:
        return Shot(operation=draw.randint(1, span.operation))
    return Shot(size=draw.randint(1, span.size)) if kind == 1 else Shot(seconds=draw.uniform(0, span.seconds))


def start(work: Work, inputs: Path, out: Path, victim: int, shot: Shot, counted: Path | None = None) -> list[int]:
    """The work's processes, one a rank; the victim carries the shot. Rank 0 writes its number of file operations to `counted`."""
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
        work.do(inputs, out)
        if counted and rank == 0:
            counted.write_text(str(len(operations)))

    return [fork(lambda rank=rank: one(rank)) for rank in range(work.ranks)]


def watch(out: Path, deadly: int) -> list[str]:
    """The list that this process's file operations within `out` will fill; it dies before the `deadly`th (0: before none)."""
    operations: list[str] = []

    def hook(event: str, args: tuple) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not (writes or event in CHANGES) or not str(args[0]).startswith(str(out)):
            return
        operations.append(event)
        if len(operations) == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return operations


def shoot(work: Work, inputs: Path, out: Path, victim: int, shot: Shot, both: bool) -> bool:
    """Start, kill the victim, and with `both` all others at once; the others end by themselves. Whether anyone was killed."""
    children = start(work, inputs, out, victim, shot)
    if shot.seconds:
        time.sleep(shot.seconds)
        for number, child in enumerate(children):
            if both or number == victim:
                os.kill(child, signal.SIGKILL)
    ends = [ended(child) for child in children]
    return any(os.WIFSIGNALED(end) for end in ends)


def largest(folder: Path) -> int:
    return max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=1)


if __name__ == "__main__":
    sys.exit(main())
