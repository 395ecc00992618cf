import pytest
import torch

from aird_plugin.config.recipe import from_flat
from aird_plugin.training.loop import take_step
from aird_plugin.training.nonfinite import NonFiniteGuard
from aird_plugin.training.optim import ScheduleConfig, build_optimizer
from aird_plugin.training.state import build_state

CPU = torch.device("cpu")


def terms(loss: float, **more: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in ({"loss": loss} | more).items()}


def test_impatient_guard_raises_at_once():
    guard = NonFiniteGuard(CPU, patient=False)
    guard.update(0, terms(1.0, iid=0.5), torch.tensor(2.0))
    with pytest.raises(FloatingPointError, match=r"step 1: the loss is not finite: loss=nan, iid=0\.5"):
        guard.update(1, terms(float("nan"), iid=0.5), torch.tensor(2.0))


def test_patient_guard_names_the_first_nonfinite_step_later():
    guard = NonFiniteGuard(CPU, patient=True)
    for step, loss in enumerate((1.0, float("inf"), 2.0, float("nan"))):
        guard.update(step, terms(loss, iid=loss / 2), torch.tensor(1.0))
    with pytest.raises(FloatingPointError, match=r"step 1: .*loss=inf, iid=inf"):
        guard.raise_if_nonfinite()


def test_gradient_is_checked_unless_a_grad_scaler_checks_it():
    guard = NonFiniteGuard(CPU, patient=True)
    guard.update(0, terms(1.0), None)
    guard.raise_if_nonfinite()
    guard.update(7, terms(1.0), torch.tensor(float("nan")))
    with pytest.raises(FloatingPointError, match=r"step 7: the student's gradient is not finite \(nan\)"):
        guard.raise_if_nonfinite()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_attached_optimizers_skip_nonfinite_steps_and_resume(optimizer):
    """Also where the very first step is nonfinite."""

    def run(gradients: list[float]) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.ones(3))
        moving, guard = build_optimizer(ScheduleConfig(optimizer=optimizer, lr=0.1), [weight]), NonFiniteGuard(CPU, patient=True)
        for step, gradient in enumerate(gradients):
            weight.grad = torch.full((3,), gradient)
            guard.found_inf.zero_()
            guard.update(step, terms(1.0), weight.grad.norm())
            guard.attach([moving])
            moving.step()
        return weight.detach()

    assert torch.equal(run([float("nan")]), torch.ones(3))
    assert torch.equal(run([float("nan"), 1.0, 2.0]), run([1.0, 2.0]))
    assert torch.equal(run([1.0, float("inf"), 2.0]), run([1.0, 2.0]))


def test_weights_stay_after_a_nonfinite_step_until_it_is_raised(tiny_run, tmp_path):
    state = build_state(from_flat(tiny_run | {"output": str(tmp_path / "run")}))
    state.guard = NonFiniteGuard(CPU, patient=True)
    take_step(state, [state.setup.source[0]], 0)
    before = [value.clone() for value in (*state.setup.student.parameters(), *state.head.parameters())]
    broken = state.setup.source[1]
    broken.teacher_BD[0] = float("nan")
    take_step(state, [broken], 1)
    take_step(state, [state.setup.source[2]], 2)
    for one, other in zip(before, (*state.setup.student.parameters(), *state.head.parameters()), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(FloatingPointError, match="step 1: .*iid=nan"):
        state.guard.raise_if_nonfinite()


def test_a_loss_scaler_skips_the_nonfinite_step_alone(tiny_run, tmp_path):
    """As with fp16 on CUDA: the error does not claim that nothing was updated since."""
    state = build_state(from_flat(tiny_run | {"output": str(tmp_path / "run")}))
    state.guard, state.scaler = NonFiniteGuard(CPU, patient=True), torch.amp.GradScaler("cpu")
    take_step(state, [state.setup.source[0]], 0)

    def weights() -> list[torch.Tensor]:
        return [value.detach().clone() for value in (*state.setup.student.parameters(), *state.head.parameters())]

    before, broken = weights(), state.setup.source[1]
    broken.teacher_BD[0] = float("nan")
    take_step(state, [broken], 1)
    assert all(map(torch.equal, weights(), before))
    take_step(state, [state.setup.source[2]], 2)
    assert not all(map(torch.equal, weights(), before))
    with pytest.raises(FloatingPointError, match="step 1: .*iid=nan.* This step updated no weight; lower lr"):
        state.guard.raise_if_nonfinite()


@pytest.mark.parametrize("scaled", [False, True])
def test_the_clipped_gradient_is_the_unscaled_one(tiny_run, tmp_path, scaled):
    """A hundredth of the free gradient, also where a loss scaler multiplied it by 65,536."""

    def gradients(clip: float) -> torch.Tensor:
        state = build_state(from_flat(tiny_run | {"output": str(tmp_path / "run"), "clip": clip}))
        state.scaler = torch.amp.GradScaler("cpu", enabled=scaled)
        take_step(state, [state.setup.source[0]], 0)
        return torch.cat([p.grad.flatten() for p in state.setup.student.parameters() if p.requires_grad])

    free = gradients(0.0)
    clip = 0.01 * free.norm().item()
    torch.testing.assert_close(gradients(clip), 0.01 * free, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(gradients(1.01 * free.norm().item()), free, rtol=1e-3, atol=1e-6)
