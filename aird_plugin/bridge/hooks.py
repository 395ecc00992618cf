"""All hooks into arcface_torch and all compatibility patches it needs; no other file contains its module names.

A hook replaces a function or class of upstream by ours. A compatibility patch lets unmodified upstream code run on current torch,
numpy and scipy, or on a machine without CUDA or mxnet; it is applied only if needed.
"""

import importlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from aird_plugin.bridge import checkout, compat, head, mxnet_standin, reader, torchvision_standin, verification, wrappers
from aird_plugin.bridge.compat import Environment
from aird_plugin.bridge.patching import rebind, replace_modules

ENTRY = "train_v2"
KNOWN = "ab27f4d6 (2023-04-08) to 0159b24d (2024-11-06)"
WHOLE_MODULE = ""
# Upstream's evaluation modules: `tools.py` runs each with the TOOL_PATCHES that it needs.
IJB_OF_ONNX, IJB_OF_WEIGHTS, VERIFICATION = "onnx_ijbc", "eval_ijbc", "eval.verification"


@dataclass(frozen=True)
class Hook:
    """Upstream's module and name; wrap(original, upstream_run) returns the replacement."""

    module: str
    name: str
    wrap: Callable[[Any, Any], Any]
    why: str


@dataclass(frozen=True)
class CompatPatch:
    """make(original) returns the replacement, applied if needed(environment). WHOLE_MODULE: make() returns modules by name."""

    module: str
    name: str
    make: Callable
    needed: Callable[[Environment], bool]
    why: str


def base_config(original, run):
    """Replaces get_config. Copies upstream's defaults, which would else stay modified for later runs of the process."""
    return wrappers.recipe_config(dict(importlib.import_module("configs.base").config), run)


def compression(original, run):
    """fp16_compress_hook, or averaging without compression."""
    if run.setup.recipe.bridge.gradient_compression:
        return original
    return importlib.import_module(original.__module__).allreduce_hook


HOOKS = (
    Hook(ENTRY, "get_config", base_config, "recipes may lie anywhere; upstream requires configs/NAME.py"),
    Hook(ENTRY, "get_dataloader", reader.dataloader, "batches of LR images and teacher embeddings come from the bank"),
    Hook(ENTRY, "get_model", wrappers.get_model, "the recipe's student, with LR inputs prepared by a forward-pre-hook"),
    Hook(ENTRY, "CombinedMarginLoss", head.margin, "the recipe's margin_scale (upstream: 64) and margin_gradient"),
    Hook(ENTRY, "PartialFC_V2", head.partial_fc, "the objective adds its terms to upstream's identity loss"),
    Hook(ENTRY, "PolynomialLRWarmup", wrappers.scheduler, "the recipe's schedule and momentum; checkpoints of both loops"),
    Hook(ENTRY, "fp16_compress_hook", compression, "gradient_compression=False averages gradients as they are"),
    Hook(ENTRY, "CallBackLogging", wrappers.logging_callback, "every loss term in the log, metrics.jsonl and TensorBoard"),
    Hook(ENTRY, "CallBackVerification", verification.callback, "HR and LR verification of each target, with and without FaceBN"),
    Hook(VERIFICATION, "test", verification.test, "computed by the project's own evaluation"),
    Hook("torch.nn.utils", "clip_grad_norm_", wrappers.clip_gradients, "the recipe's clip (upstream: 5)"),
)

SHARED_PATCHES = (
    CompatPatch(
        "mxnet",
        WHOLE_MODULE,
        mxnet_standin.modules,
        lambda env: not (env.keep_mxnet and compat.installed("mxnet")),
        "its last release needs numpy below 1.24; our reader replaces it",
    ),
    CompatPatch("torch", "Tensor.cuda", compat.return_self, lambda env: env.cpu, "upstream moves everything to CUDA"),
    CompatPatch("torch.nn", "Module.cuda", compat.return_self, lambda env: env.cpu, "upstream moves everything to CUDA"),
    CompatPatch(
        VERIFICATION,
        "interpolate",
        compat.interp1d_with_duplicates,
        compat.interp1d_rejects_duplicates,
        "newer scipy rejects duplicate x values, which upstream's evaluate always has (1.8 accepted them)",
    ),
)

