"""Galleries of many identities: time, memory and recall of each kind of search, and the time to enrol, save and load.

    python tools/bench_search.py [--templates 100000 1000000] [--index product flat hnsw ivfpq] [--width 128] [--json FILE]
    python tools/bench_search.py --enrol 100000

The first form searches identities that are distributed as a recogniser's: a mean each from a normal distribution whose variance
falls over the directions as i**-0.5 (MobileFaceNet on LFW: docs/benchmarks/recognition.md), a template near the mean, and a
query farther from it, with a mean cosine of --cosine to its template. Each kind is built and searched in a process of its own, on
one thread; times are processor time. Recall: the share of queries whose nearest template is the one that the product finds;
found: the share for which it is the query's own identity. Memory: by which the process grew, beside the templates themselves.

The second form enrols a `Face` for each identity into a `Gallery`, saves and loads it, and searches 50 faces.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from aird_plugin.utils.threads import bound_spinning

bound_spinning()
# One thread in NumPy and faiss too; they read this when they are imported.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from aird_plugin.recognition.calibration import Calibration
from aird_plugin.recognition.gallery import Gallery
from aird_plugin.recognition.index import KINDS, Index
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.paths import expand_arguments

QUERIES, BATCH = 500, 50
# Exponent of the variances over the directions, and the cosine of a template to its identity's mean (several HR photos).
DECAY, TEMPLATE_COSINE = 0.5, 0.95
ROWS_AT_ONCE = 100_000
COLUMNS = (
    "templates",
    "index",
    "recall",
    "found",
    "build, s",
    "ms per query, alone",
    "in batches of 50",
    "MB beside the templates",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--templates", type=int, nargs="+", default=[100_000], metavar="N")
    parser.add_argument("--index", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--cosine", type=float, default=0.6, help="mean cosine of a query to its template. default: 0.6")
    parser.add_argument("--enrol", type=int, metavar="N", help="instead enrol N faces into a gallery")
    parser.add_argument("--json", help="also write the rows to this file")
    args = expand_arguments(parser.parse_args())
    torch.set_num_threads(1)
    if args.enrol:
        print(enrol(args.enrol, args.width))
        return 0
    print(
        f"{args.width}-d, {QUERIES} queries at a mean cosine of {args.cosine:g} to their template, one thread, processor time\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    rows = []
    for count in args.templates:
        for kind in args.index:
            row = in_a_process(lambda count=count, kind=kind: measure(count, args.width, kind, args.cosine))
            rows.append({"templates": count, "index": kind, "width": args.width, "cosine": args.cosine} | row)
            print(line(rows[-1]), flush=True)
    if args.json:
        write_atomically(Path(args.json), json.dumps(rows, indent=1).encode())
    return 0


def identities(count: int, width: int, seed: int, cosines: tuple[float, ...]) -> list[np.ndarray]:
    """For each identity a unit vector at each mean cosine to the identity's own mean; float32 (count, width) each."""
    rng = np.random.default_rng(seed)
    scale_D = np.arange(1, width + 1, dtype=np.float32) ** (-DECAY / 2)
    # The directions are turned: product quantisation cuts a vector into runs of neighbouring coordinates.
    turn_DD = np.linalg.qr(np.random.default_rng(0).standard_normal((width, width)))[0].astype(np.float32)
    found = [np.empty((count, width), np.float32) for _ in cosines]
    for start in range(0, count, ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, count - start)
        mean_BD = rng.standard_normal((rows, width), np.float32)
        for cosine, vectors_ND in zip(cosines, found, strict=True):
            noise_BD = rng.standard_normal((rows, width), np.float32)
            own_BD = ((mean_BD + noise_BD * np.sqrt(1 / cosine**2 - 1, dtype=np.float32)) * scale_D) @ turn_DD
            vectors_ND[start : start + rows] = own_BD / np.linalg.norm(own_BD, axis=1, keepdims=True)
    return found


