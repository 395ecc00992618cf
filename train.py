"""torchrun train.py RECIPE [key=value ...]: the same as `aird train`."""

import sys

from aird_plugin.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