COMPAT_PATCHES = (
    *SHARED_PATCHES,
    CompatPatch(
        "torchvision",
        WHOLE_MODULE,
        torchvision_standin.modules,
        lambda env: not compat.installed("torchvision"),
        "upstream's reader imports it for a flip and a normalisation",
    ),
    CompatPatch(
        "torch.optim.lr_scheduler",
        "_LRScheduler",
        compat.scheduler_with_verbose,
        compat.scheduler_rejects_verbose,
        "upstream's scheduler passes `verbose`, which torch 2.7 removed",
    ),
    CompatPatch(
        "torch.distributed",
        "init_process_group",
        compat.free_port,
        compat.no_torchrun,
        "without torchrun upstream always takes port 12584: two runs on one machine collide",
    ),
    CompatPatch("torch.distributed", "init_process_group", compat.gloo_for_nccl, lambda env: env.cpu, "NCCL needs CUDA"),
    CompatPatch("torch.cuda", "set_device", compat.no_op, lambda env: env.cpu, "there is no CUDA device to choose"),
    CompatPatch(
        "torch.nn.parallel",
        "DistributedDataParallel",
        compat.ddp_without_device_ids,
        lambda env: env.cpu,
        "a module on the CPU rejects device_ids",
    ),
    CompatPatch(
        "torch",
        "save",
        compat.atomic_save,
        lambda env: True,
        "upstream writes model.pt in place: a kill half-way leaves half a file",
    ),
    CompatPatch("dataset", "DataLoaderX", compat.cpu_loader, lambda env: env.cpu, "upstream's loader copies on a CUDA stream"),
)

TOOL_PATCHES = (
    *SHARED_PATCHES,
    CompatPatch("numpy", "__getattr__", compat.restore_int, compat.numpy_lacks_int, "numpy 1.24 removed np.int"),
    CompatPatch(VERIFICATION, "pickle", compat.safe_pickle, lambda env: True, "pickle.load executes any code in a .bin file"),
    CompatPatch(
        IJB_OF_ONNX,
        "ArcFaceORT.check",
        compat.strict_check,
        lambda env: True,
        "its caller ignores the returned message and then fails on a missing attribute",
    ),
    CompatPatch(
        IJB_OF_ONNX,
        "DataLoader",
        compat.loader_without_workers,
        compat.workers_are_not_forked,
        "if workers are not forked (Python 3.14, macOS), they would import the real mxnet",
    ),
)

# IJB_OF_WEIGHTS calls it for embeddings of 512 numbers, whatever the width of the weights.
TOOL_NETWORK = ("backbones", "get_model")


def in_checkout(module: str, folder: Path) -> bool:
    """Whether a module belongs to the checkout, which can be patched only once it is imported."""
    return module.split(".")[0] in checkout.top_level_names(folder)


def missing(folder: Path) -> list[Hook]:
    """Hooks whose name the checkout does not define; those of torch always exist."""
    upstream = [hook for hook in HOOKS if not hook.module.startswith("torch.")]
    return [hook for hook in upstream if hook.name not in checkout.bindings(folder, hook.module)]


def check_hooks(folder: Path) -> None:
    """Raise ValueError naming each hook that the checkout does not define."""
    absent = [f"{hook.module}.{hook.name}" for hook in missing(folder)]
    if absent:
        raise ValueError(
            f"{folder} (commit {checkout.commit(folder) or 'unknown'}) has no {', '.join(absent)}: an incompatible "
            f"version of arcface_torch. Known to work: commits {KNOWN} of deepinsight/insightface"
        )


def open_upstream(stack: ExitStack, folder: Path, env: Environment) -> ModuleType:
    """Import upstream's entry module, which starts its process group, with compatibility patches, until the stack closes."""
    stack.enter_context(checkout.importable(folder))
    late = [patch for patch in COMPAT_PATCHES if in_checkout(patch.module, folder)]
    apply(stack, [patch for patch in COMPAT_PATCHES if patch not in late], env)
    entry = importlib.import_module(ENTRY)
    apply(stack, late, env)
    return entry


def patch_tool(stack: ExitStack, folder: Path, tool: str, env: Environment) -> None:
    """Make the checkout importable and patch one module of its evaluation, until the stack closes."""
    stack.enter_context(checkout.importable(folder))
    apply(stack, [patch for patch in TOOL_PATCHES if patch.module == tool or not in_checkout(patch.module, folder)], env)


def apply(stack: ExitStack, patches: list[CompatPatch], env: Environment) -> None:
    """Apply the patches that are needed, until the stack closes."""
    for patch in patches:
        if not patch.needed(env):
            continue
        if patch.name == WHOLE_MODULE:
            replace_modules(stack, patch.make())
        else:
            rebind(stack, patch.module, patch.name, patch.make)


def install(stack: ExitStack, run) -> None:
    """Install every hook until the stack closes."""
    for hook in HOOKS:

        def wrapped(original, hook=hook):
            return hook.wrap(original, run)

        rebind(stack, hook.module, hook.name, wrapped)
