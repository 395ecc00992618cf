"""Check this machine's GPU against its CPU on drawn faces, and print a table for docs/benchmarks/gpu.md.

    python tools/check_gpu.py [--only CHECK ...] [--arcface-torch DIR] [--minutes 10] [--limit 300] [--scratch DIR]
                              [--device cpu] [--fake]

The same as `aird doctor --gpu`. Each check has a process of its own and a time limit: one that fails or hangs is a row of the
table, and the others run. --device cpu compares the CPU with itself on less data, which tests the checks. --fake follows every
recipe with CUDA tensors that hold no data, for mixed devices, on a machine without a GPU. Exit code 1 for a failed check, 2
without a GPU.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

from aird_plugin.utils.paths import expand_arguments


def main() -> int:
    args = arguments()
    if args.fake:
        from aird_plugin.diagnostics.gpu.fake import run_fake

        return run_fake()
    from aird_plugin.diagnostics.gpu.suite import run_checks

    return run_checks(args.device, args.only, args.arcface_torch, args.minutes, args.scratch, args.limit)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="CHECK", nargs="+", default=())
    parser.add_argument("--arcface-torch", metavar="DIR", help="a checkout, for the check inside its loop")
    parser.add_argument("--minutes", type=float, default=10.0, help="begin no check, and no further recipe, after this time")
    parser.add_argument("--limit", metavar="S", type=float, default=300.0, help="end a check after these seconds; it has failed")
    parser.add_argument("--scratch", metavar="DIR", help="keep images, banks and runs in this folder")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--fake", action="store_true")
    return expand_arguments(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