def measure(count: int, width: int, kind: str, cosine: float) -> dict:
    """The figures of one kind of index; `error` where it is not possible."""
    templates_ND, queries_ND = identities(count, width, 1, (TEMPLATE_COSINE, cosine / TEMPLATE_COSINE))
    own_Q = np.sort(np.random.default_rng(2).choice(count, min(QUERIES, count), replace=False))
    queries_QD = queries_ND[own_Q].copy()
    del queries_ND
    exact_Q = Index(templates_ND).search(queries_QD, 1)[1][:, 0]
    before, started = resident(), time.process_time()
    try:
        index = Index(templates_ND, kind)
    except (ValueError, ImportError) as error:
        return {"error": str(error)}
    built, grown = time.process_time() - started, resident() - before
    nearest_Q = index.search(queries_QD, 1)[1][:, 0]
    return {
        "recall": float((nearest_Q == exact_Q).mean()),
        "found": float((nearest_Q == own_Q).mean()),
        "build_s": built,
        "alone_ms": per_query(lambda query_QD: index.search(query_QD, 5), queries_QD[:BATCH], 1),
        "batch_ms": per_query(lambda query_QD: index.search(query_QD, 5), queries_QD, BATCH),
        "memory_mb": grown / 1e6,
    }


def per_query(search: Callable[[np.ndarray], object], queries_QD: np.ndarray, batch: int) -> float:
    """The median time in ms for each query, in batches."""
    took = []
    for start in range(0, len(queries_QD), batch):
        block_BD = queries_QD[start : start + batch]
        started = time.process_time()
        search(block_BD)
        took.append(1000 * (time.process_time() - started) / len(block_BD))
    return statistics.median(took)


def resident() -> int:
    """Bytes of physical memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def in_a_process(work: Callable[[], dict]) -> dict:
    """The result of `work` in a forked child; this process has started no threads. SystemExit where the child fails."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.write(writer, json.dumps(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read()
    if os.waitpid(child, 0)[1]:
        raise SystemExit("error: a measurement failed, see above")
    return json.loads(text)


def line(row: dict) -> str:
    """A line of the table."""
    if "error" in row:
        return f"| {row['templates']:,} | {row['index']} | {row['error']} |"
    cells = [f"{row[key]:.1%}" for key in ("recall", "found")] + [f"{row['build_s']:.1f}"]
    cells += [f"{row[key]:.3g}" for key in ("alone_ms", "batch_ms")] + [f"{row['memory_mb']:.0f}"]
    return f"| {row['templates']:,} | {row['index']} | {' | '.join(cells)} |"


def enrol(count: int, width: int) -> str:
    """The times of a gallery of `count` identities, as text."""
    from insightface.app.common import Face

    network = SimpleNamespace(name="student", identity="0" * 64)
    analysis = SimpleNamespace(dim=width, networks={network.identity: network}, calibration=Calibration())
    [vectors_ND] = identities(count, width, 1, (TEMPLATE_COSINE,))
    own = {"px": 112.0, "quality": 1.0, "network_id": network.identity}
    faces = {f"identity {n}": Face(own, embedding=vector_D) for n, vector_D in enumerate(vectors_ND)}
    gallery, took = Gallery(analysis), {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "people.npz"
        steps = {
            "enrol": lambda: [gallery.add(name, face) for name, face in faces.items()],
            "save": lambda: gallery.save(file),
            "load": lambda: Gallery.load(file, analysis),
            "first search of 50": lambda: gallery.search(list(faces.values())[:BATCH]),
            "next search of 50": lambda: gallery.search(list(faces.values())[:BATCH]),
        }
        for name, step in steps.items():
            started = time.process_time()
            step()
            took[name] = time.process_time() - started
        size = file.stat().st_size
    return (
        f"{count:,} identities, {width}-d: "
        + ", ".join(f"{name} {s:.2f} s" for name, s in took.items())
        + f", {size / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
