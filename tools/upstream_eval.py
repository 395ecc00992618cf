"""InsightFace's own evaluation of a student, with arcface_torch's unmodified scripts.

On IJB-C or IJB-B in InsightFace's layout (IJBC/meta, IJBC/loose_crop): eval_ijbc.py for a run folder or .pt, onnx_ijbc.py for an
.onnx or an exported folder. Scores go to OUT/ijbc.npy:
    python tools/upstream_eval.py ijb MODEL --arcface-torch DIR --image-path IJBC --target IJBC --result-dir OUT
On 112 px pairs, with eval/verification.py:
    python tools/upstream_eval.py verification MODEL --arcface-torch DIR --pairs lfw.bin agedb_30.bin
"""

import argparse
import os
import sys
from pathlib import Path

from aird_plugin.cli.recipe_arguments import add_checkout_argument
from aird_plugin.utils.errors import describe
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.threads import bound_spinning


def main(argv: list[str] | None = None) -> int:
    """Run with the arguments of the command line. Returns the exit status."""
    bound_spinning()
    args = expand_arguments(argument_parser().parse_args(argv))
    try:
        if not args.arcface_torch:
            raise ValueError("no checkout given; set --arcface-torch DIR, or ARCFACE_TORCH in the environment")
        args.work(args)
    except Exception as error:
        if os.environ.get("AIRD_DEBUG") == "1":
            raise
        print(f"error: {describe(error)}", file=sys.stderr)
        return 1
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tools = parser.add_subparsers(required=True, metavar="TOOL")
    ijb = tools.add_parser("ijb", help="template verification on IJB-C or IJB-B")
    ijb.add_argument("--image-path", metavar="DIR", required=True, help="folder with meta and loose_crop")
    ijb.add_argument("--target", default="IJBC", help="IJBC or IJBB (IJBC)")
    ijb.add_argument("--result-dir", metavar="OUT", required=True, help="folder for the scores")
    ijb.set_defaults(work=run_ijb)
    verification = tools.add_parser("verification", help="verification of 112 px pairs")
    verification.add_argument("--pairs", metavar="FILE", nargs="+", required=True, help="InsightFace verification files (.bin)")
    verification.add_argument("--network", metavar="NAME", help="architecture of a bare .pt of a native student")
    verification.set_defaults(work=run_verification)
    for tool in (ijb, verification):
        tool.add_argument("model", metavar="MODEL", help="a run folder, an exported folder, an .onnx file or a .pt file")
        add_checkout_argument(tool)
    return parser


def run_ijb(args) -> None:
    """Run upstream's script, which prints its table."""
    from aird_plugin.bridge.tools import ijb

    print(f"scores: {ijb(args.arcface_torch, args.model, args.image_path, args.target, args.result_dir)}")


def run_verification(args) -> None:
    """Print lines in the format of upstream's verification callback."""
    from aird_plugin.bridge.tools import verify

    for file in args.pairs:
        accuracy, std, xnorm = verify(args.arcface_torch, args.model, file, args.network)
        name = Path(file).stem
        print(f"[{name}]XNorm: {xnorm:f}\n[{name}]Accuracy-Flip: {accuracy:1.5f}+-{std:1.5f}")


if __name__ == "__main__":
    sys.exit(main())
