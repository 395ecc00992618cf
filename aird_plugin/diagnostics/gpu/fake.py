"""The forward of every recipe with CUDA tensors that hold no data: finds tensors left on the CPU, without a GPU.

PyTorch's fake tensors carry shape, type and device, and refuse an operation on two devices. A CPU build of PyTorch lacks the
few lines that make a device current; where a C++ compiler is at hand they are compiled, otherwise a CUDA build is needed.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from aird_plugin.data.batch import Batch
from aird_plugin.data.batched.linear import weight_table
from aird_plugin.data.degradation import BICUBIC
from aird_plugin.data.multi_size import DrawnResize
from aird_plugin.diagnostics.gpu.check import FAILED, NOTE, OK, SKIPPED, CheckContext, Row, Skipped, one_line, table
from aird_plugin.diagnostics.gpu.synthetic import built, recipe_files, reduced_recipe
from aird_plugin.training.data import open_caches
from aird_plugin.training.loop import compute_loss
from aird_plugin.training.source import build_source
from aird_plugin.training.state import TrainState
from aird_plugin.utils.progress import progress

CUDA = torch.device("cuda", 0)
# Degradations whose random numbers a GPU draws itself.
DRAWN_ON_GPU = ("noise", "realworld")
# Without it, PyTorch aborts the process where autograd asks for the device of a CUDA tensor.
GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
static c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> guard;
static c10::impl::DeviceGuardImplRegistrar registrar(c10::DeviceType::CUDA, &guard);
"""
NO_BUILD = "--fake needs a CUDA build of torch (no GPU), or a C++ compiler for this CPU build: {problem}"
NOT_FOLLOWED = (
    "not followed by fake tensors: backward and optimizer, autocast's half precision, branches on values (the host reads 0), "
    "generators on the GPU (images of noise and realworld are bicubic here), the loader's pinned memory and streams, NCCL, "
    "torch.compile, onnxruntime (an .onnx teacher runs outside PyTorch), recipes that train a prior"
)


