"""Time of recognition in one process on one thread: detection, crops, embedding and search for 1, 10 and 50 faces of a frame.

    python tools/bench_recognition.py --detector det_500m.onnx [--student FOLDER] [--turns 7]
    python tools/bench_recognition.py --detector det_500m.onnx --compare native16_1m native16_0.2m [--int8]

InsightFace's photo t1 is a frame of 1280x886 px, with 16 px faces at random places in it; beside ours stands InsightFace's own
loop, which warps and embeds face after face with arcface_torch's mbf at 112 px (random weights, exported). The student is a
native network with random weights (--network) where no export is named. Everything runs in turns; the median counts. Times are
processor time of the process, so that other processes on the machine change them less. Larger galleries: bench_search.py.

The second form compares networks (random weights): 50 faces in one call and one by one, as parts of the detection's time;
with --int8 each of them also as `aird export --int8` writes it, calibrated on those faces.
"""

import argparse
import functools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()
# One thread in NumPy too; it reads this when it is imported.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch

from aird_plugin.alignment.crop import template
from aird_plugin.export.graph import write_onnx
from aird_plugin.export.quantise import quantise
from aird_plugin.models import build
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.recognition.crops import face_crops, face_sizes
from aird_plugin.recognition.index import Index
from aird_plugin.recognition.network import Network
from aird_plugin.recognition.networks import open_models
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.vectors import normalise
from tools.lib.ratios import in_turns

FACES = (1, 10, 50)
PX = 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", required=True, help="InsightFace detector, .onnx")
    parser.add_argument("--student", help="an exported folder; default: --network with random weights")
    parser.add_argument("--network", default="native16_1m", help="default: native16_1m")
    parser.add_argument("--embedding-size", type=int, default=128, help="width of networks with random weights. default: 128")
    parser.add_argument("--compare", nargs="+", metavar="NETWORK", help="instead compare these networks on 50 faces")
    parser.add_argument("--int8", action="store_true", help="with --compare: each network in int8 too")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--gallery", type=int, nargs="+", default=[1000, 100_000], help="templates of the search column")
    args = expand_arguments(parser.parse_args())
    torch.set_num_threads(1)
    bench_networks(args) if args.compare else bench_frame(args)
    return 0


def bench_frame(args: argparse.Namespace) -> None:
    """Print the table of one frame."""
    from insightface.data import get_image

    frame_HWC = get_image("t1").copy()
    with tempfile.TemporaryDirectory() as folder:
        detector, mbf, student = open_all(args, Path(folder))
    print(f"{frame_HWC.shape[1]}x{frame_HWC.shape[0]} frame, {PX} px faces, one thread, median of {args.turns}; ms\n")
    sizes = [f"search {size:,}" for size in args.gallery]
    columns = [
        "faces",
        "detection",
        "crops",
        "embedding",
        *sizes,
        "FaceAnalysis' loop",
        "loop / ours",
        "ours / detection",
        "frames/s",
    ]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    indexes = [Index(units(size, student.model.dim, 0)) for size in args.gallery]
    for count in FACES:
        took = time_faces(frame_HWC, count, (detector, mbf, student), dict(zip(sizes, indexes, strict=True)), args.turns)
        ours = took["crops"] + took["embedding"]
        cells = [took["detection"], took["crops"], took["embedding"], *(took[size] for size in sizes), took["loop"]]
        fps = 1000 / (took["detection"] + ours + took[sizes[0]])
        ratios = [f"{took['loop'] / ours:.1f}", f"{ours / took['detection']:.2f}", f"{fps:.1f}"]
        print(f"| {' | '.join([str(count), *(f'{ms:.2f}' for ms in cells), *ratios])} |", flush=True)


def bench_networks(args: argparse.Namespace) -> None:
    """Print the time of each network for 50 faces beside the detection's."""
    from insightface.data import get_image

    frame_HWC, count = get_image("t1").copy(), FACES[-1]
    points_F52 = places(frame_HWC, count)
    detector = open_detector(args.detector)
    with tempfile.TemporaryDirectory() as folder:
        students = {name: open_student(name, args.embedding_size, Path(folder)) for name in args.compare}
        crops = {student.side: face_crops(frame_HWC, *face_sizes(points_F52), student.side) for student in students.values()}
        if args.int8:
            students |= {f"{name}, int8": open_int8(one, crops[one.side], Path(folder)) for name, one in students.items()}
    calls: dict[str, Callable] = {"detection": lambda: detector.detect(frame_HWC)}
    for name, student in students.items():
        own = crops[student.side]
        calls[f"crops, {student.side} px"] = functools.partial(face_crops, frame_HWC, *face_sizes(points_F52), student.side)
        calls[name] = functools.partial(student.embed, own)
        calls[f"{name}, one by one"] = functools.partial(one_by_one, student, own)
    took = median_ms(calls, args.turns)
    print(f"{count} faces, one thread, median of {args.turns}\n\n| | ms | / detection |\n|---|---|---|")
    for name, ms in took.items():
        print(f"| {name} | {ms:.2f} | {ms / took['detection']:.3f} |")


