import pytest
import torch

from aird_plugin.assemble import assemble
from aird_plugin.finite import Watch
from aird_plugin.loop import take_step
from aird_plugin.recipe import from_flat
from aird_plugin.schedule import ScheduleConfig, build_optimizer

CPU = torch.device("cpu")


def terms(loss: float, **more: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in ({"loss": loss} | more).items()}


def test_an_impatient_watch_speaks_at_once():
    watch = Watch(CPU, patient=False)
    watch.see(0, terms(1.0, iid=0.5), torch.tensor(2.0))
    with pytest.raises(FloatingPointError, match=r"step 1: the loss is not finite: loss=nan, iid=0\.5"):
        watch.see(1, terms(float("nan"), iid=0.5), torch.tensor(2.0))


def test_a_patient_watch_names_the_first_broken_step_later():
    watch = Watch(CPU, patient=True)
    for step, loss in enumerate((1.0, float("inf"), 2.0, float("nan"))):
        watch.see(step, terms(loss, iid=loss / 2), torch.tensor(1.0))
    with pytest.raises(FloatingPointError, match=r"step 1: .*loss=inf, iid=inf"):
        watch.check()


def test_a_gradient_is_watched_unless_a_scaler_judges_it():
    watch = Watch(CPU, patient=True)
    watch.see(0, terms(1.0), None)
    watch.check()
    watch.see(7, terms(1.0), torch.tensor(float("nan")))
    with pytest.raises(FloatingPointError, match=r"step 7: the student's gradient is not finite \(nan\)"):
        watch.check()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_what_is_held_does_not_move_and_goes_on_as_if_nothing_had_been(optimizer):
    """Also where the first step of all is the broken one."""

    def run(gradients: list[float]) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.ones(3))
        moving, watch = build_optimizer(ScheduleConfig(optimizer=optimizer, lr=0.1), [weight]), Watch(CPU, patient=True)
        for step, gradient in enumerate(gradients):
            weight.grad = torch.full((3,), gradient)
            watch.found_inf.zero_()
            watch.see(step, terms(1.0), weight.grad.norm())
            watch.hold([moving])
            moving.step()
        return weight.detach()

    assert torch.equal(run([float("nan")]), torch.ones(3))
    assert torch.equal(run([float("nan"), 1.0, 2.0]), run([1.0, 2.0]))
    assert torch.equal(run([1.0, float("inf"), 2.0]), run([1.0, 2.0]))


def test_nothing_moves_after_a_broken_step_until_it_is_told(tiny_run, tmp_path):
    training = assemble(from_flat(tiny_run | {"output": str(tmp_path / "run")}))
    training.watch = Watch(CPU, patient=True)
    take_step(training, [training.source[0]], 0)
    before = [value.clone() for value in (*training.student.parameters(), *training.head.parameters())]
    broken = training.source[1]
    broken.teacher_BD[0] = float("nan")
    take_step(training, [broken], 1)
    take_step(training, [training.source[2]], 2)
    for one, other in zip(before, (*training.student.parameters(), *training.head.parameters()), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(FloatingPointError, match="step 1: .*iid=nan"):
        training.watch.check()
