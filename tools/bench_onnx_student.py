"""A network read back from its .onnx file (network="onnx") against the network that was exported: training step and inference.

    python tools/bench_onnx_student.py [--networks r18 mbf] [--batch 16] [--turns 7] [--device auto] [--json FILE]

Both have the same weights and compute the same embeddings; BatchNorm layers are not folded and in eval mode in both, as in
fine-tuning. A row is the median over the turns of seconds(.onnx) / seconds(original).
"""

import argparse
import io
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import torch
from torch import nn

from aird_plugin.models import build
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.utils.devices import pick_device
from aird_plugin.utils.memory import keep_freed_memory
from aird_plugin.utils.paths import expand_arguments
from tools.lib import ratios

TARGET = 1.3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["r18", "mbf"], help="names of models/registry.py with 112 px input")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", metavar="FILE")
    args = expand_arguments(parser.parse_args())
    keep_freed_memory()
    device = pick_device(args.device)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.networks:
            original = build(name, 512).eval()
            read_back = OnnxNetwork(write(original, Path(folder) / f"{name}.onnx"))
            pair = {"original": original, "onnx": read_back}
            pair = {key: net.to(device, memory_format=torch.channels_last) for key, net in pair.items()}
            rows += measure(name, pair, args)
    ratios.print_rows(rows, args.json)
    return 0


def measure(name: str, pair: dict[str, nn.Module], args: argparse.Namespace) -> list[ratios.Row]:
    """The row of a training step (forward and backward) and that of inference."""
    images = torch.rand(args.batch, 3, 112, 112, device=next(pair["onnx"].parameters()).device) * 2 - 1
    images = images.contiguous(memory_format=torch.channels_last)
    rows = []
    for what, work in (("training step", step), ("inference", infer)):
        calls = {key: ratios.finished(partial(work, net, images), images.device.type) for key, net in pair.items()}
        seconds = ratios.in_turns(calls, args.turns)
        rate = args.batch / sorted(seconds["onnx"])[len(seconds["onnx"]) // 2]
        detail = f"{rate:.0f} images/s, batch {args.batch}, {torch.get_num_threads()} threads, {images.device.type}"
        rows.append(ratios.compare(f"{name}, {what}", ratios.AT_MOST, TARGET, seconds["onnx"], seconds["original"], detail))
    return rows


def step(network: nn.Module, images_B3SS: torch.Tensor) -> None:
    """Forward and backward."""
    network.zero_grad(set_to_none=True)
    network(images_B3SS).square().mean().backward()


def infer(network: nn.Module, images_B3SS: torch.Tensor) -> None:
    """Forward without gradient."""
    with torch.inference_mode():
        network(images_B3SS)


def write(network: nn.Module, path: Path) -> Path:
    """Export without folding BatchNorms into convolutions."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, 112, 112),),
            file,
            input_names=["data"],
            output_names=["embedding"],
            opset_version=17,
            dynamo=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamic_axes={"data": {0: "batch"}, "embedding": {0: "batch"}},
        )
    path.write_bytes(file.getvalue())
    return path


if __name__ == "__main__":
    sys.exit(main())
