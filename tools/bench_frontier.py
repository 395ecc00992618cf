"""Accuracy against speed: networks in onnxruntime on one CPU thread, a face at a time and 64, fp32 and static int8.

    python tools/bench_frontier.py OUT native16_0.2m native16_1m native16_1m_dw runs/my_run ... [--faces FILE] [--pairs FILE.bin]

A NETWORK is a name, with random weights (its speed is a trained one's), or a run folder, whose student is then also verified on
--pairs (LR-LR at --px). All are timed in turns in one process, the best of all turns; ratios are to the first network's fp32.
--faces calibrates int8 (RecordIO, folder or .bin); without it noise does, which tells speed and no accuracy. OUT keeps the files
and frontier.json: the same command goes on from there, and --turns more are added to those done.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from aird_plugin.evaluation.load import load_model
from aird_plugin.evaluation.protocol import Session
from aird_plugin.export.check import sample_faces, seen_by
from aird_plugin.export.graph import write_onnx
from aird_plugin.export.quantise import quantise
from aird_plugin.files import write_atomically
from aird_plugin.models import build
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.teacher import file_sha256
from aird_plugin.progress import progress

BATCHES = (1, 64)
KINDS = ("fp32", "int8")
# A turn lasts at least so long: a single face of a small network is over in microseconds.
LEAST_SECONDS = 0.02


def main() -> int:
    args = parse()
    args.out.mkdir(parents=True, exist_ok=True)
    place = args.out / "frontier.json"
    known = read(place, args)
    calibrators = None
    names = [network.rstrip("/") for network in args.networks]
    for name in names:
        if name not in known or known[name]["weights"] != weights_of(name):
            calibrators = faces_for(args) if calibrators is None else calibrators
            known[name] = export(name, args, calibrators)
            keep(place, known)
        if args.pairs and Path(name).is_dir() and "accuracy" not in known[name]:
            known[name]["accuracy"] = {kind: accuracy(file_of(args.out, name, kind), args) for kind in KINDS}
            keep(place, known)
    cells = [(name, kind, batch) for name in names for kind in KINDS for batch in BATCHES]
    calls = {cell: prepare(file_of(args.out, *cell[:2]), cell[2]) for cell in cells}
    for _ in progress(range(args.turns), args.turns, "turns", "turns"):
        for (name, kind, batch), call in calls.items():
            rates = known[name]["faces_per_s"]
            rates[f"{kind}/{batch}"] = max(rates.get(f"{kind}/{batch}", 0.0), batch * rate_of(call))
        keep(place, known)
    print(table({name: known[name] for name in names}))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("networks", nargs="+", metavar="NETWORK")
    parser.add_argument("--embedding-size", type=int, default=128)
    parser.add_argument("--faces")
    parser.add_argument("--count", type=int, default=512, help="faces for calibration. default: 512")
    parser.add_argument("--pairs")
    parser.add_argument("--px", type=int, default=16)
    parser.add_argument("--turns", type=int, default=10)
    return parser.parse_args()


def read(place: Path, args) -> dict:
    """What is known already, a row for each network. Exits where it was asked otherwise."""
    settings = {key: getattr(args, key) for key in ("embedding_size", "faces", "count", "pairs", "px")}
    if not place.exists():
        return {"settings": settings}
    known = json.loads(place.read_text())
    if known["settings"] != settings:
        sys.exit(f"error: {place} was measured with {known['settings']}, now {settings}; name another OUT")
    return known


def keep(place: Path, known: dict) -> None:
    write_atomically(place, json.dumps(known, indent=1).encode())


def weights_of(name: str) -> str | None:
    """Digest of a run's student; None for random weights."""
    return file_sha256(Path(name) / "model.pt") if Path(name).is_dir() else None


def file_of(out: Path, name: str, kind: str) -> Path:
    return out / f"{name.replace('/', '_')}.{kind}.onnx"


def faces_for(args) -> np.ndarray:
    """112 px faces for calibration, or noise. uint8 (N, 112, 112, 3)"""
    if args.faces:
        return sample_faces(args.faces, args.count)
    return np.random.default_rng(0).integers(0, 256, (64, 112, 112, 3), np.uint8)


def export(name: str, args, faces_N: np.ndarray) -> dict:
    """Write both files of a network; what is to be said of them."""
    torch.manual_seed(0)
    student = load_model(name) if Path(name).is_dir() else build(name, args.embedding_size).eval()
    fp32, int8 = (file_of(args.out, name, kind) for kind in KINDS)
    write_onnx(student, fp32, {})
    quantise(fp32, int8, seen_by(student.input_size, faces_N))
    return {
        "weights": weights_of(name), "parameters": sum(p.numel() for p in student.parameters()), "input_size": student.input_size,
        "megabytes": {kind: file_of(args.out, name, kind).stat().st_size / 1e6 for kind in KINDS}, "faces_per_s": {},
    }  # fmt: skip


def accuracy(file: Path, args) -> float:
    """Per cent correct on the pairs."""
    return Session(OnnxTeacher(file), args.pairs).evaluate(args.px, "lr-lr")["accuracy"]


def prepare(file: Path, batch: int):
    """One call on one batch, warmed up, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    data = session.get_inputs()[0]
    faces = np.random.default_rng(0).uniform(-1, 1, (batch, 3, *data.shape[2:])).astype(np.float32)
    session.run(None, {data.name: faces})
    return lambda: session.run(None, {data.name: faces})


def rate_of(call) -> float:
    """Calls a second: as many as fill `LEAST_SECONDS`."""
    started, calls, seconds = time.perf_counter(), 0, 0.0
    while seconds < LEAST_SECONDS:
        call()
        calls += 1
        seconds = time.perf_counter() - started
    return calls / seconds


def table(rows: dict[str, dict]) -> str:
    """Markdown: faces a second, in brackets the ratio to the first network's fp32 at the same batch."""
    cells = [(kind, batch) for kind in KINDS for batch in BATCHES]
    head = ["network", "parameters", "px", *(f"{kind}, batch {batch}" for kind, batch in cells), "MB", "accuracy, fp32; int8"]
    lines = [head, ["---"] * len(head)]
    first = next(iter(rows.values()))["faces_per_s"]
    for name, row in rows.items():
        rates = row["faces_per_s"]
        told = [
            f"{rates[f'{kind}/{batch}']:,.0f} ({rates[f'{kind}/{batch}'] / first[f'fp32/{batch}']:.2f})" for kind, batch in cells
        ]
        known = "; ".join(f"{row['accuracy'][kind]:.2f}" for kind in KINDS) if "accuracy" in row else ""
        size = "; ".join(f"{row['megabytes'][kind]:.2f}" for kind in KINDS)
        lines.append([name, f"{row['parameters']:,}", str(row["input_size"]), *told, size, known])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
