"""Two gloo ranks inside the bridge equal one, in loss and in every gradient; the student has no BatchNorm."""

import os
import socket
from dataclasses import fields, replace

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from aird_plugin import distributed, lesson
from aird_plugin.bridge import seams, wrappers
from aird_plugin.bridge.host import train
from aird_plugin.bridge.hosted import Hosted
from aird_plugin.data.faces import BankFaces
from aird_plugin.data.plan import Plan
from aird_plugin.errors import Interrupted
from aird_plugin.recipe import from_flat

GLOBAL_BATCH = 8


class Plain(nn.Module):
    """A student without BatchNorm."""

    input_size = 16

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(768, 24), nn.Tanh(), nn.Linear(24, 8))

    def forward(self, x):
        return self.layers(x)


class PartOfBatch(BankFaces):
    """This rank's part of the very batch that one rank would have, relation candidates included."""

    def __getitem__(self, number):
        batch = super().__getitem__(number)
        count = GLOBAL_BATCH // distributed.world_size()
        mine = slice(distributed.rank() * count, (distributed.rank() + 1) * count)
        tensors = {f.name: getattr(batch, f.name) for f in fields(batch)}
        return replace(batch, **{name: value[mine] for name, value in tensors.items() if value is not None})


def first_step(keys: dict, checkout: str) -> dict[str, torch.Tensor]:
    """Loss, gradients and the updated relation weights of one hosted step on this rank."""
    build_source = lesson.build_source
    found: dict[str, torch.Tensor] = {}

    def whole_batches(*args):
        source = build_source(*args)
        source.plan = Plan(48, 2, GLOBAL_BATCH, 0)
        source.__class__ = PartOfBatch
        return source

    def record(original, hosted):
        def clip(parameters, limit):
            parts = {"student": hosted.lesson.student, "objective": hosted.lesson.objective, "head": hosted.head}
            for part, module in parts.items():
                found.update({f"{part}/{name}": p.grad.clone() for name, p in module.named_parameters() if p.grad is not None})
            hosted_shard = [hosted.head.class_start, hosted.head.class_start + hosted.head.num_local]
            found["shard"] = torch.tensor(hosted_shard)
            raise Interrupted

        return clip

    loss = Hosted.loss

    def record_loss(hosted, *args):
        out = loss(hosted, *args)
        found["loss"] = distributed.mean_over_ranks(out.detach())
        return out

    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        swapped = [replace(seam, wrap=record) if seam.wrap is wrappers.clip_gradients else seam for seam in seams.SEAMS]
        patched.setattr(seams, "SEAMS", tuple(swapped))
        patched.setattr(Hosted, "loss", record_loss)
        patched.setattr(lesson, "build_source", whole_batches)
        patched.setattr(lesson, "build", lambda name, width: Plain())
        with pytest.raises(Interrupted):
            train(from_flat(keys | {"batch_size": GLOBAL_BATCH // int(os.environ.get("WORLD_SIZE", 1))}), checkout)
    return found


def on_rank(rank: int, port: int, keys: dict, checkout: str, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.save(first_step(keys, checkout), f"{folder}/{rank}.pt")


def on_two_ranks(keys: dict, checkout: str, folder) -> list[dict[str, torch.Tensor]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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
