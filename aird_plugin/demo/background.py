"""The thread behind the page, and its progress, which the page shows."""

import threading
from collections.abc import Callable
from typing import Any

from aird_plugin.demo.server import DemoServer, Document, as_json
from aird_plugin.utils.errors import describe
from aird_plugin.utils.progress import observe

LOADING = "loading the models"


class Stopped(Exception):
    """The program ends while the thread works."""


class Background:
    """Runs `work(background)` in a thread while the context is open. An error before `report_ready` ends the server.

    An error after it is shown on the page, and the server goes on. Every progress bar of the work is reported, and is where the
    work pauses while a request is answered, and where it stops when the context is left.
    """

    def __init__(self, server: DemoServer, work: Callable[["Background"], None]):
        self.server, self.work = server, work
        self.failure: Exception | None = None
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, name="demo-background", daemon=True)
        # Replaced as a whole by the thread, so that a request reads a consistent state.
        bar = {"task": LOADING, "done": 0, "total": None, "step": 0, "steps": 0}
        self.state: dict[str, Any] = {"ready": False, **bar, "changes": 0, "problem": ""}
        self.labels: set[tuple[str, str]] = set()

    def document(self) -> Document:
        """The progress, as JSON.

        ready: the models are loaded. task: what the thread does, "" where nothing is left to do; done of total items, in this
        step of so many steps (0 where unknown). changes: how often thresholds have changed. problem: what failed, else "".
        """
        return as_json(self.state)

    def report_ready(self) -> None:
        """The models are loaded."""
        self._report(ready=True, task="", done=0, total=None)

    def report_steps(self, steps: int) -> None:
        """The tasks to come have so many progress bars in all."""
        self.labels = set()
        self._report(step=0, steps=steps)

    def report_task(self, task: str) -> None:
        """A task begins."""
        self._report(task=task, done=0, total=None)

    def report_change(self) -> None:
        """Thresholds have changed: the page should ask for them."""
        self._report(changes=self.state["changes"] + 1)

    def __enter__(self) -> "Background":
        self.thread.start()
        return self

    def __exit__(self, kind, *_) -> None:
        self.stopped.set()
        self.thread.join()
        if self.failure and kind is None:
            raise self.failure

    def _run(self) -> None:
        try:
            with observe(self._observe):
                self.work(self)
            self._report(task="")
        except Stopped:
            pass
        # An error in a thread does not end the program: the page shows it, and before the page is ready the command ends with it.
        except Exception as error:
            self._report(task="", problem=describe(error))
            if not self.state["ready"]:
                self.failure = error
                self.server.shutdown()

    def _observe(self, label: str, done: int, total: int | None) -> None:
        """Report a progress bar; called between two batches."""
        if self.stopped.is_set():
            raise Stopped
        task = self.state["task"] if self.state["ready"] else label
        self.labels.add((task, label))
        self._report(task=task, done=done, total=total, step=len(self.labels))
        if self.state["ready"]:
            # Requests first: they hold this lock.
            with self.server.inference_lock:
                pass

    def _report(self, **changes) -> None:
        self.state = self.state | changes
