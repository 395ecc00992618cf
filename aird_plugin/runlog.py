"""What a run tells while it runs: a bar, metrics.jsonl, TensorBoard."""

import json
import os
import sys
import time
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from aird_plugin import distributed
from aird_plugin.progress import SECONDS_BETWEEN_LINES

METRICS = "metrics.jsonl"


class RunLog:
    """Means of every term since the last line, each `frequent` steps. Only rank 0 writes.

    A resumed run first drops the lines beyond its checkpoint, so the file tells one unbroken story.
    """

    def __init__(self, training, first: int):
        self.training, self.first = training, first
        self.writes = distributed.rank() == 0
        self.sums: dict[str, torch.Tensor] = {}
        self.count = 0
        self.started = self.spoken = time.monotonic()
        self.path = Path(training.recipe.run.output) / METRICS

    def __enter__(self) -> "RunLog":
        if self.writes:
            drop_lines_after(self.path, self.first)
            self.file = self.path.open("a", buffering=1)
            self.board = SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=self.first)
            total = self.training.total_steps
            terminal = sys.stderr.isatty()
            self.bar = tqdm(total=total, initial=self.first, desc="train", unit="step", disable=not terminal, dynamic_ncols=True)
        return self

    def __exit__(self, *failure) -> None:
        if self.writes:
            self.flush()
            self.bar.close()
            self.board.close()
            self.file.close()

    def step(self, done: int, rate: float, out: dict[str, torch.Tensor]) -> None:
        """Take in one step's terms; write a line where one is due."""
        for name, value in out.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        self.count += 1
        if done % self.training.recipe.run.frequent == 0 or done == self.training.total_steps:
            self._line(done, rate)
        if self.writes:
            self.bar.update(1)

    def _line(self, done: int, rate: float) -> None:
        """Every rank takes part in the means."""
        means = {name: distributed.mean_over_ranks(value / self.count).item() for name, value in self.sums.items()}
        now = time.monotonic()
        training = self.training
        faces = self.count * training.recipe.schedule.batch_size * training.recipe.schedule.gradient_acc
        speed = faces * distributed.world_size() / max(now - self.started, 1e-9)
        self.sums, self.count, self.started = {}, 0, now
        if not self.writes:
            return
        epoch = done / training.steps_per_epoch
        line = {"step": done, "epoch": round(epoch, 4), "lr": rate, **means, "samples_per_s": round(speed, 1)}
        self.file.write(json.dumps(line) + "\n")
        for name, value in means.items():
            self.board.add_scalar(f"loss/{name}", value, done)
        self.board.add_scalar("lr", rate, done)
        self.board.add_scalar("samples_per_s", speed, done)
        self._tell(done, epoch, means, speed, now)

    def _tell(self, done: int, epoch: float, means: dict[str, float], speed: float, now: float) -> None:
        terms = " ".join(f"{name} {value:.3f}" for name, value in means.items())
        self.bar.set_postfix_str(f"epoch {epoch:.1f} {terms}", refresh=False)
        if self.bar.disable and (now - self.spoken >= SECONDS_BETWEEN_LINES or done == self.training.total_steps):
            self.spoken = now
            left = (self.training.total_steps - done) * self.training.recipe.schedule.batch_size / max(speed, 1e-9)
            print(
                f"step {done}/{self.training.total_steps} epoch {epoch:.1f} {terms} {speed:.0f} faces/s, "
                f"{tqdm.format_interval(left * distributed.world_size())} left",
                file=sys.stderr, flush=True,
            )  # fmt: skip

    def verification(self, done: int, rows: list[dict]) -> None:
        """Accuracy of a periodic verification, to the board and the terminal."""
        if not self.writes:
            return
        for row in rows:
            name = f"{Path(row['pairs']).stem}/{row['protocol']}/{row['px']}px" + ("/facebn" if row["facebn"] else "")
            self.board.add_scalar(f"accuracy/{name}", row["accuracy"], done)
            self.bar.write(f"step {done} {name}: {row['accuracy']:.2f}", file=sys.stderr)

    def flush(self) -> None:
        """Lines on disk before the checkpoint that follows them."""
        if self.writes:
            self.file.flush()
            os.fsync(self.file.fileno())


def drop_lines_after(path: Path, step: int) -> None:
    """Keep the lines up to `step`; a last line that a kill cut short goes too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            break
        if record["step"] <= step:
            kept.append(line)
    path.write_text("".join(line + "\n" for line in kept))
