"""The picture of docs/data.md: drawn faces, and blends of each with another one.

    python tools/draw_blends_picture.py [--out docs/pictures/blends.jpg]

The first row are drawn faces of eight identities; below each stand two blends that a training set of these images would have with
turned=0.5 and cut=0.5.
"""

import argparse
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np
from PIL import Image

from aird_plugin.data.blended_records import draw_blend, make_blend
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.paths import expand_arguments

OUT = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "blends.jpg"
FACES, BLENDS = 8, 2


def main() -> None:
    """Draw, blend, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, help="default: docs/pictures/blends.jpg")
    args = expand_arguments(parser.parse_args())
    faces = [draw_person(label, 0) for label in range(FACES)]
    blends = [draw_blend(row, FACES, turned=0.5, cut=0.5) for row in range(FACES, FACES * (1 + BLENDS))]
    images = np.stack([*faces, *(make_blend(blend, faces[blend.first], faces[blend.second]) for blend in blends)])
    side = images.shape[1]
    grid = images.reshape(1 + BLENDS, FACES, side, side, 3).swapaxes(1, 2).reshape((1 + BLENDS) * side, FACES * side, 3)
    file = io.BytesIO()
    Image.fromarray(grid).save(file, "JPEG", quality=88, optimize=True)
    write_atomically(args.out, file.getvalue())
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