def run_fake() -> int:
    """Follow every recipe, print a table and what was not followed. Returns 1 for a mixed device or another error, 2 without
    a build that can."""
    try:
        enable_fake_cuda()
    except RuntimeError as problem:
        print(NO_BUILD.format(problem=problem), file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        rows = list(check_fake(CheckContext(torch.device("cpu"), Path(scratch))))
    print(f"torch {torch.__version__}\n\n{table(rows)}\n\n{NOT_FOLLOWED}")
    return 1 if any(row.status == FAILED for row in rows) else 0


def enable_fake_cuda() -> None:
    """Make fake CUDA tensors usable in this process. Raises RuntimeError, naming the problem, where that is not possible."""
    if torch.version.cuda:
        return
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise RuntimeError("found no c++, g++ or clang++")
    root = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "guard.cpp", Path(folder) / "guard.so"
        source.write_text(GUARD)
        paths = [f"-I{root / 'include'}", f"-L{root / 'lib'}", "-lc10"]
        command = [compiler, "-std=c++20", "-shared", "-fPIC", str(source), *paths, "-o", str(library)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(next((line for line in done.stderr.splitlines() if "error" in line), "the compiler failed"))
        try:
            torch.ops.load_library(str(library))
        except OSError as error:
            raise RuntimeError(str(error)) from error


def check_fake(context: CheckContext, files: list[Path] | None = None) -> Iterator[Row]:
    """A row for every recipe that mixes devices, fails or is followed in part, and a row that counts the others."""
    followed, mode = [], CudaFakes(allow_non_fake_inputs=False)
    # Its tables would otherwise be fake for the rest of the process; fakes of two modes do not mix either.
    weight_table.cache_clear()
    paths = files or recipe_files()
    for path in progress(paths, len(paths), "fake forward of every recipe", "recipes"):
        try:
            follow(path, context, mode)
            followed.append(path.stem)
        except Skipped as reason:
            yield Row(f"fake forward of {path.stem}", SKIPPED, str(reason))
        except DynamicOutputShapeException as error:
            yield Row(f"fake forward of {path.stem}", NOTE, f"followed as far as {error.func}, whose result depends on data")
        # Whatever a recipe raises is its result.
        except Exception as error:
            yield Row(f"fake forward of {path.stem}", FAILED, one_line(error))
    weight_table.cache_clear()
    yield Row(f"fake forward of {len(followed)} recipes with CUDA tensors", OK if followed else NOTE, "no mixed devices")


def follow(path: Path, context: CheckContext, mode: FakeTensorMode) -> None:
    """The losses of a recipe's first batch, prepared as for a GPU, with all tensors on a fake CUDA device."""
    recipe = reduced_recipe(path, context, "device=cpu", "bank_on=memory")
    if recipe.prior.prior_side:
        raise Skipped("trains a prior")
    state = built(recipe)
    setup = state.setup
    images, bank = open_caches(setup.recipe, setup.records, setup.teacher, torch.device("cpu"))
    arguments = (setup.recipe, setup.records, images, bank, setup.objective, setup.student.input_size, CUDA)
    batch = for_device(build_source(*arguments)[0], setup.source[0])
    with mode:
        move(state, mode)
        compute_loss(state, setup.to_device(faked(batch, mode)), 0, 1)


class CudaFakes(FakeTensorMode):
    """Fake tensors of which the host reads 0: a term that asks whether it is initialised goes on."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            return torch.zeros((), dtype=args[0].dtype).item()
        return super().__torch_dispatch__(func, types, args, kwargs)


def for_device(batch: Batch, own: Batch) -> Batch:
    """The batch with the prior's features of `own`, which the recipe's own source adds, and without draws on the GPU."""
    if isinstance(batch.resize, DrawnResize):
        names = [BICUBIC if name in DRAWN_ON_GPU else name for name in batch.resize.degradations]
        batch = replace(batch, resize=replace(batch.resize, degradations=names))
    return replace(batch, generative_BCHW=own.generative_BCHW)


def move(state: TrainState, mode: FakeTensorMode) -> None:
    """Replace every parameter, buffer and teacher tensor by a fake one on the CUDA device."""
    setup = state.setup
    setup.device = CUDA
    for part in (setup.student, setup.objective, state.head, *teacher_modules(setup)):
        fake_module(part, mode)
    if setup.maps:
        setup.maps.weights = [(fake(rows, mode), fake(columns, mode)) for rows, columns in setup.maps.weights]
    if setup.teacher:
        setup.teacher.device = CUDA


def teacher_modules(setup: Any) -> Iterator[nn.Module]:
    """The networks that run in the step where the recipe is online."""
    if setup.recipe.bank.online and setup.teacher:
        yield from {id(net): net for net in (setup.teacher.net, setup.teacher._folded)}.values()
        # That of an .onnx is a function; the recipes are reduced to a .pt teacher.
        if setup.maps and isinstance(setup.maps.run, nn.Module):
            yield setup.maps.run


def fake_module(module: nn.Module, mode: FakeTensorMode) -> None:
    """Replace a module's tensors in place; a tensor used twice stays one."""
    known: dict[int, Any] = {}
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and not isinstance(tensor, torch._subclasses.FakeTensor):
                    tensors[name] = known.setdefault(id(tensor), fake(tensor, mode))


def fake(tensor: torch.Tensor, mode: FakeTensorMode, device: torch.device = CUDA) -> torch.Tensor:
    """A tensor of the same shape, strides, type and gradient, without data."""
    with mode:
        made = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device)
    return nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


def faked(batch: Batch, mode: FakeTensorMode) -> Batch:
    """The batch with fake tensors where they are, on the CPU."""
    return batch._map(lambda tensor: fake(tensor, mode, tensor.device))
