"""Every name of arcface_torch's that we bind anew, and every mend it needs; no other file names its modules.

A seam is where our part goes in. A mend is where upstream, unmodified, no longer runs on today's torch, numpy and scipy, or on a
machine without CUDA or mxnet; it is left out where upstream does not need it.
"""

import importlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from aird_plugin.bridge import checkout, head, mends, mxnet_standin, reader, torchvision_standin, verification, wrappers
from aird_plugin.bridge.mends import Surroundings
from aird_plugin.bridge.patches import rebind, stand_in

ENTRY = "train_v2"
KNOWN = "ab27f4d6 (2023-04-08) to 0159b24d (2024-11-06)"
WHOLE_MODULE = ""
# Upstream's evaluation: each is run by `tools.py`, with those of TOOL_MENDS that it needs.
IJB_OF_ONNX, IJB_OF_WEIGHTS, VERIFICATION = "onnx_ijbc", "eval_ijbc", "eval.verification"


@dataclass(frozen=True)
class Seam:
    """upstream's module and name; wrap(what was there, hosted) gives what takes its place."""

    module: str
    name: str
    wrap: Callable[[Any, Any], Any]
    why: str


@dataclass(frozen=True)
class Mend:
    """make(what was there) takes its place where needed(surroundings) is true. WHOLE_MODULE: make() gives modules by name."""

    module: str
    name: str
    make: Callable
    needed: Callable[[Surroundings], bool]
    why: str


def base_config(original, hosted):
    """get_config, on a copy of upstream's defaults: its own would be changed for every later run of the process."""
    return wrappers.recipe_config(dict(importlib.import_module("configs.base").config), hosted)


def compression(original, hosted):
    """fp16_compress_hook, or averaging without it."""
    if hosted.lesson.recipe.bridge.gradient_compression:
        return original
    return importlib.import_module(original.__module__).allreduce_hook


SEAMS = (
    Seam(ENTRY, "get_config", base_config, "recipes are files anywhere; upstream wants configs/NAME.py"),
    Seam(ENTRY, "get_dataloader", reader.dataloader, "batches come from the bank, low faces beside the teacher's embeddings"),
    Seam(ENTRY, "get_model", wrappers.get_model, "the recipe's student, fed low faces by a forward-pre-hook"),
    Seam(ENTRY, "CombinedMarginLoss", head.margin, "the recipe's margin_scale (upstream: 64) and margin_gradient"),
    Seam(ENTRY, "PartialFC_V2", head.partial_fc, "the objective adds its terms to upstream's identity loss"),
    Seam(ENTRY, "PolynomialLRWarmup", wrappers.scheduler, "the recipe's schedule and momentum; checkpoints of either host"),
    Seam(ENTRY, "fp16_compress_hook", compression, "gradient_compression=False averages gradients as they are"),
    Seam(ENTRY, "CallBackLogging", wrappers.logging_callback, "a line for every term, metrics.jsonl, TensorBoard"),
    Seam(ENTRY, "CallBackVerification", verification.callback, "sharp and low faces of each target, with and without FaceBN"),
    Seam(VERIFICATION, "test", verification.test, "those are answered by the project's own evaluation"),
    Seam("torch.nn.utils", "clip_grad_norm_", wrappers.clip_gradients, "the recipe's clip (upstream: 5)"),
)

SHARED_MENDS = (
    Mend("mxnet", WHOLE_MODULE, mxnet_standin.modules, lambda around: not (around.keep_mxnet and mends.installed("mxnet")),
         "its last release wants numpy below 1.24; our own reader answers behind its names"),
    Mend("torch", "Tensor.cuda", mends.stay_here, lambda around: around.cpu, "upstream moves everything to CUDA"),
    Mend("torch.nn", "Module.cuda", mends.stay_here, lambda around: around.cpu, "upstream moves everything to CUDA"),
    Mend(VERIFICATION, "interpolate", mends.stepwise_interpolation, mends.interp1d_refuses_steps,
         "newer scipy refuses the repeated x that upstream's evaluate always has (1.8 took it)"),
)  # fmt: skip

