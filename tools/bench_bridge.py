"""Time of a training step inside arcface_torch: plain upstream against the plugin, in turns, in one run, on the CPU.

    python tools/bench_bridge.py --arcface-torch DIR --rec FACES --teacher FILE

plain: upstream's train_v2 with its network and reader, patched for the CPU and otherwise unmodified. plain, channels_last: the
same with the memory layout of our student. weights 0: the plugin with the bank and every AIRD weight 0. AIRD: the paper's
weights. Each variant runs in its own process, in turns; the figure is the median step over all turns, as a ratio to plain.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import torch

from aird_plugin.bridge import checkout, hooks, reader
from aird_plugin.bridge.compat import Environment
from aird_plugin.bridge.host import train
from aird_plugin.config.recipe import from_flat
from aird_plugin.data.records import open_records
from aird_plugin.utils.paths import expand_arguments

VARIANTS = ("plain", "plain, channels_last", "weights 0", "AIRD")
WARM_UP = 2


class Enough(Exception):
    """Raised when all steps are timed."""


def main() -> int:
    args = arguments()
    if args.child:
        print(json.dumps(child(args)))
        return 0
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(args.turns):
            for variant in VARIANTS:
                command = [sys.executable, __file__, *sys.argv[1:], "--child", variant, "--scratch", scratch]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                seconds[variant] += json.loads(done.stdout.splitlines()[-1])
                print(f"turn {turn + 1} of {args.turns}, {variant}: {statistics.median(seconds[variant]):.3f} s", file=sys.stderr)
    print(table(seconds, args))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arcface-torch", required=True, metavar="DIR")
    parser.add_argument("--rec", required=True, help="folder with train.rec")
    parser.add_argument("--teacher", required=True, help=".pt or .onnx")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8, help="timed steps a turn")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    return expand_arguments(parser.parse_args())


def child(args) -> list[float]:
    """Seconds of each timed step of one variant."""
    torch.set_num_threads(args.threads)
    times: list[float] = []
    run = plain if args.child.startswith("plain") else ours
    with contextlib.suppress(Enough):
        run(args, times)
    return [after - before for before, after in zip(times[WARM_UP:], times[WARM_UP + 1 :], strict=False)]


class Timed:
    """A loader that records the time of each batch request and raises `Enough` after the last one."""

    def __init__(self, loader, times: list[float], steps: int):
        self.loader, self.times, self.steps = loader, times, steps

    def __iter__(self):
        self.times.append(time.perf_counter())
        for batch in self.loader:
            yield batch
            self.times.append(time.perf_counter())
            if len(self.times) > self.steps + WARM_UP:
                raise Enough


def plain(args, times: list[float]) -> None:
    """Upstream's loop, network and reader."""
    folder = checkout.find(args.arcface_torch, hooks.ENTRY)
    with ExitStack() as stack:
        entry = hooks.open_upstream(stack, folder, Environment(cpu=True))
        records = open_records(args.rec)
        cfg = entry.get_config("configs/base.py")
        cfg.update(
            rec=args.rec,
            network="r18",
            num_classes=records.num_classes,
            num_image=len(records),
            batch_size=args.batch,
            num_epoch=99,
            warmup_epoch=0,
            num_workers=0,
            val_targets=[],
            verbose=10**9,
            lr=0.001,
            embedding_size=128,
            output=str(args.scratch / "plain"),
        )
        make_loader, make_model = entry.get_dataloader, entry.get_model
        entry.get_config = lambda file: cfg
        entry.get_dataloader = lambda *a: Timed(make_loader(*a), times, args.steps)
        if "channels_last" in args.child:
            entry.get_model = lambda *a, **k: make_model(*a, **k).to(memory_format=torch.channels_last)
        entry.main(argparse.Namespace(config="configs/base.py"))


def ours(args, times: list[float]) -> None:
    """The same network through the bridge."""
    weight = 0.0 if args.child == "weights 0" else 1.0
    terms = {"iid": "aird_plugin.losses.instance:IID", "rid": "aird_plugin.losses.relation:RID"}
    recipe = from_flat(
        {
            "rec": args.rec,
            "teacher": args.teacher,
            "network": "r18",
            "px": 16,
            "bank": str(args.scratch / "bank"),
            "batch_size": args.batch,
            "num_epoch": 99,
            "lr": 0.001,
            "device": "cpu",
            "output": str(args.scratch / "ours"),
            "resume": False,
            "margin_gradient": "upstream",
            "terms": terms,
            "iid_weight": weight,
            "rid_weight": 2 * weight,
        }
    )
    timed = timed_reader(times, args.steps)
    hooks.HOOKS = tuple(replace(hook, wrap=timed) if hook.wrap is reader.dataloader else hook for hook in hooks.HOOKS)
    train(recipe, args.arcface_torch)


def timed_reader(times: list[float], steps: int):
    """The hook of the reader, with its loader wrapped in `Timed`."""

    def wrap(original, run):
        make = reader.dataloader(original, run)
        return lambda *args: Timed(make(*args), times, steps)

    return wrap


def table(seconds: dict[str, list[float]], args) -> str:
    """Markdown: the median step, its ratio to plain and to plain with channels_last."""
    medians = {variant: statistics.median(values) for variant, values in seconds.items()}
    same_layout = medians["plain, channels_last"]
    rows = [
        f"r18, 112 px, batch {args.batch}, {args.threads} thread(s), median of {args.turns} x {args.steps} steps",
        "",
        "| variant | s a step | ratio to plain | ratio to plain, channels_last |",
        "|---|---|---|---|",
    ]
    rows += [f"| {name} | {s:.3f} | {s / medians['plain']:.3f} | {s / same_layout:.3f} |" for name, s in medians.items()]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
