"""Replacements for what upstream leans on and this machine, or today's torch, numpy and scipy, no longer has.

A maker takes what was there and gives what stands in its place; `seams.py` says where each goes, why, and when it is needed.
"""

import importlib.util
import inspect
import multiprocessing
import os
import socket
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from aird_plugin.data.pairs import read_pairs
from aird_plugin.files import write_atomically


@dataclass(frozen=True)
class Surroundings:
    """What decides which mends are needed."""

    cpu: bool
    keep_mxnet: bool = False


def installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def scheduler_lost_verbose(around: Surroundings) -> bool:
    """Whether torch's schedulers no longer take `verbose`."""
    return "verbose" not in inspect.signature(torch.optim.lr_scheduler.LRScheduler.__init__).parameters


def no_torchrun(around: Surroundings) -> bool:
    """Whether this process was started alone."""
    return "RANK" not in os.environ


def interp1d_refuses_steps(around: Surroundings) -> bool:
    """Whether scipy's interp1d refuses an x that occurs twice, which a share of false accepts always does."""
    if not installed("scipy"):
        return True
    from scipy.interpolate import interp1d

    try:
        interp1d([0.0, 0.0, 1.0], [0.0, 1.0, 2.0], kind="slinear")
    except ValueError:
        return True
    return False


def numpy_lost_int(around: Surroundings) -> bool:
    """Whether np.int is gone."""
    return not hasattr(np, "int")


def workers_start_anew(around: Surroundings) -> bool:
    """Whether a loader's worker processes import everything again, and so would miss every mend."""
    return multiprocessing.get_start_method() != "fork"


def forgiving_scheduler(original: type) -> type:
    """The base of upstream's scheduler."""

    class ForgivingScheduler(original):
        """Takes the argument `verbose`, which did nothing but print, and drops it."""

        def __init__(self, optimizer, last_epoch=-1, verbose=None):
            super().__init__(optimizer, last_epoch)

    return ForgivingScheduler


def gloo_for_nccl(original):
    """init_process_group on the CPU's backend."""

    def init_process_group(backend=None, *args, **options):
        return original("gloo", *args, **options)

    return init_process_group


def free_port(original):
    """init_process_group on a port of its own. Upstream's port is the same for every run: two on one machine would collide."""

    def init_process_group(backend=None, *args, **options):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            options["init_method"] = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        return original(backend, *args, **options)

    return init_process_group


def stay_here(original):
    """`.cuda()` gives the object itself."""
    return lambda self, *args, **options: self


def do_nothing(original):
    return lambda *args, **options: None


def without_devices(original: type) -> type:
    """DistributedDataParallel for the CPU."""

    class AnyDevice(original):
        """Drops device_ids, which a module on the CPU must not have."""

        def __init__(self, module, *args, device_ids=None, **options):
            super().__init__(module, *args, **options)

    return AnyDevice


def plain_loader(original: type) -> type:
    """DataLoaderX for the CPU."""

    class PlainLoader(DataLoader):
        """Copies on no CUDA stream and prefetches in no thread."""

        def __init__(self, local_rank, **options):
            super().__init__(**options | {"pin_memory": False})

    return PlainLoader


def stepwise_interpolation(original):
    """`interpolate` with an interp1d that stands on steps, as older scipy's did."""

    def interp1d(x, y, kind="linear"):
        return lambda at: np.interp(at, x, y)

    return types.SimpleNamespace(interp1d=interp1d)


def whole_or_nothing(original):
    """torch.save: a kill half-way leaves the file that was there."""

    def save(content, place, *args, **options):
        if not isinstance(place, str | os.PathLike):
            return original(content, place, *args, **options)
        return write_atomically(Path(place), lambda file: original(content, file, *args, **options))

    return save


def int_again(original):
    """numpy's `__getattr__`, which is asked for what numpy does not have: np.int is Python's int again."""
    return lambda name: int if name == "int" else original(name)


def inert_pickle(original):
    """`pickle`, for `load` of a .bin file alone: our reader takes the pickle apart without running it."""
    return types.SimpleNamespace(load=lambda file, **options: read_pairs(file.name))


def heeded_check(original):
    """ArcFaceORT.check: ValueError where it stops before it knows the file, else it prints what it has against it."""

    def check(self, *args, **options):
        found = original(self, *args, **options)
        if not hasattr(self, "feat_dim"):
            raise ValueError(f"arcface_torch refuses the .onnx file: {found}")
        if found:
            print(f"arcface_torch's check: {found}")
        return found

    return check


def without_workers(original: type):
    """DataLoader that works in this process."""
    return lambda dataset, **options: original(dataset, **options | {"num_workers": 0})
