"""The false-accept rate of tracks at thresholds that were calibrated on single crops.

    python tools/bench_track_far.py --models edgeface_xs.onnx [tiny_faces] --pairs lfw_split.bin --px 16 24 [--identities 400]

Of each identity with two images in PAIRS, the first is enrolled untouched by the HR recogniser, and the second is the probe: a
single crop as `aird calibrate` makes it, and simulated tracks of ten frames, pooled as `recognition.templates` pools them. The
frames of a clean track are shifted by parts of a pixel alone; the others also have noise of 4 grey levels and JPEG at quality 60.
The threshold accepts the stated share of all impostor pairs of single crops; printed is which share of the impostor and genuine
pairs it accepts of other probes, and the threshold that would accept the stated share of those. The intervals are of 1,000 draws
of identities with replacement. PAIRS may list an identity twice: one whose image is too similar to an earlier one is left out.
"""

import argparse
import sys

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import io

import numpy as np
from PIL import Image

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.identification import bin_identities, read_square
from aird_plugin.recognition.crops import face_crops, face_sizes
from aird_plugin.recognition.measure import crop_at, embed_at, frame_of
from aird_plugin.recognition.model_files import find_sources
from aird_plugin.recognition.network import Network
from aird_plugin.recognition.networks import open_models
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.progress import progress
from aird_plugin.utils.vectors import normalise

FRAMES, NOISE, QUALITY = 10, 4.0, 60
POOLED = (1, 3, FRAMES)
FARS, DRAWS = (0.01, 0.001), 1000
# Faces that go through a network in one call.
BLOCK = 64


def main() -> int:
    args = arguments()
    networks = open_models(find_sources(args.models, "~/.insightface")).networks
    gallery_GHWC, probe_GHWC = choose(args.pairs, args.identities)
    gallery_GD = embed_at(networks[-1], gallery_GHWC, FACE_SIDE)
    kept = distinct(gallery_GD, args.same)
    gallery_GD, probe_GHWC = gallery_GD[kept], probe_GHWC[kept]
    print(f"{len(gallery_GD)} identities, {len(gallery_GD) * (len(gallery_GD) - 1):,} impostor pairs, {FRAMES} frames\n")
    print("| network | px | probe | FAR 1%: false accepts | genuine accepted | own threshold | FAR 0.1%: (the same) | | |")
    print("|" + "---|" * 9, flush=True)
    for network in networks:
        for px in args.px:
            rng = np.random.default_rng(0)
            crops = np.concatenate([crop_at(image, px, network.side, rng) for image in probe_GHWC])
            single_GG = normalise(embed(network, crops)) @ gallery_GD.T
            kinds = {"single crop, as calibrated": single_GG}
            for clean in (True, False):
                frames_GTD = track(network, probe_GHWC, px, rng, clean)
                for count in (FRAMES,) if clean else POOLED:
                    what = "one noisy frame" if count == 1 else f"{count} {'clean' if clean else 'noisy'} frames"
                    kinds[what] = normalise(frames_GTD[:, :count].sum(1)) @ gallery_GD.T
            thresholds = [threshold(single_GG, far) for far in FARS]
            for kind, cosine_GG in kinds.items():
                cells = [cell for far, at in zip(FARS, thresholds, strict=True) for cell in figures(cosine_GG, at, far)]
                print(f"| {network.name} | {px} | {kind} | {' | '.join(cells)} |", flush=True)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True, help="the HR recogniser, .onnx, and exported students")
    parser.add_argument("--pairs", required=True, help="images of identities that no network was trained on, .bin")
    parser.add_argument("--px", type=int, nargs="+", default=[16, 24])
    parser.add_argument("--identities", type=int, help="at most so many identities")
    parser.add_argument("--same", type=float, default=0.6, help="cosine above which two identities count as one (0.6)")
    return expand_arguments(parser.parse_args())


def choose(pairs: str, identities: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The gallery image and the probe of each identity, uint8 (G, 112, 112, 3) each."""
    pictures, label_N = bin_identities(pairs)
    rows = [own[:2] for own in (np.flatnonzero(label_N == label) for label in np.unique(label_N)) if len(own) > 1]
    chosen_G2 = np.array(rows[:identities])
    images = read_square([pictures[row] for row in chosen_G2.ravel()], FACE_SIDE).reshape(-1, 2, FACE_SIDE, FACE_SIDE, 3)
    return images[:, 0], images[:, 1]


def distinct(gallery_GD: np.ndarray, same: float) -> np.ndarray:
    """The rows that are not above this cosine to an earlier one."""
    return np.flatnonzero((np.tril(gallery_GD @ gallery_GD.T, -1) <= same).all(1))


def track(network: Network, images_GHWC: np.ndarray, px: int, rng: np.random.Generator, clean: bool) -> np.ndarray:
    """L2-normalised embeddings of the frames of each image's track, (G, T, D)."""
    blocks = [images_GHWC[start : start + BLOCK // FRAMES] for start in range(0, len(images_GHWC), BLOCK // FRAMES)]
    parts = []
    for block in progress(blocks, len(images_GHWC), f"{network.name}, tracks of {px} px", "images"):
        make = crop_at if clean else noisy_crop
        crops = [make(image, px, network.side, rng) for image in block for _ in range(FRAMES)]
        parts.append(normalise(network.embed(np.concatenate(crops))))
    embeddings_KD = np.concatenate(parts)
    return embeddings_KD.reshape(len(images_GHWC), FRAMES, -1)


def noisy_crop(image_HWC: np.ndarray, px: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """The network input (1, S, S, 3) of one frame: shifted by parts of a pixel, noisy, and recompressed."""
    frame_HWC, points_52 = frame_of(image_HWC, px, rng)
    noisy_HWC = (frame_HWC + rng.normal(0, NOISE, frame_HWC.shape)).round().clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy_HWC).save(file, "JPEG", quality=QUALITY)
    decoded_HWC = np.asarray(Image.open(file).convert("RGB"))
    matrices_123, px_1 = face_sizes(points_52[None])
    return face_crops(np.ascontiguousarray(decoded_HWC[..., ::-1]), matrices_123, px_1, side)


def embed(network: Network, crops: np.ndarray) -> np.ndarray:
    """`Network.embed` in blocks."""
    return np.concatenate([network.embed(crops[start : start + BLOCK]) for start in range(0, len(crops), BLOCK)])


def threshold(cosine_GG: np.ndarray, far: float) -> float:
    """The cosine above which this share of the impostor pairs, those off the diagonal, lies."""
    return float(np.quantile(cosine_GG[~np.eye(len(cosine_GG), dtype=bool)], 1 - far))


def figures(cosine_GG: np.ndarray, at: float, far: float) -> list[str]:
    """The cells at one threshold: false accepts with their interval, genuine pairs accepted, the threshold of their own."""
    accepted_GG = cosine_GG > at
    off_GG = ~np.eye(len(cosine_GG), dtype=bool)
    rng, rates = np.random.default_rng(0), []
    for _ in range(DRAWS):
        chosen = rng.integers(0, len(cosine_GG), len(cosine_GG))
        grid = np.ix_(chosen, chosen)
        rates.append(accepted_GG[grid][off_GG[grid]].mean())
    low, high = np.quantile(rates, (0.025, 0.975))
    rate, genuine = accepted_GG[off_GG].mean(), np.diag(accepted_GG).mean()
    return [f"{rate:.2%} ({low:.2%}-{high:.2%})", f"{genuine:.1%}", f"{threshold(cosine_GG, far):.3f}"]


if __name__ == "__main__":
    sys.exit(main())
