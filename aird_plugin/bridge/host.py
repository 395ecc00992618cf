"""The other host: one recipe in the loop of an unmodified arcface_torch checkout."""

import importlib.util
import logging
import warnings
from argparse import Namespace
from contextlib import ExitStack, contextmanager
from pathlib import Path

from aird_plugin import distributed
from aird_plugin.bridge import checkout, seams
from aird_plugin.bridge.hosted import Hosted
from aird_plugin.bridge.limits import refuse_sizes
from aird_plugin.bridge.mends import Surroundings
from aird_plugin.bridge.verification import last_verification
from aird_plugin.deterministic import deterministic
from aird_plugin.lesson import pick_device, prepare
from aird_plugin.recipe import Recipe
from aird_plugin.runfolder import settle_run_folder
from aird_plugin.signals import stop_signals

NEEDS = ("sklearn", "scipy")


def train(recipe: Recipe, directory: str) -> Path:
    """Train what the recipe describes in arcface_torch's own loop, from its newest checkpoint; gives the run folder.

    directory: an arcface_torch checkout, or one of all InsightFace. Names are bound anew while the run lasts, and back after
    it; no file of the checkout changes. Raises what the embedded host raises, ValueError for a checkout without one of our
    seams, and ImportError naming the extra where upstream's own imports are missing.
    """
    refuse_sizes(recipe)
    folder = checkout.find(directory, seams.ENTRY)
    seams.refuse_missing(folder)
    check_imports(folder)
    with ExitStack() as stack:
        stack.enter_context(handlers_put_back())
        stack.enter_context(upstreams_warnings_hidden())
        stack.enter_context(deterministic(recipe.run.deterministic))
        stack.callback(distributed.stop)
        around = Surroundings(cpu=pick_device(recipe.run.device).type == "cpu", keep_mxnet=recipe.bridge.keep_mxnet)
        entry = seams.open_upstream(stack, folder, around)
        lesson = prepare(recipe)
        lesson.facts["host"] = {"arcface_torch": checkout.commit(folder)}
        settle_run_folder(lesson)
        hosted = Hosted(lesson, stack.enter_context(stop_signals()), stack)
        seams.install(stack, hosted)
        entry.main(Namespace(config=recipe.run.output))
        last_verification(hosted, lesson.student)
        return Path(recipe.run.output)


def check_imports(folder: Path) -> None:
    """ImportError where the checkout's evaluation imports packages that are not installed."""
    text = folder.joinpath("eval", "verification.py").read_text(errors="replace")
    gone = [name for name in NEEDS if f"import {name}" in text or f"from {name}" in text]
    gone = [name for name in gone if importlib.util.find_spec(name) is None]
    if gone:
        raise ImportError(f"arcface_torch imports {' and '.join(gone)}: pip install 'aird_plugin[arcface]'")


@contextmanager
def handlers_put_back():
    """Upstream adds handlers to the root logger and never takes them away."""
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
def upstreams_warnings_hidden():
    """What today's Python and torch say of upstream's style, once a process and rank: nothing that a user could act on."""
    with warnings.catch_warnings():
        for category in (FutureWarning, SyntaxWarning):
            warnings.simplefilter("ignore", category)
        for message in ("You passed find_unused_parameters", "torch.cuda.amp.GradScaler is enabled", "Detected call of `lr_sch",
                        "This DataLoader will create"):  # fmt: skip
            warnings.filterwarnings("ignore", message)
        yield
