"""Crop many photos in order, in this process or in several, each with its own detector on one thread."""

import itertools
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from aird_plugin.alignment.detector import Detector
from aird_plugin.alignment.landmarks import Landmarks
from aird_plugin.alignment.log import Row
from aird_plugin.alignment.photos import CropSettings, crop_photo
from aird_plugin.utils.threads import usable_cores

# Photos of one task, and tasks in flight for each process: results are awaited in order, and memory is bounded.
CHUNK, TASKS_EACH = 8, 4
# A process takes seconds to start; fewer photos than these are not worth one.
PHOTOS_EACH = 64


class Job(NamedTuple):
    """What every process needs: the folder of photos, that of the crops, which faces to crop, and where landmarks come from.

    detector: file, detection threshold and side, or None for the landmarks in `points`.
    """

    folder: Path
    out: Path
    settings: CropSettings
    detector: tuple[Path, float, int] | None = None
    points: str | None = None

    def open_source(self, threads: int = 0) -> Detector | Landmarks:
        """Open the landmark source. threads: of the detector, 0 for one per usable core."""
        if self.detector is None:
            assert self.points is not None
            return Landmarks(self.points)
        return Detector(*self.detector, threads=threads)


def processes_for(photos: int, stated: int | None) -> int:
    """Number of processes: as stated, else one per core that this process may use; fewer for few photos."""
    return stated or max(1, min(usable_cores(), math.ceil(photos / PHOTOS_EACH)))


def crop_all(names: Iterable[str], job: Job, source: Detector | Landmarks, processes: int) -> Generator[list[Row]]:
    """The rows of each photo, in order, once its crops are written. source: of this process, used where `processes` is 1.

    Raises RuntimeError where a process dies (as for lack of memory); the photos before it are complete.
    """
    if processes == 1:
        for name in names:
            yield crop_photo(job.folder, job.out, name, source, job.settings)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(job,))
    waiting: deque[Future[list[list[Row]]]] = deque()
    try:
        for chunk in _chunks(names):
            waiting.append(pool.submit(_crop_chunk, chunk))
            if len(waiting) >= processes * TASKS_EACH:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a process of `aird align` died, perhaps for lack of memory; the same command goes on, --workers 1 needs least"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    """The names in lists of CHUNK."""
    names = iter(names)
    while chunk := list(itertools.islice(names, CHUNK)):
        yield chunk


_job: Job
_source: Detector | Landmarks
# Held while a photo is cropped.
_busy = threading.Lock()


def _begin(job: Job) -> None:
    """Open the landmark source of a process. Ctrl-C is left to the first process, and the end of that one ends this."""
    global _job, _source
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    _job, _source = job, job.open_source(threads=1)


def _end_with(sentinel: int) -> None:
    """Exit, between two photos, once the process of this sentinel has ended: killed, it stops no other."""
    multiprocessing.connection.wait([sentinel])
    _busy.acquire()
    os._exit(1)


def _crop_chunk(names: list[str]) -> list[list[Row]]:
    """Crop some photos in a process."""
    rows = []
    for name in names:
        with _busy:
            rows.append(crop_photo(_job.folder, _job.out, name, _source, _job.settings))
    return rows
