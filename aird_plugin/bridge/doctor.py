"""The checks of `aird doctor` for an arcface_torch checkout. No code of the checkout is executed."""

from collections.abc import Iterator
from pathlib import Path

import torch

from aird_plugin.bridge import checkout, hooks
from aird_plugin.bridge.compat import Environment, installed
from aird_plugin.bridge.host import check_imports
from aird_plugin.diagnostics.diagnostic import Diagnostic


def check_checkout(directory: str) -> Iterator[Diagnostic]:
    """Check the folder, each hook, each compatibility patch, and the packages that upstream may use."""
    try:
        folder = checkout.find(directory, hooks.ENTRY)
    except ValueError as error:
        yield Diagnostic("error", "arcface_torch", str(error))
        return
    yield Diagnostic("ok", f"arcface_torch in {folder}, commit {checkout.commit(folder) or 'unknown (no git history here)'}")
    missing = hooks.missing(folder)
    for hook in hooks.HOOKS:
        name = f"hook {hook.module}.{hook.name}"
        if hook in missing:
            yield Diagnostic("error", f"{name} is missing", f"check out one of {hooks.KNOWN} of deepinsight/insightface")
        else:
            yield Diagnostic("ok", f"{name} ({hook.why})")
    yield from check_packages(folder)
    env = Environment(cpu=not torch.cuda.is_available())
    for patch in hooks.COMPAT_PATCHES:
        yield check_compat_patch(patch, env)


def check_packages(folder: Path) -> Iterator[Diagnostic]:
    """Check mxnet, DALI, torchvision, and the packages that upstream's evaluation imports."""
    if installed("mxnet"):
        yield Diagnostic("note", "mxnet is installed", "our reader replaces it; keep_mxnet=True uses mxnet itself")
    else:
        yield Diagnostic("ok", "mxnet is not installed and not needed: our reader replaces it")
    if installed("torchvision"):
        yield Diagnostic("ok", "torchvision is installed")
    else:
        yield Diagnostic("note", "torchvision is not installed", "only reader='upstream' from a folder of images needs it")
    if installed("nvidia") and installed("nvidia.dali"):
        yield Diagnostic("ok", "DALI is installed: reader='upstream' with upstream={'dali': True} uses it")
    else:
        yield Diagnostic(
            "note", "DALI is not installed", "only upstream={'dali': True} needs it; training from the bank decodes no images"
        )
    try:
        check_imports(folder)
        yield Diagnostic("ok", "scikit-learn and scipy are installed")
    except ImportError as error:
        yield Diagnostic("error", "packages", str(error))


def check_compat_patch(patch: hooks.CompatPatch, env: Environment) -> Diagnostic:
    """Whether a run on this machine would apply the compatibility patch, and why."""
    name = f"{patch.module}.{patch.name}".rstrip(".")
    state = f"will be applied ({patch.why})" if patch.needed(env) else "is not needed here"
    return Diagnostic("ok", f"compatibility patch of {name} {state}")
