"""Synthetic people as JPEG files, drawn by several processes."""

import multiprocessing
from collections.abc import Iterator, Sequence

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.synthetic import draw_person


def draw_jpegs(shots: Sequence[tuple[int, int]], seed: int, workers: int = 1) -> Iterator[bytes]:
    """JPEG of each (person, face) of `seed`, in order. The bytes do not depend on the number of workers."""
    jobs = [(person, face, seed) for person, face in shots]
    if workers <= 1:
        yield from map(_draw, jobs)
        return
    with multiprocessing.Pool(workers) as pool:
        yield from pool.imap(_draw, jobs, chunksize=16)


def _draw(job: tuple[int, int, int]) -> bytes:
    return encode_jpeg(draw_person(*job))