MENDS = (
    *SHARED_MENDS,
    Mend("torchvision", WHOLE_MODULE, torchvision_standin.modules, lambda around: not mends.installed("torchvision"),
         "imported at the top of upstream's reader for a flip and a normalisation"),
    Mend("torch.optim.lr_scheduler", "_LRScheduler", mends.forgiving_scheduler, mends.scheduler_lost_verbose,
         "upstream's scheduler passes `verbose`, which torch 2.7 removed"),
    Mend("torch.distributed", "init_process_group", mends.free_port, mends.no_torchrun,
         "without torchrun upstream always takes port 12584: two runs on one machine collide"),
    Mend("torch.distributed", "init_process_group", mends.gloo_for_nccl, lambda around: around.cpu, "there is no NCCL on a CPU"),
    Mend("torch.cuda", "set_device", mends.do_nothing, lambda around: around.cpu, "there is no CUDA device to choose"),
    Mend("torch.nn.parallel", "DistributedDataParallel", mends.without_devices, lambda around: around.cpu,
         "device_ids are refused for a module on the CPU"),
    Mend("torch", "save", mends.whole_or_nothing, lambda around: True,
         "upstream writes model.pt in place: a kill half-way leaves half a file"),
    Mend("dataset", "DataLoaderX", mends.plain_loader, lambda around: around.cpu, "upstream's loader copies on a CUDA stream"),
)  # fmt: skip

TOOL_MENDS = (
    *SHARED_MENDS,
    Mend("numpy", "__getattr__", mends.int_again, mends.numpy_lost_int, "np.int went with numpy 1.24"),
    Mend(VERIFICATION, "pickle", mends.inert_pickle, lambda around: True, "pickle.load runs whatever code a .bin holds"),
    Mend(IJB_OF_ONNX, "ArcFaceORT.check", mends.heeded_check, lambda around: True,
         "its caller drops what it says, and then fails on an attribute that is not there"),
    Mend(IJB_OF_ONNX, "DataLoader", mends.without_workers, mends.workers_start_anew,
         "where processes are not forked (Python 3.14, macOS), its workers would need mxnet"),
)  # fmt: skip

# Asked by IJB_OF_WEIGHTS for a network of 512 numbers an embedding, whatever the weights have.
TOOL_NETWORK = ("backbones", "get_model")


def ours(module: str, folder: Path) -> bool:
    """Whether a module is the checkout's, which can be bound anew only once it is imported."""
    return module.split(".")[0] in checkout.top_level_names(folder)


def missing(folder: Path) -> list[Seam]:
    """Seams whose name the checkout does not bind; torch's own are there."""
    upstream = [seam for seam in SEAMS if not seam.module.startswith("torch.")]
    return [seam for seam in upstream if seam.name not in checkout.bindings(folder, seam.module)]


def refuse_missing(folder: Path) -> None:
    """ValueError naming each seam that is not there."""
    gone = [f"{seam.module}.{seam.name}" for seam in missing(folder)]
    if gone:
        raise ValueError(
            f"{folder} (commit {checkout.commit(folder) or 'unknown'}) has no {', '.join(gone)}: another arcface_torch than "
            f"the one this works with. Known to work: commits {KNOWN} of deepinsight/insightface"
        )


def open_upstream(stack: ExitStack, folder: Path, around: Surroundings) -> ModuleType:
    """Upstream's entry module, imported (which starts its process group) and mended, until the stack closes."""
    stack.enter_context(checkout.importable(folder))
    late = [mend for mend in MENDS if ours(mend.module, folder)]
    apply(stack, [mend for mend in MENDS if mend not in late], around)
    entry = importlib.import_module(ENTRY)
    apply(stack, late, around)
    return entry


def mend_tool(stack: ExitStack, folder: Path, tool: str, around: Surroundings) -> None:
    """Make the checkout importable, and one module of its evaluation ready to run, until the stack closes."""
    stack.enter_context(checkout.importable(folder))
    apply(stack, [mend for mend in TOOL_MENDS if mend.module == tool or not ours(mend.module, folder)], around)


def apply(stack: ExitStack, some: list[Mend], around: Surroundings) -> None:
    """Put those mends that are needed in place until the stack closes."""
    for mend in some:
        if not mend.needed(around):
            continue
        if mend.name == WHOLE_MODULE:
            stand_in(stack, mend.make())
        else:
            rebind(stack, mend.module, mend.name, mend.make)


def install(stack: ExitStack, hosted) -> None:
    """Put every seam in place until the stack closes."""
    for seam in SEAMS:
        rebind(stack, seam.module, seam.name, lambda original, seam=seam: seam.wrap(original, hosted))
