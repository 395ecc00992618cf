"""One step of every recipe: losses and gradients on the device against the CPU's, and in half precision against float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.batch import Batch
from aird_plugin.diagnostics.gpu.check import FAILED, NOTE, OK, SKIPPED, CheckContext, Row, Skipped, largest, one_line
from aird_plugin.diagnostics.gpu.synthetic import built, recipe_files, reduced_recipe
from aird_plugin.training.loop import compute_loss
from aird_plugin.utils.progress import progress

# Largest relative differences of any loss, and of the gradient (L2 norm of the difference, per part). Chosen by judgement, not
# derived. float32: sums of up to 1e5 products in another order, 1e-7 each, amplified by BatchNorm over eight images and a margin
# scale of 64. Half precision: activations rounded to 8 (bf16) or 11 (fp16) significant bits at every layer.
BOUNDS = {"float32": (1e-4, 2e-3), "bf16": (5e-2, 0.5), "fp16": (1e-2, 0.1)}
# A fixed loss scale: a GradScaler begins with one that overflows, and skips those steps.
FP16_SCALE = 1024.0


class Step(NamedTuple):
    """Losses by name, and gradients by part and parameter, on the CPU in float64."""

    losses: dict[str, float]
    gradients: dict[str, dict[str, torch.Tensor]]


class Difference(NamedTuple):
    """The largest relative difference of two steps' losses, and of their gradients' parts."""

    loss: float
    gradient: float


def check_steps(context: CheckContext, files: list[Path] | None = None) -> Iterator[Row]:
    """A row a precision with the largest differences, and a row for every recipe that exceeds a bound or fails."""
    found: dict[str, dict[str, Difference]] = {name: {} for name in BOUNDS}
    paths = files or recipe_files()
    for path in progress(paths, len(paths), "steps of every recipe", "recipes"):
        try:
            if context.late:
                raise Skipped("no time left (--minutes)")
            for precision, difference in differences(path, context):
                found[precision][path.stem] = difference
        except Skipped as reason:
            yield Row(f"step of {path.stem}", SKIPPED, str(reason))
        # Whatever a recipe raises is its result.
        except Exception as error:
            yield Row(f"step of {path.stem}", FAILED, one_line(error))
    for precision, by_recipe in found.items():
        yield from summary(precision, by_recipe)


def differences(path: Path, context: CheckContext) -> Iterator[tuple[str, Difference]]:
    """A recipe's differences: the device's float32 against the CPU's, and its bf16 and fp16 against its own float32."""
    on_cpu, on_device = "device=cpu", f"device={context.device.type}"
    with float32_products():
        trains_prior = reduced_recipe(path, context).prior.prior_side
        batch = None if trains_prior else first_batch(reduced_recipe(path, context, on_cpu))
        expected = step_of(reduced_recipe(path, context, on_cpu), batch)
        single = step_of(reduced_recipe(path, context, on_device), batch)
        yield "float32", difference_of(expected, single)
        yield "bf16", difference_of(single, step_of(reduced_recipe(path, context, on_device, "bf16=True"), batch))
        if context.device.type == "cuda" and batch is not None:
            yield "fp16", difference_of(single, step_of(reduced_recipe(path, context, on_device, "fp16=True"), batch))


def first_batch(recipe: Recipe) -> Batch:
    """The recipe's first batch, downsampled and resized on the CPU, so that both devices begin with equal images."""
    return built(recipe).setup.source[0]


def step_of(recipe: Recipe, batch: Batch | None) -> Step:
    """Losses and gradients of the first step from the seed's weights; of a prior where the recipe trains one."""
    if batch is None:
        return prior_step(recipe)
    state = built(recipe)
    out = compute_loss(state, state.setup.to_device(batch.to(state.setup.device)), 0, 1)
    scale = FP16_SCALE if recipe.run.fp16 else 1.0
    (out["loss"] * scale).backward()
    parts = {"student": state.setup.student, "terms": state.setup.objective, "head": state.head}
    return Step({name: value.item() for name, value in out.items()}, {k: gradients(part, scale) for k, part in parts.items()})


def prior_step(recipe: Recipe) -> Step:
    """The step of a recipe that trains a diffusion prior."""
    from aird_plugin.prior.state import build_state as build_prior_state
    from aird_plugin.prior.training import denoising_loss

    # Such a recipe has no fp16, and its timesteps and noise are drawn on the CPU.
    try:
        state = build_prior_state(replace(recipe, prior=replace(recipe.prior, prior_widths=(8, 16, 16, 16))))
    except ImportError as error:
        raise Skipped(str(error).splitlines()[0]) from error
    state.network.train()
    loss = denoising_loss(state, state.source[0].to(state.device), 0)
    loss.backward()
    return Step({"loss": loss.item()}, {"prior": gradients(state.unet)})


def gradients(part: torch.nn.Module, scale: float = 1.0) -> dict[str, torch.Tensor]:
    """The gradient of every parameter that has one."""
    return {n: p.grad.detach().double().cpu() / scale for n, p in part.named_parameters() if p.grad is not None}


def difference_of(expected: Step, step: Step) -> Difference:
    """The largest relative differences; infinite where a loss or a gradient is missing in one of them."""
    if expected.losses.keys() != step.losses.keys():
        return Difference(float("inf"), float("inf"))
    losses = [abs(step.losses[n] - value) / max(abs(value), 1e-3) for n, value in expected.losses.items()]
    parts = [relative(expected.gradients[part], step.gradients[part]) for part in expected.gradients]
    return Difference(largest(losses), largest(parts))


def relative(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> float:
    """The norm of the difference over the norm of the expected gradient, 0 for parts without parameters."""
    if expected.keys() != found.keys():
        return float("inf")
    norm = sum(float(g.square().sum()) for g in expected.values())
    difference = sum(float((found[name] - g).square().sum()) for name, g in expected.items())
    return (difference / norm) ** 0.5 if norm else difference**0.5


def summary(precision: str, by_recipe: dict[str, Difference]) -> Iterator[Row]:
    """The recipes beyond a bound, a row each, and the largest differences of the others."""
    loss_bound, gradient_bound = BOUNDS[precision]
    bound = f"at most {loss_bound:g}, {gradient_bound:g}"
    within = {}
    for name, (loss, gradient) in by_recipe.items():
        if loss <= loss_bound and gradient <= gradient_bound:
            within[name] = Difference(loss, gradient)
        else:
            yield Row(f"step of {name}, {precision}", FAILED, f"loss {loss:.1g}, gradient {gradient:.1g}", bound)
    if not within:
        yield Row(f"step, {precision}", NOTE, "compared for no recipe", bound)
        return
    worst = max(within, key=lambda name: within[name].loss)
    steepest = max(within, key=lambda name: within[name].gradient)
    figure = f"loss {within[worst].loss:.1g} ({worst}), gradient {within[steepest].gradient:.1g} ({steepest})"
    yield Row(f"step of {len(within)} recipes, {precision}, largest relative difference", OK, figure, bound)


@contextmanager
def float32_products() -> Iterator[None]:
    """Products of float32 in float32: TF32 off, as it rounds their inputs to 11 bits."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