def one_by_one(student: Network, crops: np.ndarray) -> None:
    """Embed each crop in a call of its own."""
    for row in range(len(crops)):
        student.embed(crops[row : row + 1])


def time_faces(frame_HWC: np.ndarray, count: int, networks: tuple, indexes: dict[str, Index], turns: int) -> dict[str, float]:
    """The time of each stage for `count` faces, in ms."""
    from insightface.app.common import Face

    detector, mbf, student = networks
    points_F52 = places(frame_HWC, count)
    faces = [Face(kps=points_52.astype(np.float32)) for points_52 in points_F52]
    crops = face_crops(frame_HWC, *face_sizes(points_F52), student.side)
    e_FD = normalise(student.embed(crops)).astype(np.float32)
    calls: dict[str, Callable] = {
        "detection": lambda: detector.detect(frame_HWC),
        "crops": lambda: face_crops(frame_HWC, *face_sizes(points_F52), student.side),
        "embedding": lambda: student.embed(crops),
        "loop": lambda: [mbf.get(frame_HWC, face) for face in faces],
    }
    calls |= {name: functools.partial(index.search, e_FD, 5) for name, index in indexes.items()}
    return median_ms(calls, turns)


def open_all(args: argparse.Namespace, folder: Path):
    """InsightFace's detector and mbf recogniser on one thread, and the student."""
    torch.manual_seed(0)
    write_onnx(build("mbf", 512), folder / "mbf.onnx", {})
    mbf = open_insightface(folder / "mbf.onnx")
    if args.student:
        student = open_models([Path(args.student)]).students[0]
    else:
        student = open_student(args.network, args.embedding_size, folder)
    return open_detector(args.detector), mbf, student


def open_insightface(file: str | Path):
    """A model of InsightFace on one thread."""
    import onnxruntime
    from insightface.model_zoo import get_model

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return get_model(str(file), providers=["CPUExecutionProvider"], sess_options=options)


def open_detector(file: str):
    """InsightFace's detector, for the frame's own size."""
    detector = open_insightface(file)
    detector.prepare(-1, input_size=(1280, 896), det_thresh=0.5)
    return detector


def open_student(name: str, embedding_size: int, folder: Path) -> Network:
    """A network with random weights from an .onnx file in the folder."""
    write_onnx(build(name, embedding_size), folder / f"{name}.onnx", {})
    return open_models([folder / f"{name}.onnx"]).networks[0]


def open_int8(student: Network, crops_FSSC: np.ndarray, folder: Path) -> Network:
    """The int8 version of a network, calibrated on these crops."""
    source = student.model
    assert isinstance(source, OnnxTeacher)
    target = folder / f"{source.path.stem}_int8.onnx"
    quantise(source, target, crops_FSSC)
    return open_models([target]).networks[0]


def places(frame_HWC: np.ndarray, count: int) -> np.ndarray:
    """Landmarks of `count` faces of 16 px, a little rotated, at random places of the frame. float64 (F, 5, 2)."""
    rng = np.random.default_rng(0)
    limit = np.array(frame_HWC.shape[1::-1]) - 2 * PX
    angles = rng.uniform(-0.3, 0.3, count)
    turn_F22 = np.array([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]]).transpose(2, 0, 1)
    return template() * (PX / 112) @ turn_F22 + (rng.uniform(0, 1, (count, 1, 2)) * limit + PX / 2)


def median_ms(calls: dict[str, Callable], turns: int) -> dict[str, float]:
    """The median processor time of each call in ms."""
    seconds = in_turns(calls, turns, clock=time.process_time)
    return {name: 1000 * statistics.median(own) for name, own in seconds.items()}


def units(count: int, width: int, seed: int) -> np.ndarray:
    """Random unit vectors, float32 (count, width)."""
    rows = np.random.default_rng(seed).standard_normal((count, width), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


if __name__ == "__main__":
    sys.exit(main())
