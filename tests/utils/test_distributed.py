"""Two ranks equal one, in loss and in every gradient: head, IID and RID together, with a student without BatchNorm."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from aird_plugin.losses.instance import IID
from aird_plugin.losses.relation import RID
from aird_plugin.training.objective import LossDims, Objective, build_loss_inputs
from aird_plugin.utils import distributed
from tests.exact import assert_equal_up_to_order, float64
from tests.rank_step import NEGATIVES, WIDTH, Batch, in_ddp, losses_and_gradients_of, small_head, small_student
from tests.ranks import free_port, on_ranks


def losses_and_gradients(sample_rate: float, variant: str, rid: dict[str, str]) -> dict[str, torch.Tensor]:
    """One step on this rank's images; gradients as the optimizer gets them, as dense tensors."""
    student, head, batch = small_student(), small_head(sample_rate=sample_rate), Batch()
    terms = {"iid": IID(variant=variant), "rid": RID(width=4, negatives=NEGATIVES, **rid)}
    objective = Objective(terms, LossDims(WIDTH))
    network = in_ddp(student)
    inputs = build_loss_inputs(network(batch.x), batch, head)
    out = objective(inputs, identity=head.loss(inputs.student_cosine_GC, inputs.label_G))
    out["loss"].backward()
    found = losses_and_gradients_of(student, objective, out)
    return found | {"head": head.weight.grad.to_dense(), "shard": torch.tensor([head.shard.start, head.shard.stop])}


RID_VARIANTS = (
    {"contrast": "nce"},
    {"contrast": "infonce"},
    {"contrast": "mutual"},
    {"contrast": "infonce", "anchors": "batch", "relation": "tied"},
    {"contrast": "nce", "anchors": "batch", "relation": "difference"},
)


@pytest.mark.parametrize("settings", [(1.0, "dkd" if number == 1 else "kl", rid) for number, rid in enumerate(RID_VARIANTS)])
def test_two_ranks_equal_one(settings, tmp_path):
    with float64():
        whole = losses_and_gradients(*settings)
    parts = on_ranks(losses_and_gradients, tmp_path, *settings)
    for part in parts:
        shared = whole.keys() - {"head", "shard"}
        assert_equal_up_to_order({name: part[name] for name in shared}, {name: whole[name] for name in shared})
    assert [part["shard"].tolist() for part in parts] == [[0, 4], [4, 7]]
    assert_equal_up_to_order(torch.cat([part["head"] for part in parts]), whole["head"])
    assert whole["head"].abs().sum() > 0 and all(whole[n].abs().sum() > 0 for n in whole if n.startswith("objective/"))


def test_two_ranks_with_sampled_classes_keep_every_class_of_the_batch(tmp_path):
    parts = on_ranks(losses_and_gradients, tmp_path, 0.5, "kl", {"contrast": "nce"})
    for part in parts:
        assert all(torch.isfinite(value).all() for value in part.values())
    for name in parts[0]:
        if name == "loss/loss" or name.startswith("student/"):
            assert_equal_up_to_order(parts[0][name], parts[1][name])


def test_one_process_needs_no_process_group():
    x = torch.ones(3, 2, requires_grad=True)
    assert distributed.world_size() == 1 and distributed.rank() == 0
    assert distributed.gather_rows(x) is x and distributed.mean_over_ranks(x) is x
    assert distributed.any_rank(True, torch.device("cpu")) and not distributed.any_rank(False, torch.device("cpu"))
    distributed.barrier()
    distributed.average_gradients([x])


def on_impatient_rank(rank: int, port: int, folder: str) -> None:
    """The group times out after two seconds; rank 0 works for four. Writes when rank 0 was done and when rank 1 continued."""
    place = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", place, rank=rank, world_size=2, timeout=timedelta(seconds=2))
    if rank == 0:
        time.sleep(4)
        Path(folder, "0").write_text(str(time.time()))
    distributed.wait_for_rank0()
    if rank == 1:
        Path(folder, "1").write_text(str(time.time()))
    distributed.stop()


def test_wait_for_rank0_outlasts_the_group_timeout(tmp_path):
    mp.spawn(on_impatient_rank, (free_port(), str(tmp_path)), nprocs=2)
    done, continued = (float((tmp_path / name).read_text()) for name in "01")
    assert continued >= done


def waits_under_nccl_alone() -> dict[str, torch.Tensor]:
    """A process group without a CPU backend, as arcface_torch's; rank 0 works longer than gloo waits, then not at all.

    Returns when rank 0 was done or rank 1 continued, after each wait, and the number of groups.
    """
    times = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.distributed.distributed_c10d, "default_pg_timeout", timedelta(seconds=3))
        patched.setattr(torch.distributed, "get_backend_config", lambda group=None: "cuda:nccl")
        distributed.open_host_group()
        for seconds in (4, 0):
            if distributed.rank() == 0:
                time.sleep(seconds)
                times.append(time.time())
            distributed.wait_for_rank0()
            if distributed.rank() == 1:
                times.append(time.time())
    return {"times": torch.tensor(times, dtype=torch.float64), "groups": torch.tensor(torch.distributed.get_pg_count())}


def test_wait_for_rank0_under_nccl_alone_opens_one_group_that_does_not_time_out(tmp_path):
    done, continued = on_ranks(waits_under_nccl_alone, tmp_path)
    assert (continued["times"] >= done["times"]).all() and done["groups"] == continued["groups"] == 2


def ranks_that_wrote_before(folder: str) -> dict[str, torch.Tensor]:
    """Every rank writes a file named by its number inside `rank0_first`, rank 0 slowly. Returns the numbers found before."""

    def write() -> list[int]:
        found = [int(path.name) for path in Path(folder).iterdir()]
        if distributed.rank() == 0:
            time.sleep(1)
        Path(folder, str(distributed.rank())).touch()
        return found

    return {"found": torch.tensor(distributed.rank0_first(write))}


def test_other_ranks_find_what_rank0_wrote_first(tmp_path):
    (tmp_path / "written").mkdir()
    first, second = on_ranks(ranks_that_wrote_before, tmp_path, str(tmp_path / "written"))
    assert first["found"].tolist() == [] and second["found"].tolist() == [0]
