"""Images per second in onnxruntime on the CPU at batch 1 and 64, fp32 and static int8, and the accuracy of both.

    python tools/bench_inference.py OUT [NETWORK ...] [--threads 1 0] [--json FILE] [--faces FILE] [--pairs FILE.bin]

A NETWORK is a name (random weights, same speed as trained ones) or a run folder, whose student is also verified on --pairs
(LR-LR at --px). By default all students are timed against arcface_torch's mbf, the network of buffalo_s. All are timed in turns
in one process; the best turn counts, ratios are to the first network's fp32. --threads 0 uses all cores. If both are given, the
native student of 0.2 M parameters is compared with mbf: fp32, batch 1, one thread. --faces calibrates int8 (RecordIO, folder or
.bin); the default is noise, which gives the speed but no meaningful accuracy. OUT holds the files and frontier.json: the same
command resumes, and its --turns are added to those already done.
"""

import argparse
import functools
import itertools
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np
import torch

from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.export.check import resize_to_side, sample_faces
from aird_plugin.export.graph import write_onnx
from aird_plugin.export.quantise import quantise
from aird_plugin.models import build
from aird_plugin.models.load import load_model
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.utils.files import file_sha256, write_atomically
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.progress import progress
from tools.lib.ratios import AT_LEAST, Row, compare, in_turns, print_rows

SMALL, LARGE = "native16_0.2m", "mbf"
STUDENTS = (LARGE, SMALL, "native16_0.2m_dw", "native16_1m", "native16_1m_dw", "mfn", "r18")
BATCHES = (1, 64)
KINDS = ("fp32", "int8")
# Least duration of a turn: one image takes a small network only microseconds.
LEAST_SECONDS = 0.02


def main() -> int:
    args = parse()
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "frontier.json"
    known = read(file, args)
    calibrators = None
    names = [network.rstrip("/") for network in args.networks or STUDENTS]
    for name in names:
        if name not in known or known[name]["weights"] != weights_of(name):
            calibrators = calibration_images(args) if calibrators is None else calibrators
            known[name] = export(name, args, calibrators)
            keep(file, known)
        if args.pairs and Path(name).is_dir() and "accuracy" not in known[name]:
            known[name]["accuracy"] = {kind: accuracy(file_of(args.out, name, kind), args) for kind in KINDS}
            keep(file, known)
    cells = itertools.product(names, KINDS, BATCHES, args.threads)
    calls = {cell: prepare(file_of(args.out, *cell[:2]), *cell[2:]) for cell in cells}
    for _ in progress(range(args.turns), args.turns, "turns", "turns"):
        for (name, *cell), call in calls.items():
            rates, key = known[name]["faces_per_s"], key_of(*cell)
            rates[key] = max(rates.get(key, 0.0), cell[1] * rate_of(call))
        keep(file, known)
    for threads in args.threads:
        print(f"\n{'all cores' if threads == 0 else f'{threads} thread(s)'}\n\n{table({n: known[n] for n in names}, threads)}")
    if SMALL in names and LARGE in names:
        print_rows([target_row(args)], args.json)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--embedding-size", type=int, default=128)
    parser.add_argument("--faces")
    parser.add_argument("--count", type=int, default=512, help="images for calibration (512)")
    parser.add_argument("--pairs")
    parser.add_argument("--px", type=int, default=16)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--json", metavar="FILE", help="file for the row with a target")
    args = expand_arguments(parser.parse_args())
    if args.pairs and not Path(args.pairs).is_file():
        parser.error(f"--pairs {args.pairs}: no such file")
    return args


def read(file: Path, args) -> dict:
    """The rows measured so far, one for each network. Exits if they were measured with other settings."""
    settings = {key: getattr(args, key) for key in ("embedding_size", "faces", "count", "pairs", "px")}
    if not file.exists():
        return {"settings": settings}
    known = json.loads(file.read_text())
    if known["settings"] != settings:
        sys.exit(f"error: {file} was measured with {known['settings']}, now {settings}; name another OUT")
    return known


def keep(file: Path, known: dict) -> None:
    write_atomically(file, json.dumps(known, indent=1).encode())


def weights_of(name: str) -> str | None:
    """SHA-256 of a run's model.pt; None for random weights."""
    return file_sha256(Path(name) / "model.pt") if Path(name).is_dir() else None


def file_of(out: Path, name: str, kind: str) -> Path:
    return out / f"{name.replace('/', '_')}.{kind}.onnx"


