"""The picture of docs/recognise.md: drawn faces in a frame, named by a real detector and recogniser.

    python tools/draw_recognise_picture.py det_500m.onnx recogniser.onnx

No person is shown: frame, gallery and the pairs on which the thresholds are measured are synthetic (data/synthetic). Six of the
eight identities are enrolled, from other drawings than those in the frame.
"""

import argparse
import io
import tempfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.lowres import resize_faces
from aird_plugin.data.pairs import write_pairs
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.calibration import Calibration
from aird_plugin.recognition.gallery import Gallery
from aird_plugin.recognition.match import UNKNOWN
from aird_plugin.recognition.measure import measure
from aird_plugin.utils.files import write_atomically

OUT = "docs/pictures/recognise.png"
WIDTH, HEIGHT, ZOOM = 620, 280, 1.5
# The detector sees the frame enlarged twice: SCRFD-500M finds five of the 13 drawn faces at 640 px, ten at 1,280 px.
DETECTION_SIZE = (1280, 608)
WALL, FRAME_EDGE = (196, 190, 180), (92, 84, 74)
# Wall around a portrait in the photos of the gallery: detectors need some, as share of its side.
MARGIN = 0.5
# (identity, drawing, left, top, side) of each portrait in the frame.
PORTRAITS = (
    (2, 0, 20, 30, 116),
    (0, 1, 168, 40, 96),
    (3, 2, 296, 46, 80),
    (5, 0, 408, 50, 68),
    (1, 3, 510, 54, 56),
    (6, 1, 30, 196, 50),
    (4, 1, 118, 200, 42),
    (7, 0, 200, 202, 38),
    (2, 2, 278, 204, 34),
    (0, 2, 354, 206, 30),
    (3, 0, 426, 208, 27),
    (5, 1, 494, 209, 24),
    (1, 1, 560, 211, 21),
)
NAMES = {0: "Ada", 1: "Ben", 2: "Cleo", 3: "Dan", 4: "Eva", 5: "Finn"}
ENROLLED_DRAWINGS = (10, 11, 12)
# Drawn pairs for the thresholds: identities that are not in the frame, and enough impostors for a rate of 1%.
PAIR_IDENTITIES, PAIR_DRAWINGS, IMPOSTORS = range(100, 130), 4, 1000
SIDES = (12, 16, 24, 32, 48, 64)
FAR = 0.01
COLORS = {"name": (22, 122, 104), UNKNOWN: (176, 58, 36), "": (84, 84, 84)}


def draw_frame() -> np.ndarray:
    """The frame without annotations, uint8 (HEIGHT, WIDTH, 3) RGB: portraits of falling size on a wall."""
    image_HWC = np.full((HEIGHT, WIDTH, 3), WALL, np.uint8)
    for identity, drawing, left, top, side in PORTRAITS:
        hang(image_HWC, identity, drawing, left, top, side)
    return image_HWC


def hang(image_HWC: np.ndarray, identity: int, drawing: int, left: int, top: int, side: int) -> None:
    """Draw a portrait of this side into an image."""
    image_HWC[top - 1 : top + side + 1, left - 1 : left + side + 1] = FRAME_EDGE
    image_HWC[top : top + side, left : left + side] = resize_faces(draw_person(identity, drawing)[None], side)[0]


def draw_photo(identity: int, drawing: int) -> np.ndarray:
    """A portrait on a wall, for the gallery."""
    margin = round(MARGIN * FACE_SIDE)
    image_HWC = np.full((FACE_SIDE + 2 * margin,) * 2 + (3,), WALL, np.uint8)
    hang(image_HWC, identity, drawing, margin, margin, FACE_SIDE)
    return image_HWC


def write_drawn_pairs(path: Path) -> None:
    """Every genuine pair of the drawings, and impostor pairs drawn from all of them."""
    shots = [(identity, drawing) for identity in PAIR_IDENTITIES for drawing in range(PAIR_DRAWINGS)]
    files = [encode_jpeg(draw_person(*shot)) for shot in shots]
    pairs = list(combinations(range(len(shots)), 2))
    same = np.array([shots[one][0] == shots[other][0] for one, other in pairs])
    impostors = np.random.default_rng(0).choice(np.flatnonzero(~same), IMPOSTORS, replace=False)
    chosen = np.sort(np.concatenate([np.flatnonzero(same), impostors]))
    images = [files[number] for row in chosen for number in pairs[row]]
    write_pairs(path, images, same[chosen].tolist())


def open_analysis(detector: str, models: Sequence[str]) -> TinyFaceAnalysis:
    """Detector and recognisers, with thresholds measured on drawn pairs."""
    analysis = TinyFaceAnalysis([detector, *models])
    analysis.prepare(-1, det_size=DETECTION_SIZE)
    networks = analysis.models.networks
    with tempfile.TemporaryDirectory() as folder:
        write_drawn_pairs(Path(folder) / "drawn.bin")
        analysis.calibration = Calibration(measure(networks, Path(folder) / "drawn.bin", SIDES)["entries"])
    return analysis


def enrol(analysis: TinyFaceAnalysis) -> Gallery:
    """The gallery of the named identities."""
    with tempfile.TemporaryDirectory() as folder:
        for identity, name in NAMES.items():
            (Path(folder) / name).mkdir()
            for drawing in ENROLLED_DRAWINGS:
                (Path(folder) / name / f"{drawing}.jpg").write_bytes(encode_jpeg(draw_photo(identity, drawing)))
        return Gallery.enrol(folder, analysis)


def annotate(image_HWC: np.ndarray, faces: list, matches: list) -> Image.Image:
    """The frame, enlarged, with a box, a name and a cosine for each face, and its px below."""
    height, width = image_HWC.shape[:2]
    picture = Image.fromarray(image_HWC).resize((round(width * ZOOM), round(height * ZOOM)))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for face, match in zip(faces, matches, strict=True):
        color = COLORS.get(match.name or "", COLORS["name"])
        x1, y1, x2, y2 = (float(side) * ZOOM for side in face.bbox)
        draw.rectangle((x1 - 2, y1 - 2, x2 + 2, y2 + 2), outline=color, width=2)
        lines = f"{match.name or 'no decision'} {match.cosine:.2f}", f"{face.px:.0f} px"
        for text, top in zip(lines, (y1 - 22, y2 + 3), strict=True):
            left, _, right, _ = draw.textbbox(((x1 + x2) / 2, top), text, font, "ma")
            draw.rounded_rectangle((left - 4, top - 1, right + 4, top + 17), 3, fill=color)
            draw.text(((x1 + x2) / 2, top), text, (255, 255, 255), font, "ma")
    return picture


def main() -> None:
    """Recognise the drawn frame, print a line a face, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("detector", help="an InsightFace detector, .onnx")
    parser.add_argument("models", nargs="+", help="the recogniser, .onnx, and folders of `aird export`")
    parser.add_argument("--out", default=OUT, help=f"default: {OUT}")
    args = parser.parse_args()
    analysis = open_analysis(args.detector, args.models)
    gallery = enrol(analysis)
    image = draw_frame()
    faces = analysis.get(np.ascontiguousarray(image[..., ::-1]))
    matches = gallery.search(faces, far=FAR)
    for face, match in zip(faces, matches, strict=True):
        print(f"{face.px:5.1f} px by {face.embedded_by}: {match.name}, {match.cosine:.3f}, threshold {match.threshold}")
    print(f"{len(faces)} of {len(PORTRAITS)} faces detected")
    file = io.BytesIO()
    annotate(image, faces, matches).quantize(128, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(Path(args.out), file.getvalue())
    print(f"{args.out}: {len(file.getvalue()) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
