"""Train a recipe in the loop of an unmodified arcface_torch checkout."""

import importlib.util
import logging
import warnings
from argparse import Namespace
from contextlib import ExitStack, contextmanager
from pathlib import Path

from aird_plugin.bridge import checkout, hooks
from aird_plugin.bridge.compat import Environment
from aird_plugin.bridge.upstream_run import UpstreamRun
from aird_plugin.bridge.verification import final_verification
from aird_plugin.config.recipe import Recipe
from aird_plugin.data.mixture import is_mixture
from aird_plugin.data.records import open_records
from aird_plugin.diagnostics.ignored_keys import print_ignored_keys
from aird_plugin.training.build import build_setup
from aird_plugin.training.deterministic import deterministic
from aird_plugin.training.means import write_training_means
from aird_plugin.training.resume_from import is_begun
from aird_plugin.training.run_folder import write_or_verify_run
from aird_plugin.training.signals import stop_signals
from aird_plugin.utils import distributed
from aird_plugin.utils.devices import pick_device

NEEDS = ("sklearn", "scipy")


def train(recipe: Recipe, directory: str) -> Path:
    """Train the recipe in arcface_torch's own loop, from its newest checkpoint; returns the run folder.

    directory: an arcface_torch checkout, or one of the whole InsightFace repository. Its functions and classes are replaced in
    memory for the duration of the run; no file of the checkout changes. Raises what the embedded loop raises, ValueError for a
    checkout that lacks one of our hooks, and ImportError naming the extra if upstream's own imports are missing.
    """
    refuse_sizes(recipe)
    refuse_schedule(recipe)
    refuse_resume_from(recipe)
    refuse_diagnostics(recipe)
    refuse_skipping(recipe)
    refuse_unlabelled(recipe)
    folder = checkout.find(directory, hooks.ENTRY)
    hooks.check_hooks(folder)
    check_imports(folder)
    with ExitStack() as stack:
        stack.enter_context(restored_log_handlers())
        stack.enter_context(upstream_warnings_ignored())
        stack.enter_context(deterministic(recipe.run.deterministic))
        stack.callback(distributed.stop)
        env = Environment(cpu=pick_device(recipe.run.device).type == "cpu", keep_mxnet=recipe.bridge.keep_mxnet)
        entry = hooks.open_upstream(stack, folder, env)
        distributed.open_host_group()
        print_ignored_keys(recipe, pick_device(recipe.run.device).type, arcface_torch=True)
        setup = build_setup(recipe)
        setup.metadata["host"] = {"arcface_torch": checkout.commit(folder)}
        write_or_verify_run(setup.recipe, setup.metadata)
        run = UpstreamRun(setup, stack.enter_context(stop_signals()), stack)
        hooks.install(stack, run)
        entry.main(Namespace(config=recipe.run.output))
        write_training_means(setup)
        final_verification(run, setup.student)
        return Path(recipe.run.output)


def check_imports(folder: Path) -> None:
    """Raise ImportError if the checkout's evaluation imports packages that are not installed."""
    text = folder.joinpath("eval", "verification.py").read_text(errors="replace")
    imported = [name for name in NEEDS if f"import {name}" in text or f"from {name}" in text]
    missing = [name for name in imported if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"arcface_torch imports {' and '.join(missing)}: pip install 'aird_plugin[arcface]'")


def refuse_sizes(recipe: Recipe) -> None:
    """Raise ValueError for multi-size keys that only the embedded loop supports: upstream's passes images and labels alone."""
    sizes, degradation = recipe.sizes, recipe.data.degradation
    used = {"also_px": sizes.also_px, "margin_small": sizes.margin_small is not None}
    with_bank = {
        "px_range": sizes.px_range,
        "faces_per_person": sizes.faces_per_person > 1,
        "degradation": is_mixture(degradation),
    }
    if recipe.bridge.reader == "upstream":
        used |= with_bank
    for key, is_used in used.items():
        if is_used:
            where = "with reader='upstream'" if key in with_bank else ""
            value = degradation if key == "degradation" else getattr(sizes, key)
            problem = f"{key}={value!r} does not run inside arcface_torch {where}".rstrip()
            raise ValueError(f"{problem}; train without --arcface-torch" + (" or with reader='bank'" if where else ""))


def refuse_skipping(recipe: Recipe) -> None:
    """Raise ValueError for skip_bad with upstream's own reader, which reads every image."""
    if recipe.bridge.reader == "upstream" and recipe.bank.skip_bad:
        raise ValueError(f"skip_bad={recipe.bank.skip_bad!r} needs reader='bank': upstream's own reader leaves nothing out")


def refuse_schedule(recipe: Recipe) -> None:
    """Raise ValueError for keys of the schedule that upstream's loop does not have: it has one learning rate, and writes its own
    weights at the path of the averaged ones."""
    for key, unused in (("weight_average", 0), ("first_layer_lr", 1)):
        value = getattr(recipe.schedule, key)
        if value != unused:
            raise ValueError(f"{key}={value!r} does not run inside arcface_torch; train without --arcface-torch")


def refuse_resume_from(recipe: Recipe) -> None:
    """Raise ValueError for a start from another run, which the embedded loop loads; from its own checkpoint a run goes on."""
    if recipe.run.resume_from and not is_begun(recipe):
        raise ValueError(
            f"resume_from={recipe.run.resume_from!r} does not run inside arcface_torch; train without --arcface-torch, or set "
            "student_init, which takes the student alone"
        )


def refuse_diagnostics(recipe: Recipe) -> None:
    """Raise ValueError for gradient diagnostics: upstream's cross-entropy overwrites what a second backward pass would need."""
    if recipe.run.gradient_diagnostics:
        value = recipe.run.gradient_diagnostics
        raise ValueError(f"gradient_diagnostics={value!r} does not run inside arcface_torch; train without --arcface-torch")


def refuse_unlabelled(recipe: Recipe) -> None:
    """Raise ValueError for a run without labels. A folder of images is opened, a .rec always has labels."""
    data = recipe.data
    folder = any(Path(place).is_dir() and not (Path(place) / "train.rec").exists() for place in data.places)
    if not data.labels or (folder and not open_records(data.rec, data.identity_map).num_classes):
        raise ValueError(
            f"rec={data.rec} has no labels, or labels=False, and arcface_torch needs them; train without --arcface-torch"
        )


@contextmanager
def restored_log_handlers():
    """Restore the root logger: upstream adds handlers and never removes them."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)


@contextmanager
def upstream_warnings_ignored():
    """Ignore the warnings that current Python and torch print about upstream's code; users cannot act on them."""
    with warnings.catch_warnings():
        for category in (FutureWarning, SyntaxWarning):
            warnings.simplefilter("ignore", category)
        for message in (
            "You passed find_unused_parameters",
            "torch.cuda.amp.GradScaler is enabled",
            "Detected call of `lr_sch",
            "This DataLoader will create",
        ):
            warnings.filterwarnings("ignore", message)
        yield
