"""InsightFace's own evaluation of a student, by arcface_torch's unmodified scripts.

On IJB-C or IJB-B as InsightFace lays them out (IJBC/meta, IJBC/loose_crop): eval_ijbc.py for a run folder or .pt, onnx_ijbc.py
for an .onnx or a folder that `aird export` made. Scores go to OUT/ijbc.npy:
    python tools/upstream_eval.py ijb MODEL --arcface-torch DIR --image-path IJBC --target IJBC --result-dir OUT
On pairs of sharp faces, by eval/verification.py:
    python tools/upstream_eval.py verification MODEL --arcface-torch DIR --pairs lfw.bin agedb_30.bin
"""

import argparse
import os
import sys
from pathlib import Path

from aird_plugin.__main__ import add_checkout_argument
from aird_plugin.errors import describe
from aird_plugin.paths import expand_arguments
from aird_plugin.threads import bound_spinning


def main(argv: list[str] | None = None) -> int:
    """Run with the arguments of the command line. Returns the exit status."""
    bound_spinning()
    args = expand_arguments(argument_parser().parse_args(argv))
    try:
        if not args.arcface_torch:
            raise ValueError("name the checkout: --arcface-torch DIR, or ARCFACE_TORCH in the environment")
        args.work(args)
    except Exception as error:
        if os.environ.get("AIRD_DEBUG") == "1":
            raise
        print(f"error: {describe(error)}", file=sys.stderr)
        return 1
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """The command line, all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tools = parser.add_subparsers(required=True, metavar="TOOL")
    ijb = tools.add_parser("ijb", help="template verification on IJB-C or IJB-B")
    ijb.add_argument("--image-path", metavar="DIR", required=True, help="the folder with meta and loose_crop")
    ijb.add_argument("--target", default="IJBC", help="IJBC or IJBB (IJBC)")
    ijb.add_argument("--result-dir", metavar="OUT", required=True, help="folder for the scores")
    ijb.set_defaults(work=run_ijb)
    verification = tools.add_parser("verification", help="pairs of sharp faces")
    verification.add_argument("--pairs", metavar="FILE", nargs="+", required=True, help="InsightFace verification files (.bin)")
    verification.add_argument("--network", metavar="NAME", help="architecture of a bare .pt of a native student")
    verification.set_defaults(work=run_verification)
    for tool in (ijb, verification):
        tool.add_argument("model", metavar="MODEL", help="a run folder, an exported folder, an .onnx file or a .pt file")
        add_checkout_argument(tool)
    return parser


def run_ijb(args) -> None:
    """Upstream prints its table."""
    from aird_plugin.bridge.tools import ijb

    print(f"scores: {ijb(args.arcface_torch, args.model, args.image_path, args.target, args.result_dir)}")


def run_verification(args) -> None:
    """Lines as upstream's verification callback logs them."""
    from aird_plugin.bridge.tools import verify

    for file in args.pairs:
        accuracy, std, xnorm = verify(args.arcface_torch, args.model, file, args.network)
        name = Path(file).stem
        print(f"[{name}]XNorm: {xnorm:f}\n[{name}]Accuracy-Flip: {accuracy:1.5f}+-{std:1.5f}")


if __name__ == "__main__":
    sys.exit(main())
