"""Logging of a run: a progress bar, metrics.jsonl, TensorBoard, Weights & Biases."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from aird_plugin.config.recipe import Recipe
from aird_plugin.training.gradient_diagnostics import INFIX
from aird_plugin.training.tracker import Tracker
from aird_plugin.utils import distributed
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.progress import SECONDS_BETWEEN_LINES

METRICS = "metrics.jsonl"
NO_TERMS = ("step", "epoch", "lr", "samples_per_s")


class LoggedRun(Protocol):
    """What the log reads of a run: a `TrainingSetup`, or the state of a prior's training."""

    @property
    def recipe(self) -> Recipe:
        """The recipe as the run takes it."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""


class Metrics:
    """metrics.jsonl: means of every term since the last line, over the steps that had it. All ranks compute the means, rank 0
    writes.

    A resumed run first drops the lines after its checkpoint, so that the file has one line per logged step.
    """

    def __init__(self, run: LoggedRun, first: int):
        self.run = run
        self.sums: dict[str, torch.Tensor] = {}
        self.steps: dict[str, int] = {}
        self.count = 0
        self.started = time.monotonic()
        self.file = None
        if distributed.rank() == 0:
            path = Path(run.recipe.run.output) / METRICS
            drop_lines_after(path, first)
            self.file = path.open("a", buffering=1)

    def add(self, out: dict[str, torch.Tensor]) -> None:
        """Add one step's terms."""
        for name, value in out.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
            self.steps[name] = self.steps.get(name, 0) + 1
        self.count += 1

    def line(self, done: int, rate: float) -> dict | None:
        """Write the line of step `done` and return it; None on the other ranks."""
        # One tensor, so that the device is synchronized once.
        values = torch.stack([total / self.steps[name] for name, total in self.sums.items()])
        means = dict(zip(self.sums, distributed.mean_over_ranks(values).tolist(), strict=True))
        now = time.monotonic()
        speed = self.count * images_per_step(self.run.recipe) / max(now - self.started, 1e-9)
        self.sums, self.steps, self.count, self.started = {}, {}, 0, now
        if self.file is None:
            return None
        epoch = round(done / self.run.steps_per_epoch, 4)
        line = {"step": done, "epoch": epoch, "lr": rate, **means, "samples_per_s": round(speed, 1)}
        self.file.write(json.dumps(line) + "\n")
        return line

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock of `samples_per_s`: for a verification or a checkpoint between two steps."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.started += time.monotonic() - began

    def flush(self) -> None:
        """Sync the lines to disk before the next checkpoint."""
        if self.file is not None:
            self.file.flush()
            os.fsync(self.file.fileno())

    def close(self) -> None:
        if self.file is not None:
            self.flush()
            self.file.close()


def images_per_step(recipe: Recipe) -> int:
    """Images of all ranks in one optimizer step."""
    return recipe.schedule.batch_size * recipe.schedule.gradient_acc * distributed.world_size()


def terms_of(line: dict) -> dict[str, float]:
    """The losses in a line of metrics.jsonl."""
    return {name: value for name, value in line.items() if name not in NO_TERMS and INFIX not in name}


def gradients_of(line: dict) -> dict[str, float]:
    """The gradient diagnostics in a line of metrics.jsonl; empty in most."""
    return {name: value for name, value in line.items() if INFIX in name}


class RunLog:
    """metrics.jsonl, a progress bar, TensorBoard and Weights & Biases of the embedded loop. Only rank 0 writes."""

    def __init__(self, run: LoggedRun, first: int):
        self.run, self.first = run, first
        self.is_writer = distributed.rank() == 0
        self.last_print = time.monotonic()

    def __enter__(self) -> "RunLog":
        self.metrics = Metrics(self.run, self.first)
        if self.is_writer:
            output = Path(self.run.recipe.run.output)
            self.board = SummaryWriter(str(output / "tensorboard"), purge_step=self.first)
            self.tracker = Tracker(self.run.recipe)
            total = self.run.total_steps
            terminal = sys.stderr.isatty()
            self.bar = tqdm(total=total, initial=self.first, desc="train", unit="step", disable=not terminal, dynamic_ncols=True)
        return self

    def __exit__(self, *failure) -> None:
        self.metrics.close()
        if self.is_writer:
            self.bar.close()
            self.board.close()
            self.tracker.close(failed=failure[0] is not None)

    def due(self, done: int) -> bool:
        """Whether a line is written at this step."""
        return done % self.run.recipe.run.frequent == 0 or done == self.run.total_steps

    def step(self, done: int, rate: float, out: dict[str, torch.Tensor]) -> None:
        """Add one step's terms; write a line where one is due."""
        self.metrics.add(out)
        if self.due(done):
            line = self.metrics.line(done, rate)
            if line:
                self._write(line)
        if self.is_writer:
            self.bar.update(1)

    def _write(self, line: dict) -> None:
        done, terms, speed = line["step"], terms_of(line), line["samples_per_s"]
        self.tracker.log(line)
        for name, value in terms.items():
            self.board.add_scalar(f"loss/{name}", value, done)
        for name, value in gradients_of(line).items():
            self.board.add_scalar(f"gradient/{name}", value, done)
        self.board.add_scalar("lr", line["lr"], done)
        self.board.add_scalar("samples_per_s", speed, done)
        text = f"epoch {line['epoch']:.1f} " + " ".join(f"{name} {value:.3f}" for name, value in terms.items())
        self.bar.set_postfix_str(text, refresh=False)
        total = self.run.total_steps
        if self.bar.disable and (time.monotonic() - self.last_print >= SECONDS_BETWEEN_LINES or done == total):
            self.last_print = time.monotonic()
            images_left = (total - done) * images_per_step(self.run.recipe)
            left = tqdm.format_interval(images_left / max(speed, 1e-9))
            print(f"step {done}/{total} {text} {speed:.0f} images/s, {left} left", file=sys.stderr, flush=True)

    def verification(self, done: int, specs: list, rows: list[dict]) -> None:
        """Write the accuracies of a periodic validation to TensorBoard, the tracker and the terminal."""
        if self.is_writer:
            accuracies = {f"accuracy/{spec.name}": row["accuracy"] for spec, row in zip(specs, rows, strict=True)}
            self.tracker.log({"step": done, **accuracies})
            for spec, row in zip(specs, rows, strict=True):
                self.board.add_scalar(f"accuracy/{spec.name}", row["accuracy"], done)
                self.bar.write(f"step {done} {spec.name}: {row['accuracy']:.2f}", file=sys.stderr)

    def paused(self) -> AbstractContextManager[None]:
        """Inside, no time counts for the speed and the time left."""
        return self.metrics.paused()

    def flush(self) -> None:
        """Sync the lines to disk before the next checkpoint."""
        self.metrics.flush()

    def saved(self, done: int) -> None:
        """Give model.pt of this step to the tracker."""
        if self.is_writer:
            version = "Final" if done == self.run.total_steps else f"E{done / self.run.steps_per_epoch:g}"
            self.tracker.save_model(Path(self.run.recipe.run.output) / "model.pt", version)


def drop_lines_after(path: Path, step: int) -> None:
    """Keep the lines up to `step`; a last line truncated by a kill is dropped too. A kill of this process loses no line."""
    if not path.exists():
        return
    kept, text = [], path.read_text()
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            break
        if record["step"] <= step:
            kept.append(line)
    kept_text = "".join(line + "\n" for line in kept)
    if kept_text != text:
        write_atomically(path, kept_text.encode())
