"""Images per second on the device: the bare student, AIRD from the bank, and AIRD with the teacher in every step."""

import contextlib
import itertools
import statistics
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

import torch
from torch.autograd import DeviceType

from aird_plugin.config.recipe import Recipe, load
from aird_plugin.data.batch import Batch
from aird_plugin.data.loader import loader
from aird_plugin.diagnostics.gpu.check import FAILED, NOTE, OK, CheckContext, Row
from aird_plugin.diagnostics.gpu.synthetic import built, faces, weights
from aird_plugin.training.loop import take_step
from aird_plugin.training.state import TrainState
from aird_plugin.utils.package_recipes import recipes_folder

RECIPES = {"bare student": "faces15k_small_lr16_scratch", "AIRD from the bank": "faces15k_small_lr16"}
ONLINE = "AIRD online"
WARM_UP, PROFILED, OPERATIONS = 3, 4, 5
# Of a step of AIRD from the bank, in steps of the bare student, with 1,024 negatives: the project's target for ResNet18.
TARGET = 1.2


class Runner(NamedTuple):
    """A training whose steps are timed. peak_mb: the device's memory that it took."""

    state: TrainState
    batches: Generator[Batch]
    counter: Iterator[int]
    peak_mb: float


def check_speed(context: CheckContext) -> Iterator[Row]:
    """A row for each network and way of training, and the ratio of AIRD to the bare student, timed in turns."""
    for network, batch, keys in context.sizes.speed_networks:
        with contextlib.ExitStack() as stack:
            yield from rows_of(context, network, batch, keys, stack)


def rows_of(context: CheckContext, network: str, batch: int, keys: tuple[str, ...], stack: contextlib.ExitStack) -> Iterator[Row]:
    """The rows of one network; the loaders of its runs are closed with `stack`."""
    runners = {name: start(context, name, (f"network={network}", f"batch_size={batch}", *keys)) for name in (*RECIPES, ONLINE)}
    for runner in runners.values():
        stack.callback(runner.batches.close)
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(context.sizes.turns):
        for name in runners if turn % 2 == 0 else reversed(runners):
            seconds[name].append(timed(runners[name], context.sizes.steps))
    for name, runner in runners.items():
        rate = batch * context.sizes.steps / statistics.median(seconds[name])
        figure = f"{rate:,.0f} images/s{profile(runner, context, f'{network}, {name}')}"
        yield Row(f"{network}, {name}, batch {batch}{', ' if keys else ''}{' '.join(keys)}", NOTE, figure)
    bare, aird = (seconds[name] for name in RECIPES)
    ratio = statistics.median(a / b for a, b in zip(aird, bare, strict=True))
    status = OK if ratio <= TARGET else FAILED
    yield Row(f"{network}, AIRD from the bank / bare student", status, f"{ratio:.2f}", f"at most {TARGET}")


def start(context: CheckContext, name: str, keys: tuple[str, ...]) -> Runner:
    """A training after its warm-up steps."""
    allocated = reset_peak(context.device)
    recipe = speed_recipe(context, name, *keys)
    state = built(recipe)
    batches = loader(state.setup.source, itertools.count(), recipe.data.num_workers, context.device)
    runner = Runner(state, batches, itertools.count(), 0.0)
    timed(runner, WARM_UP)
    return runner._replace(peak_mb=(reset_peak(context.device, peak=True) - allocated) / 1e6)


def speed_recipe(context: CheckContext, name: str, *keys: str) -> Recipe:
    """The small recipe of this name on the larger synthetic data."""
    path = recipes_folder() / "ablations" / f"{RECIPES.get(name, RECIPES['AIRD from the bank'])}.py"
    data = (f"rec={faces(context, context.sizes.speed_identities)}", "num_classes=0", "num_image=0", "val_targets=()", "views=2")
    run = (
        f"device={context.device.type}",
        f"output={context.scratch / 'runs' / 'speed'}",
        f"embedding_size={context.sizes.speed_width}",
    )
    bank = (f"bank={context.scratch / 'bank' / 'speed'}", f"bank_hard={context.sizes.negatives}", f"online={name == ONLINE}")
    return load(path, [*data, *run, *bank, *(() if name == "bare student" else teacher_keys(context)), *keys])


def teacher_keys(context: CheckContext) -> tuple[str, ...]:
    """Teacher and negatives."""
    network = context.sizes.speed_teacher
    path = weights(context, network, context.sizes.speed_width)
    return f"teacher={path}", f"teacher_network={network}", f"rid_negatives={context.sizes.negatives}"


def timed(runner: Runner, steps: int) -> float:
    """Seconds of further steps, to the end of the device's work."""
    synchronise(runner.state.setup.device)
    started = time.perf_counter()
    for batch in itertools.islice(runner.batches, steps):
        take_step(runner.state, [batch], next(runner.counter))
    synchronise(runner.state.setup.device)
    return time.perf_counter() - started


def profile(runner: Runner, context: CheckContext, title: str) -> str:
    """The share of the time in which a GPU computes, and peak memory; its slowest operations go to stderr."""
    if context.device.type != "cuda":
        return ""
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profiled:
        wall = timed(runner, PROFILED)
    averages = profiled.key_averages()
    busy = kernel_seconds(averages)
    print(f"\n{title}", file=sys.stderr)
    print(averages.table(sort_by="self_device_time_total", row_limit=OPERATIONS, max_name_column_width=60), file=sys.stderr)
    return f", {busy / wall:.0%} of the time in kernels, {runner.peak_mb:,.0f} MB"


def kernel_seconds(averages: Iterable) -> float:
    """Seconds of the device's own events. An operation on the CPU has the time of the kernels that it started once more."""
    on_device = (entry for entry in averages if entry.device_type != DeviceType.CPU and not entry.is_user_annotation)
    return sum(entry.self_device_time_total for entry in on_device) / 1e6


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device, peak: bool = False) -> float:
    """Bytes allocated on the device, now or at most since the last call; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0
    used = torch.cuda.max_memory_allocated(device) if peak else torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return float(used)
