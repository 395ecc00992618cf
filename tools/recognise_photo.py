"""Names right of the people of one photo, enrolled at full size and shrunk: by the HR model, the student, and routed by px.

    python tools/recognise_photo.py --detector det_500m.onnx --hr w600k_r50.onnx --student tiny_faces [--photo FILE] [--px 48 16]

Everybody in the photo (t1 of InsightFace: six people) is enrolled from it. Then the photo is shrunk until the median face has px
pixels, and each person is searched in the gallery; a name is right if the person's own template is the nearest. "detected": by
the detector at the shrunk photo's own size, and enlarged to 640 px as `TinyFaceAnalysis` does. Each figure stands twice: with
the landmarks detected in the shrunk photo, and, in brackets, with those of the full photo: the difference is the detector's loss.
"named": with a decision at a false-accept rate of 1%, right / wrong; the rest is unknown. A track is ten shrunk photos, each
shifted by parts of a pixel, with noise of 4 grey levels, and recompressed at JPEG quality 60.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np

from aird_plugin import Gallery, TinyFaceAnalysis
from aird_plugin.recognition.analysis import STRIDE
from aird_plugin.utils.paths import expand_arguments

FRAMES, NOISE, QUALITY = 10, 4.0, 60
# A detected face is the person whose landmarks lie within this part of its px.
NEAR = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", required=True, help="InsightFace detector, .onnx")
    parser.add_argument("--hr", required=True, help="the HR recogniser, .onnx")
    parser.add_argument("--student", nargs="+", required=True, help="exported folders, in the HR recogniser's coordinates")
    parser.add_argument("--photo", help="default: t1 of the insightface package")
    parser.add_argument("--px", type=int, nargs="+", default=[48, 32, 24, 16, 12])
    parser.add_argument("--far", type=float, default=0.01)
    args = expand_arguments(parser.parse_args())
    photo_HWC = read_photo(args.photo)
    systems = open_systems(args)
    full = {name: analysis.get(photo_HWC) for name, analysis in systems.items()}
    points_F52 = np.array([face.kps for face in full["HR"]])
    galleries = {
        name: Gallery.enrol({f"person {n}": face for n, face in enumerate(full[name])}, analysis)
        for name, analysis in systems.items()
    }
    median = statistics.median(face.px for face in full["HR"])
    print(f"{len(points_F52)} people of {median:.0f} px; routed: students below {systems['routed'].limits} px\n")
    names = list(systems)
    columns = [
        "px",
        "of",
        "detected, own size",
        "enlarged",
        *(f"{name}: right" for name in names),
        *(f"{name}: named" for name in names),
    ]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for px in args.px:
        for count in (1, FRAMES):
            shots = make_shots(photo_HWC, points_F52, px / median, count)
            print(f"| {' | '.join(row_of(systems, galleries, shots, px, args.far))} |", flush=True)
    return 0


def read_photo(file: str | None) -> np.ndarray:
    """BGR."""
    import cv2
    from insightface.data import get_image

    photo_HWC = get_image("t1") if file is None else cv2.imread(file)
    if photo_HWC is None:
        raise SystemExit(f"error: no photo at {file}")
    return photo_HWC


def open_systems(args: argparse.Namespace) -> dict[str, TinyFaceAnalysis]:
    """The HR model alone, the students alone, and both."""
    sources = {"HR": [args.hr], "student": args.student, "routed": [args.hr, *args.student]}
    systems = {name: TinyFaceAnalysis([args.detector, *files]) for name, files in sources.items()}
    for analysis in systems.values():
        analysis.prepare(-1)
    return systems


def make_shots(photo_HWC: np.ndarray, points_F52: np.ndarray, scale: float, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(shrunk photo, landmarks in it) of each frame; the first alone is neither shifted nor noisy nor recompressed."""
    import cv2

    height, width = photo_HWC.shape[:2]
    size = round(width * scale), round(height * scale)
    factor = np.array([size[0] / width, size[1] / height])
    rng, shots = np.random.default_rng(0), []
    for _ in range(count):
        # Whole pixels of the full photo are parts of a pixel of the shrunk one.
        shift = rng.integers(0, max(1, round(1 / scale)), 2) if count > 1 else np.zeros(2, int)
        moved_HWC = np.roll(photo_HWC, tuple(shift[::-1]), (0, 1))
        small_HWC = cv2.resize(moved_HWC, size, interpolation=cv2.INTER_AREA)
        if count > 1:
            noisy = small_HWC + rng.normal(0, NOISE, small_HWC.shape)
            _, jpeg = cv2.imencode(".jpg", noisy.round().clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            small_HWC = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        shots.append((small_HWC, (points_F52 + shift + 0.5) * factor - 0.5))
    return shots


def row_of(systems: dict, galleries: dict, shots: list, px: int, far: float) -> list[str]:
    """The cells of one line: a photo, or a track of several."""
    detector = systems["HR"]
    people = len(shots[0][1])
    detected = []
    for own_size in (True, False):
        detector.det_size = size_of(shots[0][0]) if own_size else None
        found = [len(assigned(detector.detect(image), points, px)) for image, points in shots]
        detected.append(f"{statistics.mean(found):.1f}")
    right, named = [], []
    for name, analysis in systems.items():
        by_landmarks = {}
        for source in ("detected", "full"):
            tracks: list[list] = [[] for _ in range(people)]
            for image, points_F52 in shots:
                faces = assigned(analysis.detect(image), points_F52, px) if source == "detected" else given(points_F52)
                analysis.embed([image], [list(faces.values())])
                for person, face in faces.items():
                    tracks[person].append(face)
            by_landmarks[source] = galleries[name].search(tracks, far=far)
        right.append("{detected} ({full})".format(**{key: count_right(matches) for key, matches in by_landmarks.items()}))
        named.append(count_named(by_landmarks["detected"]))
    kind = "1 photo" if len(shots) == 1 else f"{len(shots)} frames"
    return [str(px), kind, *detected, *right, *named]


def assigned(faces: Sequence[Any], points_F52: np.ndarray, px: int) -> dict[int, Any]:
    """Person -> the detected face whose landmarks' mean is nearest, and near enough."""
    found: dict[int, tuple[float, Any]] = {}
    for face in faces:
        distance_F = np.linalg.norm(points_F52.mean(1) - face.kps.mean(0), axis=1)
        person = int(distance_F.argmin())
        if distance_F[person] < NEAR * px and distance_F[person] < found.get(person, (np.inf,))[0]:
            found[person] = float(distance_F[person]), face
    return {person: face for person, (_, face) in found.items()}


def given(points_F52: np.ndarray) -> dict[int, Any]:
    """Faces at known landmarks."""
    from insightface.app.common import Face

    return {person: Face(kps=points_52.astype(np.float32)) for person, points_52 in enumerate(points_F52)}


def count_right(matches: list) -> int:
    return sum(bool(match.candidates) and match.candidates[0][0] == f"person {n}" for n, match in enumerate(matches))


def count_named(matches: list) -> str:
    """right / wrong; - where nothing was measured."""
    if all(match.name is None for match in matches):
        return "-"
    right = sum(match.name == f"person {n}" for n, match in enumerate(matches))
    return f"{right} / {sum(match.name not in (None, 'unknown') for match in matches) - right}"


def size_of(image_HWC: np.ndarray) -> tuple[int, int]:
    """The image's own size, rounded up to the detector's stride."""
    height, width = image_HWC.shape[:2]
    return tuple(-(-side // STRIDE) * STRIDE for side in (width, height))


if __name__ == "__main__":
    sys.exit(main())
