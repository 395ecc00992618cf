"""Tasks of a build that several processes share: a lock file decides which of them does a task.

The system releases the lock of a process that dies, so another process, or the next run, does its task. Processes share nothing
but the folder; they may be ranks of torchrun, or single commands on several hosts.
"""

import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aird_plugin.utils import distributed
from aird_plugin.utils.json_files import read_object

POLL_S = 0.2
# In the names of the locks of processes that build a folder together.
BUILDER = ".builder-"


@dataclass(frozen=True)
class Task:
    """One step of a build. result: a JSON file with these inputs, which `work` writes at its end."""

    result: Path
    inputs: dict[str, Any]
    work: Callable[[], None]

    @property
    def done(self) -> bool:
        return read_result(self.result).get("inputs") == self.inputs

    @property
    def lock(self) -> Path:
        """Beside the folder of a shard, which a build may empty."""
        return self.result.parent.with_name(f"{self.result.parent.name}.{self.result.stem}.lock")


def run_tasks(tasks: Sequence[Task]) -> None:
    """Do the tasks that no other process does; return when all are done. Each rank begins at another one."""
    first = len(tasks) * distributed.launched_rank() // distributed.launched_ranks()
    waiting, announced = [*tasks[first:], *tasks[:first]], False
    while waiting := [task for task in waiting if not (task.done or _claimed(task))]:
        if not announced:
            print(f"waiting for parts that other processes build: {len(waiting)} left ({waiting[0].result})", file=sys.stderr)
            announced = True
        time.sleep(POLL_S)


def _claimed(task: Task) -> bool:
    """Do the task unless another process holds its lock; returns whether it is done now."""
    task.lock.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(task.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        if not task.done:
            task.work()
    finally:
        lock.release()
    return True


def builder_lock(folder: Path, records: str) -> FileLock:
    """A lock, held, which shows that this process builds parts of `folder` for the training images of this fingerprint."""
    lock = FileLock(f"{folder}{BUILDER}{records[:12]}.{uuid.uuid4().hex[:12]}.lock")
    lock.acquire()
    return lock


def wait_for_others(folder: Path, records: str) -> None:
    """Return when no process builds parts of `folder` for other training images: each would overwrite the rows of the other.

    The caller holds the folder's lock, so that none begins. Files that a process left when it died are removed.
    """
    for path in folder.parent.glob(f"{folder.name}{BUILDER}*.lock"):
        if path.name.startswith(f"{folder.name}{BUILDER}{records[:12]}."):
            continue
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"another process builds {folder} of other training images; waiting for it", file=sys.stderr, flush=True)
            lock.acquire()
        lock.release()
        path.unlink(missing_ok=True)


def read_result(path: Path) -> dict[str, Any]:
    """The JSON object in a task's result file; {} where it is missing or damaged."""
    try:
        return read_object(path)
    except (OSError, ValueError):
        return {}
