"""Speed of reading images: our reader and the packed bank against MXNet's with arcface_torch's transforms; the resize in a step.

    python tools/bench_reading.py --rec data/faces15k --mxnet-python PYTHON

PYTHON has mxnet 1.9.1 and Pillow, preferably also torch and torchvision. A child process of it reads the same records, decodes
them and applies arcface_torch's transforms (ToPILImage, flip, ToTensor, Normalize; without torchvision the same steps in Pillow
and numpy, as the row states). Its decoded pixels must equal ours. Everything runs on one core.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np
import torch

from aird_plugin.data.bank.build import open_image_cache
from aird_plugin.data.bank.config import BankConfig
from aird_plugin.data.batches import BankFaces
from aird_plugin.data.lowres import low_faces, low_faces_torch, resize_faces, resize_torch, to_input
from aird_plugin.data.records import decode_face, open_records
from aird_plugin.data.sampler import BatchSampler
from aird_plugin.models import build
from aird_plugin.utils.memory import keep_freed_memory
from aird_plugin.utils.paths import expand_arguments
from tools.lib.ratios import AT_LEAST, AT_MOST, Row, compare, in_turns, print_rows

# The px of most recipes, and of those that draw the size in every step.
PACKED_PX = (16, 112)
CHILD = r"""
import json, random, sys, time
import mxnet as mx, numpy as np
from PIL import Image
try:
    import torch
    from torchvision import transforms
    torch.set_num_threads(1)
    transform = transforms.Compose([transforms.ToPILImage(), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
                                    transforms.Normalize([0.5] * 3, [0.5] * 3)])
    how = "torchvision"
except ImportError:
    how = "torchvision's steps with Pillow and numpy"
    def transform(sample):
        image = Image.fromarray(sample)
        if random.random() < 0.5:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        chw = np.ascontiguousarray(np.array(image).transpose(2, 0, 1)).astype(np.float32) / 255
        chw -= np.float32(0.5)
        chw /= np.float32(0.5)
        return chw
rec, keys = sys.argv[1], json.loads(sys.argv[2])
reader = mx.recordio.MXIndexedRecordIO(rec[:-3] + "idx", rec, "r")
def decoded(key):
    return mx.image.imdecode(mx.recordio.unpack(reader.read_idx(key))[1]).asnumpy()
print(json.dumps({"how": how, "mxnet": mx.__version__}), flush=True)
for line in sys.stdin:
    if line.strip():
        np.save(line.strip(), np.stack([decoded(key) for key in keys]))
        print(0.0, flush=True)
        continue
    started = time.perf_counter()
    for key in keys:
        transform(decoded(key))
    print(time.perf_counter() - started, flush=True)
"""


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    keep_freed_memory()
    torch.set_num_threads(1)
    records = open_records(args.rec)
    rows_B = np.random.default_rng(0).permutation(len(records))[: args.faces]
    rows = against_mxnet(args, records, rows_B) if args.mxnet_python else []
    if not args.mxnet_python:
        print("without --mxnet-python PYTHON the rows against MXNet's reader are skipped", flush=True)
    print_rows([*rows, resize_share(args, records, rows_B)], args.json)
    return 0


def arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rec", default=f"{os.environ.get('AIRD_DATA', 'data')}/faces15k", help="folder with train.rec")
    parser.add_argument("--faces", type=int, default=1000, help="images per turn")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--mxnet-python", help="Python interpreter with mxnet 1.9.1")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for the resize in a step")
    parser.add_argument("--network", default="r18", help="network of that step")
    parser.add_argument("--batch", type=int, default=96, help="batch size of that step")
    parser.add_argument("--json", help="also write the rows to this file")
    return expand_arguments(parser.parse_args(argv))


def read_all(records, rows_B: np.ndarray) -> np.ndarray:
    """The HR images of the rows in one array. uint8 (B, 112, 112, 3)."""
    images_BHWC = np.empty((len(rows_B), 112, 112, 3), np.uint8)
    for image_HWC, row in zip(images_BHWC, rows_B, strict=True):
        image_HWC[:] = decode_face(records, int(row))
    return images_BHWC


def against_mxnet(args, records, rows_B: np.ndarray) -> list[Row]:
    """Reading and decoding, and the packed banks, each against MXNet's reader."""
    keys = json.dumps([int(records.keys[row]) for row in rows_B])
    one_core = os.environ | {"OMP_NUM_THREADS": "1", "MXNET_CPU_WORKER_NTHREADS": "1"}
    command = [args.mxnet_python, "-c", CHILD, str(records.path), keys]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_core) as child,
    ):

        def send(line: str) -> str:
            child.stdin.write(line + "\n")
            child.stdin.flush()
            return next_line(child)

        about = json.loads(next_line(child))
        pixels = Path(folder) / "pixels.npy"
        send(str(pixels))
        if not np.array_equal(np.load(pixels), read_all(records, rows_B)):
            raise ValueError(f"MXNet decodes the images of {records.path} to other pixels than ours")
        banks = {px: packed(records, rows_B, folder, px) for px in PACKED_PX}
        theirs: list[float] = []
        calls = {"ours": lambda: read_all(records, rows_B), "theirs": lambda: theirs.append(float(send("")))}
        seconds = in_turns(calls | {px: partial(epoch_of, bank) for px, bank in banks.items()}, args.turns)
        child.stdin.close()
    # Seconds by the child's clock; its first turn was the warm-up.
    theirs, versions = theirs[-args.turns :], f"MXNet {about['mxnet']}, {about['how']}"

    def against(ours: list[float]) -> str:
        mine, other = (1e6 * np.median(times) / len(rows_B) for times in (ours, theirs))
        return f"{mine:.3g} us per image against {other:.3g}; {versions}"

    read = compare("RecordIO read and decode", AT_LEAST, 8, theirs, seconds["ours"], f"{against(seconds['ours'])}; pixels equal")
    return [read] + [
        compare(f"{px} px images from the packed bank", AT_LEAST, 100, theirs, seconds[px], against(seconds[px])) for px in banks
    ]