def calibration_images(args) -> np.ndarray:
    """112 px images for calibration, or noise. uint8 (N, 112, 112, 3)"""
    if args.faces:
        return sample_faces(args.faces, args.count)
    return np.random.default_rng(0).integers(0, 256, (64, 112, 112, 3), np.uint8)


def export(name: str, args, images_NHWC: np.ndarray) -> dict:
    """Write the fp32 and int8 file of a network. Returns its row, without rates."""
    torch.manual_seed(0)
    student = load_model(name) if Path(name).is_dir() else build(name, args.embedding_size).eval()
    fp32, int8 = (file_of(args.out, name, kind) for kind in KINDS)
    write_onnx(student, fp32, {})
    quantise(OnnxTeacher(fp32), int8, resize_to_side(student.input_size, images_NHWC))
    return {
        "weights": weights_of(name),
        "parameters": sum(p.numel() for p in student.parameters()),
        "input_size": student.input_size,
        "megabytes": {kind: file_of(args.out, name, kind).stat().st_size / 1e6 for kind in KINDS},
        "faces_per_s": {},
    }


def accuracy(file: Path, args) -> float:
    """Accuracy on the pairs, in per cent."""
    return PairEvaluator(OnnxTeacher(file), args.pairs).evaluate(args.px, "lr-lr")["accuracy"]


def key_of(kind: str, batch: int, threads: int) -> str:
    """The key of a rate in frontier.json."""
    return f"{kind}/{batch}" if threads == 1 else f"{kind}/{batch}/{threads}"


def prepare(file: Path, batch: int, threads: int):
    """A call that runs one batch, already warmed up. Options other than threads are onnxruntime's defaults."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Idle threads of one session would otherwise spin on the cores of the next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    data = session.get_inputs()[0]
    images = np.random.default_rng(0).uniform(-1, 1, (batch, 3, *data.shape[2:])).astype(np.float32)
    session.run(None, {data.name: images})
    return lambda: session.run(None, {data.name: images})


def rate_of(call) -> float:
    """Calls per second, measured over at least `LEAST_SECONDS`."""
    started, calls, seconds = time.perf_counter(), 0, 0.0
    while seconds < LEAST_SECONDS:
        call()
        calls += 1
        seconds = time.perf_counter() - started
    return calls / seconds


def target_row(args) -> Row:
    """Time per image of the large network over that of the small one: fp32, batch 1, one thread."""
    calls = {name: prepare(file_of(args.out, name, "fp32"), 1, 1) for name in (LARGE, SMALL)}
    # Images per turn, so that turns of both take about equally long.
    images = {LARGE: 2, SMALL: 300}
    seconds = in_turns({name: functools.partial(repeat, call, images[name]) for name, call in calls.items()}, args.turns)
    large, small = ([turn / images[name] for turn in seconds[name]] for name in (LARGE, SMALL))
    detail = f"{1 / statistics.median(small):,.0f} against {1 / statistics.median(large):,.0f} images/s"
    return compare(f"{SMALL} at 16 px / {LARGE} at 112 px, fp32, batch 1, one thread", AT_LEAST, 150, large, small, detail)


def repeat(call, times: int) -> None:
    for _ in range(times):
        call()


def table(rows: dict[str, dict], threads: int) -> str:
    """Markdown: images per second, in brackets the ratio to the first network's fp32 at the same batch."""
    cells = [(kind, batch) for kind in KINDS for batch in BATCHES]
    head = ["network", "parameters", "px", *(f"{kind}, batch {batch}" for kind, batch in cells), "MB", "accuracy, fp32; int8"]
    lines = [head, ["---"] * len(head)]
    first = next(iter(rows.values()))["faces_per_s"]
    for name, row in rows.items():
        rates = {cell: row["faces_per_s"][key_of(*cell, threads)] for cell in cells}
        speeds = [f"{rate:,.0f} ({rate / first[key_of('fp32', batch, threads)]:.2f})" for (_, batch), rate in rates.items()]
        accuracies = "; ".join(f"{row['accuracy'][kind]:.2f}" for kind in KINDS) if "accuracy" in row else ""
        size = "; ".join(f"{row['megabytes'][kind]:.2f}" for kind in KINDS)
        lines.append([name, f"{row['parameters']:,}", str(row["input_size"]), *speeds, size, accuracies])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
