"""Runs with sampled class centers: steps equal a dense reference on one rank and on two; memory; resuming."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.config.recipe import from_flat
from aird_plugin.data.batch import Batch
from aird_plugin.losses.instance import IID
from aird_plugin.models.head import Head, HeadConfig
from aird_plugin.training.loop import resume, save, take_step
from aird_plugin.training.objective import LossDims, Objective, build_loss_inputs
from aird_plugin.training.optim import ScheduleConfig, build_optimizer
from aird_plugin.training.sparse_rows import sparse_row_steps
from aird_plugin.training.state import build_state
from aird_plugin.utils import distributed
from aird_plugin.utils.memory import private_bytes, watched
from tests.exact import assert_equal_up_to_order, float64
from tests.ranks import on_new_ranks, on_ranks

FACES, CLASSES, WIDTH, STEPS, SCALE = 6, 13, 5, 4, 8.0
SCHEDULE = ScheduleConfig(lr=0.5, momentum=0.9, weight_decay=0.01)


def draw(step: int, *shape) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(step))


def labels(step: int, first_classes: int) -> torch.Tensor:
    return torch.randint(0, first_classes, (FACES,), generator=torch.Generator().manual_seed(50 + step))


def steps_on_this_rank(sample_rate: float, first_classes: int) -> dict[str, torch.Tensor]:
    """Steps of the head alone: its centers, their momentum, the sampled classes, the losses, the gradients of the embeddings."""
    centers_CD = draw(99, CLASSES, WIDTH)
    head = Head(HeadConfig(CLASSES, margin_scale=SCALE, sample_rate=sample_rate), WIDTH, centers_CD, centers_CD, seed=4)
    optimizer = sparse_row_steps(build_optimizer(SCHEDULE, head.parameters()))
    objective = Objective({"iid": IID()}, LossDims(WIDTH))
    count = FACES // distributed.world_size()
    part = slice(distributed.rank() * count, (distributed.rank() + 1) * count)
    found, drawn = {}, head._sample
    for step in range(STEPS):
        optimizer.zero_grad()
        head._sample = lambda label_G, step: found.setdefault(f"drawn/{step}", drawn(label_G, step))
        student_BD = draw(step, FACES, WIDTH)[part].requires_grad_()
        batch = Batch(None, labels(step, first_classes)[part], teacher_BD=draw(step + 10, FACES, WIDTH)[part])
        inputs = build_loss_inputs(student_BD, batch, head, batch_index=step)
        out = objective(inputs, identity=head.loss(inputs.student_cosine_GC, inputs.label_G))
        out["loss"].backward()
        optimizer.step()
        found[f"drawn/{step}"] += head.shard.start
        found[f"loss/{step}"] = out["loss"].detach()
        found[f"faces/{step}"] = student_BD.grad / distributed.world_size()
    momentum = optimizer.state[head.weight]["momentum_buffer"]
    return found | {"centres": head.weight.detach(), "momentum": momentum}


def reference_steps(drawn: list[torch.Tensor], first_classes: int) -> dict[str, torch.Tensor]:
    """The same steps on all classes in one dense loop, given the classes sampled in each step (sorted)."""
    centers_CD, momentum_CD = draw(99, CLASSES, WIDTH), torch.zeros(CLASSES, WIDTH)
    teacher_CD = F.normalize(centers_CD)
    found = {}
    for step, drawn_S in enumerate(drawn):
        leaf_CD, images_GD = centers_CD.clone().requires_grad_(), draw(step, FACES, WIDTH).requires_grad_()
        column_G = torch.tensor([drawn_S.tolist().index(label) for label in labels(step, first_classes).tolist()])
        cosine_GS = F.normalize(images_GD) @ F.normalize(leaf_CD[drawn_S]).T
        target_GS = F.one_hot(column_G, len(drawn_S)).bool()
        margined_GS = torch.where(target_GS, torch.cos(cosine_GS.acos() + 0.5), cosine_GS)
        teacher_GS = F.normalize(draw(step + 10, FACES, WIDTH)) @ teacher_CD[drawn_S].T
        identity = F.cross_entropy(SCALE * margined_GS, column_G)
        iid = F.kl_div((16 * cosine_GS).log_softmax(1), (16 * teacher_GS).softmax(1), reduction="batchmean")
        (identity + iid).backward()
        for row in drawn_S.tolist():
            momentum_CD[row] = SCHEDULE.momentum * momentum_CD[row] + leaf_CD.grad[row] + SCHEDULE.weight_decay * centers_CD[row]
            centers_CD[row] -= SCHEDULE.lr * momentum_CD[row]
        found |= {f"loss/{step}": (identity + iid).detach(), f"faces/{step}": images_GD.grad}
    return found | {"centres": centers_CD, "momentum": momentum_CD}


def joined(parts: list[dict]) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """The classes sampled on all ranks in each step, and the other values, rows concatenated. Every rank has the same loss."""
    drawn = [torch.cat([part[f"drawn/{step}"] for part in parts]) for step in range(STEPS)]
    rest = [name for name in parts[0] if not name.startswith("drawn")]
    for name in rest:
        assert not name.startswith("loss") or len({part[name].item() for part in parts}) == 1
    together = {n: parts[0][n] if n.startswith("loss") else torch.cat([part[n] for part in parts]) for n in rest}
    return drawn, together


def test_one_rank_equals_the_dense_reference():
    with float64():
        drawn, found = joined([steps_on_this_rank(0.4, CLASSES)])
        assert all(len(set(labels(step, CLASSES).tolist())) <= len(drawn[step]) < CLASSES for step in range(STEPS))
        assert_equal_up_to_order(found, reference_steps(drawn, CLASSES))


@pytest.mark.parametrize(("sample_rate", "first_classes"), [(0.4, CLASSES), (0.01, 7)])
def test_two_ranks_equal_the_dense_reference(tmp_path, sample_rate, first_classes):
    """With the first seven classes alone, rank 1 holds no label of any batch, and its share of classes is less than one."""
    drawn, found = joined(on_ranks(steps_on_this_rank, tmp_path, sample_rate, first_classes))
    with float64():
        assert_equal_up_to_order(found, reference_steps(drawn, first_classes))
    if first_classes == 7:
        assert all((indices >= 7).sum() == 1 for indices in drawn)


def peak_of_a_shard(classes: int, width: int) -> dict[str, torch.Tensor]:
    """Peak private memory in bytes, above the level before, while a shard is initialized and stepped."""
    found = {}
    for name, count in (("warm", 4000), ("peak", classes)):
        before = private_bytes()
        with watched(found, name):
            head = Head(HeadConfig(count, sample_rate=0.01), width, teacher_centers_CD=None, seed=1)
            optimizer = sparse_row_steps(build_optimizer(SCHEDULE, head.parameters()))
            for step in range(3):
                optimizer.zero_grad()
                label_B = torch.randint(0, count, (8,), generator=torch.Generator().manual_seed(distributed.rank()))
                cosines = head.cosines(draw(step, 8, width), None, label_B, step)
                head.loss(cosines.student_GC, cosines.label_G).backward()
                optimizer.step()
    return {"above": torch.tensor(found["peak"] - before), "shard": torch.tensor(head.weight.nbytes)}


def test_peak_memory_of_a_rank_is_its_centers_and_their_momentum(tmp_path):
    """A dense gradient, or initializing the centers of all ranks, would each take one or two shards more."""
    for part in on_new_ranks(peak_of_a_shard, tmp_path, 400_000, 128):
        assert 1.9 * part["shard"] < part["above"] < 2.9 * part["shard"], part["above"] / part["shard"]


def test_resumed_sampled_run_is_bit_identical(tiny_run, tmp_path):
    recipe = from_flat(tiny_run | {"output": str(tmp_path / "run"), "sample_rate": 0.4, "gradient_acc": 2, "batch_size": 4})
    uninterrupted, broken = build_state(recipe), build_state(recipe)

    def run_steps(state, first: int, last: int) -> None:
        for step in range(first, last):
            take_step(state, [state.setup.source[2 * step], state.setup.source[2 * step + 1]], step)

    start = uninterrupted.head.weight.detach().clone()
    run_steps(uninterrupted, 0, 4)
    run_steps(broken, 0, 2)
    save(broken, 2)
    resumed = build_state(recipe)
    assert resume(resumed) == 2
    run_steps(resumed, 2, 4)
    for one, other in ((uninterrupted.head, resumed.head), (uninterrupted.setup.student, resumed.setup.student)):
        for name, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name
    momentum, again = (t.head_optimizer.state[t.head.weight]["momentum_buffer"] for t in (uninterrupted, resumed))
    assert torch.equal(momentum, again)
    assert isinstance(uninterrupted.head.weight, nn.Parameter) and not torch.equal(uninterrupted.head.weight, start)
