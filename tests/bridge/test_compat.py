import os
import socket
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from aird_plugin.bridge import checkout, compat, hooks
from aird_plugin.bridge.compat import Environment

CPU = Environment(cpu=True)


@pytest.fixture
def opened(standin):
    """The stand-in's entry module, patched for the CPU; its process group ends with the test."""
    with ExitStack() as stack:
        stack.callback(lambda: torch.distributed.is_initialized() and torch.distributed.destroy_process_group())
        yield hooks.open_upstream(stack, checkout.find(standin, hooks.ENTRY), CPU)


def test_entry_module_starts_a_gloo_group_of_one(opened):
    assert torch.distributed.get_backend() == "gloo" and torch.distributed.get_world_size() == 1


def test_patched_scheduler_works(opened):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    schedule = opened.PolynomialLRWarmup(optimizer=optimizer, warmup_iters=2, total_iters=6)
    rates = []
    for _ in range(6):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1.0, 0.5, 1.0, 0.75, 0.5, 0.25])


def test_unpatched_scheduler_fails(opened, monkeypatch):
    if not compat.scheduler_rejects_verbose(CPU):
        pytest.skip("this torch still takes verbose")
    base = opened.PolynomialLRWarmup.__bases__[0]
    monkeypatch.setattr(base, "__init__", torch.optim.lr_scheduler.LRScheduler.__init__)
    with pytest.raises(TypeError, match="verbose"):
        opened.PolynomialLRWarmup(optimizer=torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0), warmup_iters=2)


def test_cuda_calls_do_nothing_on_the_cpu(opened):
    x = torch.ones(2)
    assert x.cuda() is x and x.cuda(0, non_blocking=True) is x
    layer = torch.nn.Linear(2, 2)
    assert layer.cuda() is layer
    torch.cuda.set_device(3)
    wrapped = torch.nn.parallel.DistributedDataParallel(layer, device_ids=[0], broadcast_buffers=False)
    assert wrapped.module is layer


def test_interp1d_accepts_duplicate_x(opened):
    """False accept rates form a staircase. The values are those of older scipy."""
    import eval.verification as verification

    shares, thresholds = np.array([0.0, 0.0, 0.5, 0.5, 1.0]), np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    f = verification.interpolate.interp1d(shares, thresholds, kind="slinear")
    assert f(0.25) == 1.5 and f(0.75) == 3.5 and f(0.5) == 3.0


def test_run_without_torchrun_takes_a_free_port():
    methods = []
    start = compat.free_port(lambda backend, **options: methods.append(options["init_method"]))
    start(backend="nccl", init_method="tcp://127.0.0.1:12584", rank=0, world_size=1)
    host, port = methods[0].removeprefix("tcp://").split(":")
    with socket.socket() as server:
        server.bind((host, int(port)))
    assert host == "127.0.0.1" and port != "12584"


def test_failed_save_keeps_the_previous_file(tmp_path):
    save = compat.atomic_save(torch.save)
    save({"a": torch.ones(1)}, str(tmp_path / "model.pt"))

    class Unpicklable:
        def __reduce__(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        save({"a": torch.zeros(1), "b": Unpicklable()}, str(tmp_path / "model.pt"))
    assert torch.load(tmp_path / "model.pt")["a"] == 1 and os.listdir(tmp_path) == ["model.pt"]
    with open(tmp_path / "other.pt", "wb") as file:
        save({"a": torch.ones(1)}, file)
    assert torch.load(tmp_path / "other.pt")["a"] == 1


def test_mxnet_is_kept_only_if_installed_and_requested(monkeypatch):
    patch = next(patch for patch in hooks.COMPAT_PATCHES if patch.module == "mxnet")
    monkeypatch.setattr(compat, "installed", lambda package: True)
    assert patch.needed(CPU) and not patch.needed(Environment(cpu=True, keep_mxnet=True))
    monkeypatch.setattr(compat, "installed", lambda package: False)
    assert patch.needed(Environment(cpu=True, keep_mxnet=True))
