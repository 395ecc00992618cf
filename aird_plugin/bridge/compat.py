"""Replacements for APIs that upstream uses and that this machine, or current torch, numpy and scipy, lack.

Each function takes the original object and returns its replacement; `hooks.py` lists where, why and when each is applied.
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
from aird_plugin.utils.files import write_atomically


@dataclass(frozen=True)
class Environment:
    """The properties of a run that decide which compatibility patches are needed."""

    cpu: bool
    keep_mxnet: bool = False


def installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def scheduler_rejects_verbose(env: Environment) -> bool:
    """Whether torch's schedulers no longer accept `verbose`."""
    return "verbose" not in inspect.signature(torch.optim.lr_scheduler.LRScheduler.__init__).parameters


def no_torchrun(env: Environment) -> bool:
    """Whether this process was started without torchrun."""
    return "RANK" not in os.environ


def interp1d_rejects_duplicates(env: Environment) -> bool:
    """Whether scipy's interp1d rejects duplicate x values, which upstream's false accept rates always contain."""
    if not installed("scipy"):
        return True
    from scipy.interpolate import interp1d

    try:
        interp1d([0.0, 0.0, 1.0], [0.0, 1.0, 2.0], kind="slinear")
    except ValueError:
        return True
    return False


def numpy_lacks_int(env: Environment) -> bool:
    """Whether numpy no longer has np.int."""
    return not hasattr(np, "int")


def workers_are_not_forked(env: Environment) -> bool:
    """Whether DataLoader workers are not forked: they would import upstream without the compatibility patches."""
    return multiprocessing.get_start_method() != "fork"


def scheduler_with_verbose(original: type) -> type:
    """Replaces the base class of upstream's scheduler."""

    class SchedulerWithVerbose(original):
        """Accepts and ignores `verbose`, which only printed the rate."""

        def __init__(self, optimizer, last_epoch=-1, verbose=None):
            super().__init__(optimizer, last_epoch)

    return SchedulerWithVerbose


def gloo_for_nccl(original):
    """init_process_group with the gloo backend, for the CPU."""

    def init_process_group(backend=None, *args, **options):
        return original("gloo", *args, **options)

    return init_process_group


def free_port(original):
    """init_process_group on a free port. Upstream's port is fixed: two runs on one machine would collide."""

    def init_process_group(backend=None, *args, **options):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            options["init_method"] = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        return original(backend, *args, **options)

    return init_process_group


def return_self(original):
    """`.cuda()` that returns the object itself."""
    return lambda self, *args, **options: self


def no_op(original):
    """A function that does nothing."""
    return lambda *args, **options: None


def ddp_without_device_ids(original: type) -> type:
    """DistributedDataParallel for the CPU."""

    class DDPWithoutDeviceIds(original):
        """Drops device_ids, which a module on the CPU rejects."""

        def __init__(self, module, *args, device_ids=None, **options):
            super().__init__(module, *args, **options)

    return DDPWithoutDeviceIds


def cpu_loader(original: type) -> type:
    """DataLoaderX for the CPU."""

    class CPULoader(DataLoader):
        """A plain DataLoader, without the CUDA stream and the prefetch thread."""

        def __init__(self, local_rank, **options):
            super().__init__(**options | {"pin_memory": False})

    return CPULoader


def interp1d_with_duplicates(original):
    """`interpolate` with an interp1d that accepts duplicate x values, as older scipy's did."""

    def interp1d(x, y, kind="linear"):
        return lambda at: np.interp(at, x, y)

    return types.SimpleNamespace(interp1d=interp1d)


def atomic_save(original):
    """torch.save that writes atomically: a kill half-way leaves the previous file intact."""

    def save(content, target, *args, **options):
        if not isinstance(target, str | os.PathLike):
            return original(content, target, *args, **options)
        return write_atomically(Path(target), lambda file: original(content, file, *args, **options))

    return save


def restore_int(original):
    """numpy's module-level `__getattr__`, which handles missing names: np.int is Python's int again."""
    return lambda name: int if name == "int" else original(name)


def safe_pickle(original):
    """`pickle` with only `load`, for .bin files: our reader parses the pickle without executing it."""
    return types.SimpleNamespace(load=lambda file, **options: read_pairs(file.name))


def strict_check(original):
    """ArcFaceORT.check that raises ValueError if it stops before the file is loaded, and prints any other message it returns."""

    def check(self, *args, **options):
        message = original(self, *args, **options)
        if not hasattr(self, "feat_dim"):
            raise ValueError(f"arcface_torch refuses the .onnx file: {message}")
        if message:
            print(f"arcface_torch's check: {message}")
        return message

    return check


def loader_without_workers(original: type):
    """DataLoader without worker processes."""
    return lambda dataset, **options: original(dataset, **options | {"num_workers": 0})
