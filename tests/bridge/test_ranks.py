"""Two gloo ranks inside arcface_torch equal one, in the loss and every gradient; the student has no BatchNorm."""

import os
import socket
from dataclasses import fields, replace

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from aird_plugin.bridge import hooks, wrappers
from aird_plugin.bridge.host import train
from aird_plugin.bridge.upstream_run import UpstreamRun
from aird_plugin.config.recipe import from_flat
from aird_plugin.data.batches import BankFaces
from aird_plugin.data.sampler import BatchSampler
from aird_plugin.training import build, student
from aird_plugin.utils import distributed
from aird_plugin.utils.errors import Interrupted

GLOBAL_BATCH = 8


class StudentWithoutBatchNorm(nn.Module):
    """A linear student without BatchNorm."""

    input_size = 16

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(768, 24), nn.Tanh(), nn.Linear(24, 8))

    def forward(self, x):
        return self.layers(x)


class PartOfBatch(BankFaces):
    """This rank's part of the batch that a single rank would have, relation candidates included."""

    def __getitem__(self, number):
        batch = super().__getitem__(number)
        count = GLOBAL_BATCH // distributed.world_size()
        local = slice(distributed.rank() * count, (distributed.rank() + 1) * count)
        tensors = {f.name: getattr(batch, f.name) for f in fields(batch)}
        return replace(batch, **{name: value[local] for name, value in tensors.items() if value is not None})


def first_step(keys: dict, checkout: str) -> dict[str, torch.Tensor]:
    """Loss and gradients of one step inside arcface_torch on this rank."""
    build_source = build.build_source
    results: dict[str, torch.Tensor] = {}

    def global_batches(*args):
        source = build_source(*args)
        source.sampler = BatchSampler(48, 2, GLOBAL_BATCH, 0)
        source.__class__ = PartOfBatch
        return source

    def record_gradients(original, run):
        def clip(parameters, limit):
            parts = {"student": run.setup.student, "objective": run.setup.objective, "head": run.head}
            for part, module in parts.items():
                results.update({f"{part}/{name}": p.grad.clone() for name, p in module.named_parameters() if p.grad is not None})
            results["shard"] = torch.tensor([run.head.class_start, run.head.class_start + run.head.num_local])
            raise Interrupted

        return clip

    loss = UpstreamRun.loss

    def record_loss(run, *args):
        out = loss(run, *args)
        results["loss"] = distributed.mean_over_ranks(out.detach())
        return out

    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        swapped = [replace(hook, wrap=record_gradients) if hook.wrap is wrappers.clip_gradients else hook for hook in hooks.HOOKS]
        patched.setattr(hooks, "HOOKS", tuple(swapped))
        patched.setattr(UpstreamRun, "loss", record_loss)
        patched.setattr(build, "build_source", global_batches)
        patched.setattr(student, "build", lambda name, width: StudentWithoutBatchNorm())
        with pytest.raises(Interrupted):
            train(from_flat(keys | {"batch_size": GLOBAL_BATCH // int(os.environ.get("WORLD_SIZE", 1))}), checkout)
    return results


def on_rank(rank: int, port: int, keys: dict, checkout: str, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.save(first_step(keys, checkout), f"{folder}/{rank}.pt")


def on_two_ranks(keys: dict, checkout: str, folder) -> list[dict[str, torch.Tensor]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(on_rank, (port, keys, checkout, str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def assert_same(part: torch.Tensor, whole: torch.Tensor, name: str) -> None:
    assert whole.norm() > 0 and (part - whole).norm() <= 1e-5 * whole.norm(), name


@pytest.mark.parametrize("change", [{}, {"margin_gradient": "exact", "iid_variant": "dkd"}])
def test_two_ranks_equal_one(change, bridge_run, checkout, tmp_path):
    keys = bridge_run | {"output": str(tmp_path / "run"), "resume": False} | change
    whole = first_step(keys, checkout)
    parts = on_two_ranks(keys, checkout, tmp_path)
    assert [part["shard"].tolist() for part in parts] == [[0, 4], [4, 8]]
    assert any(name.startswith("objective/terms.rid") for name in whole)
    for name in whole.keys() - {"shard", "head/weight"}:
        for part in parts:
            assert_same(part[name], whole[name], name)
    assert_same(torch.cat([part["head/weight"] for part in parts]), whole["head/weight"], "head")


def test_two_ranks_with_sampled_classes_agree(bridge_run, checkout, tmp_path):
    keys = bridge_run | {"output": str(tmp_path / "run"), "sample_rate": 0.5}
    one, other = on_two_ranks(keys, checkout, tmp_path)
    for name in one.keys() - {"shard", "head/weight"}:
        assert torch.isfinite(one[name]).all()
        torch.testing.assert_close(one[name], other[name], rtol=1e-6, atol=0)
