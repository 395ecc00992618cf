"""Speed of the degradations: the batched form over the one-image form, and what training runs as a share of a step.

    python tools/bench_degradations.py [--degradation NAME ...] [--network NAME ...] [--turns 9] [--device cuda] [--json FILE]

A batch of drawn faces gets px drawn from 8 to 64, log-uniformly, and is resized to the network's side. "mixture" draws a
degradation per image as in MIXTURE. On a CPU training runs the one-image forms, on a GPU the batched ones. A step is the forward
and backward pass of the network on the whole batch; its share is what the degradation adds to it if the two do not overlap. All
calls take turns in one process, on a CPU on one thread and by its CPU time.
"""

import argparse
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np
import torch

from aird_plugin.data.batched.degrade import degrade_each
from aird_plugin.data.degradation import DEGRADATIONS, downsample, resize_to_network
from aird_plugin.data.lowres import resize_torch, to_input
from aird_plugin.data.mixture import draw_degradations
from aird_plugin.data.multi_size import draw_px, resize_each
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.models import build
from aird_plugin.utils.memory import keep_freed_memory
from tools.lib.ratios import AT_LEAST, AT_MOST, Row, compare, finished, in_turns, print_rows

MIXTURE = {"bicubic": 1, "insightface-warp": 2, "blur": 1, "noise": 1, "jpeg": 1, "realworld": 2}
PX_RANGE = (8, 64)
SHARE = 0.15


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    keep_freed_memory()
    if args.device == "cpu":
        torch.set_num_threads(1)
    people = np.stack([draw_person(label, 0) for label in range(min(args.batch, 24))])
    hr_BHWC = torch.from_numpy(np.resize(people, (args.batch, *people.shape[1:]))).to(args.device)
    rows = [row for network in args.network for row in rows_of(args, network, hr_BHWC)]
    print_rows(rows, args.json)
    return 0


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, names = parser.add_argument, [*DEGRADATIONS, "mixture"]
    add("--degradation", nargs="+", choices=names, default=names)
    add("--network", nargs="+", default=["native16_1m", "mfn"], help="mfn takes 112 px images. default: native16_1m mfn")
    add("--batch", type=int, default=96)
    add("--turns", type=int, default=9)
    add("--device", default="cpu")
    add("--json", help="also write the rows to this file")
    return parser.parse_args(argv)


def rows_of(args, name: str, hr_BHWC: torch.Tensor) -> list[Row]:
    """For each degradation, the ratio of its forms and its share of a step of this network."""
    network = build(name).to(args.device, memory_format=torch.channels_last)
    side, rng = network.input_size, np.random.default_rng(0)
    px_B = draw_px(rng, PX_RANGE, args.batch)
    calls: dict[str, Callable] = {"step": functools.partial(step, network, to_input(resize_torch(hr_BHWC, side)))}
    for degradation in args.degradation:
        names = draw_degradations(rng, MIXTURE if degradation == "mixture" else degradation, args.batch)
        calls[f"{degradation} alone"] = functools.partial(one_by_one, hr_BHWC.cpu().numpy(), px_B, side, names)
        calls[f"{degradation} batched"] = functools.partial(degrade_each, hr_BHWC, px_B, names, side, 0)
        calls[f"{degradation} training"] = functools.partial(resize_each, hr_BHWC, px_B, side, names)
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    seconds = in_turns({key: finished(call, args.device) for key, call in calls.items()}, args.turns, clock=clock)

    def rate(key: str) -> str:
        return f"{args.batch / np.median(seconds[key]):.3g}"

    rows = []
    for degradation in args.degradation:
        alone, batched, training = (f"{degradation} {form}" for form in ("alone", "batched", "training"))
        detail = f"{rate(batched)} images/s against {rate(alone)}, to {side} px"
        rows.append(compare(f"{degradation}: speed, batched / one-image", AT_LEAST, 1, seconds[alone], seconds[batched], detail))
        detail = f"{rate(training)} images/s, the step {rate('step')}; {name}, batch {args.batch}, {args.device}"
        rows.append(compare(f"{degradation}: share of a step", AT_MOST, SHARE, seconds[training], seconds["step"], detail))
    return rows


def one_by_one(hr_BHWC: np.ndarray, px_B: np.ndarray, side: int, names: list[str]) -> None:
    """The one-image form of each image."""
    for image_HWC, px, name in zip(hr_BHWC, px_B.tolist(), names, strict=True):
        resize_to_network(downsample(image_HWC[None], px, name), side, name)


def step(network: torch.nn.Module, inputs_B3SS: torch.Tensor) -> None:
    """Forward and backward."""
    network.zero_grad()
    network(inputs_B3SS).square().mean().backward()


if __name__ == "__main__":
    sys.exit(main())
