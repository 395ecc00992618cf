"""Terms on intermediate maps: two ranks equal one, in value and in every gradient, with BatchNorms frozen."""

import torch
from torch import nn

from aird_plugin.losses.askd import ASKD
from aird_plugin.losses.at import AT
from aird_plugin.losses.fitnet import FitNet
from aird_plugin.losses.fskd import FSKD
from aird_plugin.losses.map_regression import MapRegression
from aird_plugin.losses.sharding import SINGLE_SHARD
from aird_plugin.models.feature_maps import recorded_maps
from aird_plugin.training.objective import LossDims, LossInputs, Objective
from aird_plugin.utils import distributed
from tests.exact import assert_equal_up_to_order, float64
from tests.rank_step import FACES, in_ddp, losses_and_gradients_of, own_part
from tests.ranks import on_ranks


class Student(nn.Module):
    """Two stages and no BatchNorm."""

    stage_names = ("stages.0", "stages.1")

    def __init__(self):
        super().__init__()
        self.stages = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(nn.Tanh(), nn.Conv2d(4, 5, 3, 2)))

    def forward(self, x_B3HW):
        return self.stages(x_B3HW).mean((2, 3))


def values_and_gradients() -> dict[str, torch.Tensor]:
    """One step on this rank's images, channels last as in training; gradients as the optimizer gets them."""
    torch.manual_seed(1)
    student = Student().to(memory_format=torch.channels_last)
    terms = {"at": AT(), "fitnet": FitNet(), "askd": ASKD(), "fskd": FSKD(), "maps": MapRegression(skip=1)}
    objective = Objective(terms, LossDims(5, student_channels=(4, 5), teacher_channels=(6, 5))).eval()
    images, *teacher_maps = (torch.randn(FACES, *shape)[own_part()] for shape in ((3, 7, 7), (6, 7, 7), (5, 3, 3)))
    network = in_ddp(student)
    with recorded_maps(student) as maps:
        student_BD = network(images.contiguous(memory_format=torch.channels_last))
    shards = distributed.ClassShards() if distributed.world_size() > 1 else SINGLE_SHARD
    inputs = LossInputs(
        student_BD, torch.arange(len(images)), student_maps=tuple(maps), teacher_maps=tuple(teacher_maps), shards=shards
    )
    # A loss on the embedding keeps every parameter in DDP's graph, as the identity loss does.
    out = objective(inputs, identity=student_BD.square().mean())
    out["loss"].backward()
    return losses_and_gradients_of(student, objective, out)


class StudentWithEmbedding(Student):
    """A layer after the maps, as every student has."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(5, 4)

    def forward(self, x_B3HW):
        return self.fc(super().forward(x_B3HW))


def second_step_without_labels() -> dict[str, torch.Tensor]:
    """Values and gradients of the second of two steps of a run without labels, whose only term compares maps."""
    torch.manual_seed(1)
    student, objective = StudentWithEmbedding(), Objective({"at": AT()}, LossDims(4))
    images, *teacher_maps = (torch.randn(FACES, *shape)[own_part()] for shape in ((3, 7, 7), (6, 7, 7), (5, 3, 3)))
    network, out = in_ddp(student), {}
    for _ in range(2):
        student.zero_grad()
        with recorded_maps(student) as maps:
            student_BD = network(images)
        no_label_B = torch.full((len(images),), -1)
        inputs = LossInputs(student_BD, no_label_B, student_maps=tuple(maps), teacher_maps=tuple(teacher_maps))
        out = objective(inputs, identity=None)
        out["loss"].backward()
    return losses_and_gradients_of(student, objective, out)


def test_two_ranks_equal_one_without_a_loss_on_the_embedding(tmp_path):
    """DDP waits for a gradient of every layer, also of those after the maps."""
    with float64():
        whole = second_step_without_labels()
    for part in on_ranks(second_step_without_labels, tmp_path):
        assert_equal_up_to_order(part, whole)
    assert whole["student/stages.0.weight"].abs().sum() > 0 and not whole["student/fc.weight"].any()


def test_two_ranks_equal_one(tmp_path):
    with float64():
        whole = values_and_gradients()
    for part in on_ranks(values_and_gradients, tmp_path):
        assert_equal_up_to_order(part, whole)
    assert all(value.abs().sum() > 0 for value in whole.values())
    assert {"student/stages.0.weight", "objective/terms.fskd.adapters.pairs.1.0.weight"} < whole.keys()
