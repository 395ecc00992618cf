"""The picture of README: a drawn face at 112, 32, 16 and 8 px, and the cosines of the quickstart's teacher and student.

    python tools/draw_sizes_picture.py runs/quickstart [--out docs/pictures]

The first identity of the quickstart's test set, whom no network has seen. Under each size stands the mean cosine to three other
drawings of the same identity and to --identities other ones, at 112 px, embedded by the teacher. Writes sizes_light.png and
sizes_dark.png, and sizes.json with the cosines.
"""

import argparse
import io
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.lowres import low_faces
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.evaluation.embed import embed
from aird_plugin.evaluation.sides import as_network_input, input_side
from aird_plugin.models.load import load_model
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.paths import expand_arguments
from tools.quickstart import AIRD_COSINE, TEACHER

OUT = Path(__file__).resolve().parents[1] / "docs" / "pictures"
SIDES = (112, 32, 16, 8)
# The quickstart's test identities begin here; their drawings 1 to 3 are compared with drawing 0.
FIRST, OTHER_DRAWINGS = 100_000, (1, 2, 3)
ZOOM, GAP, LABELS, TEXT = 168, 16, 84, 86
# background, text, quiet text, the student's text
COLORS = {
    "light": ("#ffffff", "#1f2328", "#59636e", "#0969da"),
    "dark": ("#0d1117", "#e6edf3", "#9198a1", "#58a6ff"),
}


def main() -> None:
    """Measure, and write both pictures and the cosines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="output folder of tools/quickstart.py")
    parser.add_argument("--out", type=Path, default=OUT, help="default: docs/pictures")
    parser.add_argument("--identities", type=int, default=50, help="other identities. default: 50")
    args = expand_arguments(parser.parse_args())
    networks = {"teacher": load_model(args.folder / TEACHER), "student": load_model(args.folder / AIRD_COSINE)}
    rows = cosines(networks, args.identities)
    args.out.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out / "sizes.json", json.dumps({"kind": "faces", "rows": rows}, indent=1).encode())
    for scheme in COLORS:
        file = io.BytesIO()
        picture(rows, scheme).quantize(128, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        write_atomically(args.out / f"sizes_{scheme}.png", file.getvalue())
        print(f"{args.out / f'sizes_{scheme}.png'}: {len(file.getvalue()) / 1e3:.0f} kB")


def cosines(networks: dict, identities: int) -> list[dict]:
    """A row for each px: {"px", "network", "same", "other"}, the mean cosines to the same identity and to others."""
    teacher = networks["teacher"]
    same = np.stack([draw_person(FIRST, drawing) for drawing in OTHER_DRAWINGS])
    other = np.stack([draw_person(FIRST + 1 + number, 0) for number in range(identities)])
    same_ND, other_ND = (embed(teacher, as_network_input(images, FACE_SIDE, input_side(teacher))) for images in (same, other))
    face = draw_person(FIRST, 0)[None]
    rows = []
    for px in SIDES:
        for name, network in networks.items():
            [probe_D] = embed(network, as_network_input(face, px, input_side(network)))
            means = {"same": float((same_ND @ probe_D).mean()), "other": float((other_ND @ probe_D).mean())}
            rows.append({"px": px, "network": name} | means)
    return rows


def picture(rows: list[dict], scheme: str) -> Image.Image:
    """The faces side by side, each with its px above and a small table below."""
    background, text, quiet, strong = COLORS[scheme]
    width = LABELS + (ZOOM + GAP) * len(SIDES)
    image = Image.new("RGB", (width, 28 + ZOOM + TEXT), background)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    top = 28 + ZOOM + 30
    for line, (name, color) in enumerate((("teacher", text), ("student", strong))):
        draw.text((8, top + 22 * line), name, color, font)
    for column, px in enumerate(SIDES):
        left = LABELS + column * (ZOOM + GAP)
        [face] = low_faces(draw_person(FIRST, 0)[None], px, grow=False)
        image.paste(Image.fromarray(face).resize((ZOOM, ZOOM), Image.Resampling.NEAREST), (left, 28))
        draw.text((left + ZOOM / 2, 8), f"{px} px", text, font, "ma")
        for words, x in (("same", 42), ("another", 122)):
            draw.text((left + x, top - 22), words, quiet, font, "ma")
        for line, (name, color) in enumerate((("teacher", text), ("student", strong))):
            [row] = [row for row in rows if (row["px"], row["network"]) == (px, name)]
            for key, x in (("same", 42), ("other", 122)):
                draw.text((left + x, top + 22 * line), f"{row[key]:.2f}", color, font, "ma")
    return image


if __name__ == "__main__":
    main()
