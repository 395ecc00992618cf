"""Work on many images in blocks of rows, of which only a few are in memory."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import torch

from aird_plugin.data.loader import ahead
from aird_plugin.utils.progress import progress

BLOCK = 256
# Upper limit of decoding threads: more of them wait for the GIL.
DECODERS = 16


def blocks_of(rows: range, size: int | None = None) -> list[range]:
    """The rows in blocks of `size`, by default BLOCK; the last may be smaller."""
    size = size or BLOCK
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def decode_blocks(
    decode: Callable[[int], Any], rows: range, label: str, join: Callable[[Iterable], Any] = list
) -> Iterator[tuple[range, Any]]:
    """Yield each block of rows with `join` of `decode(row)` of its rows, under a progress bar.

    Threads decode a block or two ahead of the consumer: Pillow releases the GIL. What `decode` raises is raised here.
    """
    blocks = blocks_of(rows)
    with (
        ThreadPoolExecutor(min(torch.get_num_threads(), DECODERS)) as pool,
        closing(ahead(lambda block: join(pool.map(decode, block)), blocks)) as decoded,
    ):
        yield from zip(progress(blocks, rows.stop, label, "images", initial=rows.start), decoded, strict=True)
