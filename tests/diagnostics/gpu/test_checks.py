"""Every check with the CPU as device, where nothing may differ; and that a difference is found."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import EventList, FunctionEvent

from aird_plugin.diagnostics.gpu import images, inference, runs, steps, synthetic
from aird_plugin.diagnostics.gpu.arcface_torch import check_arcface_torch
from aird_plugin.diagnostics.gpu.check import FAILED, NOTE, OK
from aird_plugin.diagnostics.gpu.speed import check_speed, kernel_seconds
from aird_plugin.utils import devices
from tests.skips import needs

STANDIN = str(Path(__file__).parents[2] / "bridge" / "standin")
# From the bank; with the maps of a teacher in the step; a margin from norms; an .onnx student; a prior.
FROM_BANK = ("faces15k_small_lr16_align",)
OTHERS = ("faces15k_small_lr16_fitnet", "faces15k_small_lr16_adaface", "zoo_lr16", "faces15k_gdrd_prior")


def statuses(rows) -> list[str]:
    return [row.status for row in rows]


@pytest.mark.parametrize("check", [images.check_resize, images.check_degradations, runs.check_bank, runs.check_resume])
def test_the_cpu_equals_itself(check, context):
    rows = list(check(context))
    assert rows and set(statuses(rows)) == {OK}, rows


@pytest.mark.slow
def test_evaluation_and_export_equal_the_cpus(context):
    needs("onnxruntime")
    rows = [*inference.check_evaluation(context), *inference.check_export(context)]
    assert len(rows) == len(inference.SETTINGS) + 1 and set(statuses(rows)) == {OK}, rows


def test_a_resize_that_differs_is_found(context, monkeypatch):
    monkeypatch.setattr(images, "low_faces", lambda faces, px, grow: np.roll(drawn_low(faces, px, grow), 1, axis=1))
    from aird_plugin.data.lowres import low_faces as drawn_low

    assert statuses(images.check_resize(context)) == [FAILED]


def test_a_bank_that_differs_is_found(context, monkeypatch):
    loaded = runs.loader

    def other(source, numbers, *rest):
        return loaded(source, [number + source.on_device for number in numbers], *rest)

    monkeypatch.setattr(runs, "loader", other)
    assert statuses(runs.check_bank(context)) == [FAILED]


def files(*names: str) -> list[Path]:
    return [path for path in synthetic.recipe_files() if path.stem in names]


@pytest.mark.parametrize("names", [FROM_BANK, pytest.param(OTHERS, marks=pytest.mark.slow)])
def test_steps_are_compared_and_half_precision_is_close(names, context, monkeypatch):
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)
    rows = list(steps.check_steps(context, files(*names)))
    assert statuses(rows) == [OK, OK, NOTE], rows
    assert rows[0].figure.startswith("loss 0 ") and "gradient 0 " in rows[0].figure and "loss 0 " not in rows[1].figure


def test_a_wrong_gradient_is_found_and_named(context, monkeypatch):
    read, calls = steps.gradients, []

    def doubled_on_the_second_step(part, scale=1.0):
        calls.append(part)
        return {name: gradient * (1.1 if len(calls) > 3 else 1) for name, gradient in read(part, scale).items()}

    monkeypatch.setattr(steps, "gradients", doubled_on_the_second_step)
    rows = list(steps.check_steps(context, files("faces15k_small_lr16_cls")))
    failed = [row.what for row in rows if row.status == FAILED]
    assert failed == ["step of faces15k_small_lr16_cls, float32"]


def test_a_value_that_is_not_finite_is_no_small_difference(context, monkeypatch):
    """`max` dropped a NaN that was not the first: of a head's gradient, or of a compiled network's second loss."""
    one, none = torch.ones(2), torch.full((2,), float("nan"))
    expected = steps.Step({"loss": 1.0, "iid": 2.0}, {"student": {"w": one}, "head": {"w": one}})
    found = steps.Step({"loss": 1.0, "iid": float("nan")}, {"student": {"w": one}, "head": {"w": none}})
    assert all(map(math.isnan, steps.difference_of(expected, found)))
    losses = iter(([2.0, 2.0], [2.0, float("nan")]))
    monkeypatch.setattr(runs, "built", lambda recipe: None)
    monkeypatch.setattr(runs, "take_steps", lambda *arguments: next(losses))
    assert statuses(runs.check_compile(context)) == [FAILED]


def test_a_kernel_counts_once():
    """An operation on the CPU has the time of its kernels too, so that the share of the time in kernels was doubled."""
    operation = FunctionEvent(0, "aten::mm", 0, 0, 9, stack=[], use_device="cuda")
    operation.append_kernel("gemm", 0, 500_000)
    options = {"stack": [], "use_device": "cuda", "device_type": DeviceType.CUDA}
    kernel = FunctionEvent(1, "gemm", 0, 0, 500_000, **options)
    note = FunctionEvent(2, "ProfilerStep", 0, 0, 900_000, is_user_annotation=True, **options)
    events = EventList([operation, kernel, note], use_device="cuda")
    events._build_tree()
    assert kernel_seconds(events.key_averages()) == 0.5


def test_a_recipe_that_fails_is_named_and_the_others_run(context, monkeypatch):
    real = steps.reduced_recipe

    def reduced_recipe(path, *rest):
        if path.stem.endswith("_cls"):
            raise ValueError("broken")
        return real(path, *rest)

    monkeypatch.setattr(steps, "reduced_recipe", reduced_recipe)
    rows = list(steps.check_steps(context, files("faces15k_small_lr16_cls", "quickstart_scratch")))
    assert [(row.what, row.figure) for row in rows if row.status == FAILED] == [("step of faces15k_small_lr16_cls", "broken")]
    assert any("1 recipes, float32" in row.what and row.status == OK for row in rows)


def test_every_recipe_is_reduced_to_the_synthetic_images(context):
    needs("onnxruntime")
    needs("diffusers")
    for path in synthetic.recipe_files():
        recipe, full = synthetic.reduced_recipe(path, context), synthetic.load(path)
        assert recipe.student.network == full.student.network and recipe.terms.keys() == full.terms.keys()
        assert recipe.data.degradation == full.data.degradation and recipe.bank.online == full.bank.online


@pytest.mark.slow
def test_speed_has_a_row_for_each_way_of_training(context):
    rows = list(check_speed(context))
    assert statuses(rows)[:3] == [NOTE] * 3 and rows[3].bound == "at most 1.2"
    assert all(float(row.figure.split()[0].replace(",", "")) > 0 for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("check", [runs.check_ranks, runs.check_compile])
def test_ranks_and_compiled_networks_equal_one_process(check, context):
    rows = list(check(context))
    assert rows and set(statuses(rows)) == {OK}, rows


@pytest.mark.slow
def test_twenty_steps_inside_a_checkout(context):
    rows = list(check_arcface_torch(replace(context, checkout=STANDIN)))
    assert statuses(rows) == [OK, NOTE], rows