def epoch_of(bank: BankFaces) -> None:
    """Read every batch once."""
    for number in range(bank.sampler.batches_per_epoch):
        bank[number]


def next_line(child) -> str:
    """The child's next line. Raises ValueError if it died; its own error is on stderr."""
    line = child.stdout.readline()
    if not line:
        raise ValueError(f"{child.args[0]} stopped; --mxnet-python names an interpreter with mxnet 1.9.1 and Pillow")
    return line


def packed(records, rows_B: np.ndarray, folder: str, px: int) -> BankFaces:
    """These images as a bank of `px`, in batches as in training."""

    class Chosen:
        path, labels, num_classes = records.path, records.labels[rows_B], records.num_classes
        __len__ = staticmethod(lambda: len(rows_B))
        payload = staticmethod(lambda row: records.payload(int(rows_B[row])))
        fingerprint = staticmethod(lambda: "chosen")

    images = open_image_cache(BankConfig(bank=f"{folder}/bank"), Chosen(), px)
    return BankFaces(BatchSampler(len(rows_B), 2, len(rows_B) // max(1, len(rows_B) // 100), 0), images, None, None)


def resize_share(args, records, rows_B: np.ndarray) -> Row:
    """Downsampling to 16 px and upsampling on the device, as a share of a step; difference to Pillow in grey levels."""
    hr_BHWC = read_all(records, np.resize(rows_B, args.batch))
    images_BHWC = torch.from_numpy(hr_BHWC).to(args.device)
    small_BSSC = low_faces(hr_BHWC, 16, grow=False)
    error = np.abs(low_faces_torch(images_BHWC, 16, grow=False).cpu().numpy().astype(int) - small_BSSC).max()
    upsampled = resize_torch(torch.from_numpy(small_BSSC).to(args.device), 112).cpu().numpy().astype(int)
    error = max(error, np.abs(upsampled - resize_faces(small_BSSC, 112)).max())
    if error > (args.device != "cpu"):
        raise ValueError(f"the resize on {args.device} is {error} grey levels from Pillow's")
    network = build(args.network).to(args.device, memory_format=torch.channels_last)
    side = network.input_size

    def synchronise() -> None:
        if args.device != "cpu":
            torch.cuda.synchronize()

    def resize():
        low_faces_torch(images_BHWC, 16)
        synchronise()

    def step():
        network.zero_grad()
        with torch.autocast(args.device, torch.bfloat16, enabled=args.device != "cpu"):
            network(to_input(resize_torch(images_BHWC, side))).square().mean().backward()
        synchronise()

    seconds = in_turns({"resize": resize, "step": step}, args.turns)
    times = f"{1e3 * np.median(seconds['resize']):.3g} ms of {1e3 * np.median(seconds['step']):.3g} ms"
    detail = f"{times}; {args.device}, {args.network}, batch {args.batch}, at most {error} grey levels from Pillow"
    return compare("downsampling to 16 px and upsampling / a step", AT_MOST, 0.01, seconds["resize"], seconds["step"], detail)


if __name__ == "__main__":
    sys.exit(main())
