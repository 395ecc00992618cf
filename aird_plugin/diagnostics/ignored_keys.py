"""Recipe keys that have no effect on this run: of another host, of another device, or beyond the run's end."""

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from aird_plugin.config.bridge_section import BridgeConfig
from aird_plugin.config.recipe import Recipe
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.training.objective import used_terms
from aird_plugin.training.optim import ScheduleConfig
from aird_plugin.training.tracker import TrackerConfig
from aird_plugin.utils import distributed
from aird_plugin.utils.devices import autocast_dtype


def print_ignored_keys(recipe: Recipe, device_type: str, arcface_torch: bool = False) -> None:
    """Print the warnings on stderr, on rank 0 of a running process group."""
    if distributed.rank() == 0:
        for diagnostic in ignored_keys(recipe, device_type, arcface_torch):
            print(diagnostic, file=sys.stderr)


def ignored_keys(recipe: Recipe, device_type: str, arcface_torch: bool = False) -> Iterator[Diagnostic]:
    """A warning for each key without effect on this device ("cpu" or "cuda") and host; a note where this CPU is the reason."""
    run = recipe.run
    yield from of_the_embedded_loop(recipe) if arcface_torch else of_the_bridge(recipe.bridge)
    if run.fp16 and device_type == "cpu":
        yield Diagnostic(
            "warning", "fp16=True has no effect on a CPU", "the run is in float32; bf16=True works on CPUs with AVX-512 too"
        )
    if run.bf16 and autocast_dtype(device_type, bf16=True, fp16=False) is None:
        remedy = "the run is in float32, which is 6 to 9 times as fast here"
        yield Diagnostic("note", "bf16=True has no effect on this CPU, which has no bf16 convolutions", remedy)
    for key in ("keep", "include_bn1d") if run.facebn is None else ():
        if (value := getattr(run, key)) != default_of(run, key):
            yield Diagnostic("warning", f"{key}={value} has no effect without facebn", "set a mode: facebn='stateless'")
    yield from of_the_schedule(recipe.schedule)
    for name, spec in used_terms(recipe.terms).items():
        yield from of_a_term(name, spec, recipe.schedule.num_epoch)
    yield from of_the_tracker(recipe.tracker, arcface_torch)


def of_the_tracker(tracker: TrackerConfig, arcface_torch: bool) -> Iterator[Diagnostic]:
    """Keys of Weights & Biases without it, and the one that only arcface_torch's loop reads."""
    names = [field.name for field in dataclasses.fields(tracker)]
    changed = [name for name in names if getattr(tracker, name) != default_of(tracker, name)]
    if changed and not tracker.using_wandb:
        verb = "have" if len(changed) > 1 else "has"
        yield Diagnostic("warning", f"{', '.join(changed)} {verb} no effect without wandb", "set using_wandb=True")
    elif tracker.wandb_log_all and not arcface_torch:
        remedy = "its lines are means over the ranks, and rank 0 logs them once"
        yield Diagnostic("warning", "wandb_log_all=True has no effect in the embedded loop", remedy)


def of_the_bridge(bridge: BridgeConfig) -> Iterator[Diagnostic]:
    """The keys that only a run inside arcface_torch reads, where they differ from their defaults."""
    changed = [
        f"{field.name}={getattr(bridge, field.name)!r}"
        for field in dataclasses.fields(bridge)
        if getattr(bridge, field.name) != default_of(bridge, field.name)
    ]
    if changed:
        verb = "have" if len(changed) > 1 else "has"
        remedy = "only a run inside arcface_torch reads such keys; add --arcface-torch DIR"
        yield Diagnostic("warning", f"{', '.join(changed)} {verb} no effect here", remedy)


def of_the_embedded_loop(recipe: Recipe) -> Iterator[Diagnostic]:
    """The keys that a run inside arcface_torch does not read, where they differ from their defaults."""
    run, bank = recipe.run, recipe.bank
    if run.rank_timeout != default_of(run, "rank_timeout"):
        what = f"rank_timeout={run.rank_timeout:g} has no effect inside arcface_torch"
        yield Diagnostic("warning", what, "its loop waits for ranks as long as PyTorch's default; train without --arcface-torch")
    if recipe.bridge.reader != "upstream":
        return
    if run.save_steps:
        what = f"save_steps={run.save_steps} has no effect with reader='upstream'"
        yield Diagnostic("warning", what, "it resumes at whole epochs, and a checkpoint is written after each; set reader='bank'")
    for section, key in ((bank, "views"), (recipe.data, "mixup")):
        if (value := getattr(section, key)) != default_of(section, key):
            what = f"{key}={value} has no effect on the batches of reader='upstream'"
            yield Diagnostic(
                "warning", what, "arcface_torch's own reader mirrors images at random and no more; set reader='bank'"
            )


def of_the_schedule(schedule: ScheduleConfig) -> Iterator[Diagnostic]:
    """Milestones that the run never reaches, keys of another schedule or optimizer, and a warm-up that fills the run."""
    epochs = schedule.num_epoch
    late = [milestone for milestone in schedule.milestones if milestone >= epochs]
    if schedule.schedule == "step" and late:
        yield Diagnostic(
            "warning",
            f"milestones {', '.join(map(str, late))} are never reached in num_epoch={epochs}",
            "the learning rate does not fall there; give milestones below num_epoch, or schedule='cosine'",
        )
    for key in ("milestones", "decay") if schedule.schedule != "step" else ():
        if getattr(schedule, key) != default_of(schedule, key):
            what = f"{key}={getattr(schedule, key)!r} has no effect with schedule={schedule.schedule!r}"
            yield Diagnostic("warning", what, "set schedule='step'")
    if schedule.optimizer != "sgd" and schedule.momentum != default_of(schedule, "momentum"):
        yield Diagnostic("warning", f"momentum={schedule.momentum!r} has no effect with optimizer={schedule.optimizer!r}")
    if schedule.warmup_epoch >= epochs:
        yield Diagnostic(
            "warning",
            f"warmup_epoch={schedule.warmup_epoch:g} covers all of num_epoch={epochs}",
            f"the learning rate only rises, and reaches lr={schedule.lr:g} at the end or never; give fewer epochs of warm-up",
        )


def of_a_term(name: str, spec: Any, epochs: int) -> Iterator[Diagnostic]:
    """Keys of another variant of the term, and a warm-up that fills the run."""
    # A spec of one's own need not derive from TermConfig.
    for key, reason in getattr(spec, "unused", {}).items():
        if (value := getattr(spec, key)) != default_of(spec, key):
            yield Diagnostic("warning", f"{name}_{key}={value!r} has no effect with {name}_{reason}")
    if spec.warmup_epochs >= epochs:
        yield Diagnostic(
            "warning",
            f"{name}_warmup_epochs={spec.warmup_epochs:g} covers all of num_epoch={epochs}",
            f"the weight only rises, and never reaches {name}_weight={spec.weight:g}; give fewer epochs of warm-up",
        )


def default_of(section: object, key: str) -> object:
    """The default of a key of a section of the recipe."""
    field = next(field for field in dataclasses.fields(section) if field.name == key)
    return field.default_factory() if field.default is dataclasses.MISSING else field.default
