"""Finds test images that are compared with a copy of themselves: in a pair, or as a probe that is also in the gallery.

Copies are found by the images, not by a network: the bytes, or a correlation of 16 x 16 grey levels, of the image or its mirror
image. U = distinct images, N = pairs, P = probes, G = gallery entries.
"""

from typing import NamedTuple

import numpy as np

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.identification import IdentificationSet, ImageFile, payload_of, read_square

SIDE = 16
# JPEG of quality 30, other brightness and half the size leave copies above 0.99; of the genuine pairs of LFW and CFP one in 200
# is above 0.92 and 0.96. The share of copies that is a warning: public sets hold a few.
COPY_CORRELATION, MAX_COPIES = 0.99, 0.005
BLOCK = 4096


class CopiedPairs(NamedTuple):
    """Numbers of the genuine and of the impostor pairs that show one image twice, and the first of either; -1 without one."""

    genuine: int
    impostor: int
    first: int


def copied_pairs(images_UHWC: np.ndarray, face_2N: np.ndarray, same_N: np.ndarray) -> CopiedPairs:
    """Pairs of one image. images_UHWC: uint8 (U, 112, 112, 3); face_2N: the index of each of the 2N images in it."""
    plain_UE, mirrored_UE = signatures(images_UHWC), signatures(images_UHWC[:, :, ::-1])
    first_N, second_N = face_2N[0::2], face_2N[1::2]
    likeness_N = np.maximum(*((plain_UE[first_N] * other_UE[second_N]).sum(1) for other_UE in (plain_UE, mirrored_UE)))
    copied_N = (first_N == second_N) | (likeness_N > COPY_CORRELATION)
    places = np.flatnonzero(copied_N)
    return CopiedPairs(int(copied_N[same_N].sum()), int(copied_N[~same_N].sum()), int(places[0]) if len(places) else -1)


def warning_of_pairs(name: str, images_UHWC: np.ndarray, face_2N: np.ndarray, same_N: np.ndarray) -> str:
    """What is wrong with pairs of which more than 0.5% show one image twice; "" for all others."""
    copied = copied_pairs(images_UHWC, face_2N, same_N)
    if copied.genuine + copied.impostor <= MAX_COPIES * len(same_N):
        return ""
    return (
        f"{copied.genuine} of {int(same_N.sum())} genuine and {copied.impostor} of {int((~same_N).sum())} impostor pairs of "
        f"{name} show one image twice (the first is pair {copied.first}): the figures measure copies, not faces"
    )


def warning_of_probes(data: IdentificationSet) -> str:
    """What is wrong with an identification set where more than 0.5% of the mated probes are gallery images; else ""."""
    mated = np.flatnonzero((data.probe_labels >= 0) & np.isin(data.probe_labels, data.gallery_labels))
    mates = np.flatnonzero((data.gallery_labels >= 0) & np.isin(data.gallery_labels, data.probe_labels))
    probe_PE, mirrored_PE = signatures_of_files([data.probes[probe] for probe in mated])
    gallery_GE, _ = signatures_of_files([data.gallery[mate] for mate in mates])
    copies: list[tuple[int, int]] = []
    mate_labels = data.gallery_labels[mates]
    entries = {label: np.flatnonzero(mate_labels == label) for label in np.unique(mate_labels).tolist()}
    for row, probe in enumerate(mated.tolist()):
        own = entries[int(data.probe_labels[probe])]
        likeness = np.maximum(gallery_GE[own] @ probe_PE[row], gallery_GE[own] @ mirrored_PE[row])
        if likeness.max() > COPY_CORRELATION:
            copies.append((probe, int(mates[own[likeness.argmax()]])))
    if len(copies) <= MAX_COPIES * len(mated):
        return ""
    probe, entry = copies[0]
    alike = "byte for byte" if payload_of(data.probes[probe]) == payload_of(data.gallery[entry]) else "re-encoded or mirrored"
    return (
        f"{len(copies)} of {len(mated)} mated probes are copies of gallery images of their identity (the first, {alike}: "
        f"{data.probes[probe].where} of {data.gallery[entry].where}): rank 1 and TPIR measure copies, not faces"
    )


def signatures_of_files(images: list[ImageFile]) -> tuple[np.ndarray, np.ndarray]:
    """`signatures` of image files and of their mirror images, read in blocks."""
    plain, mirrored = [np.empty((0, SIDE * SIDE), np.float32)], [np.empty((0, SIDE * SIDE), np.float32)]
    for start in range(0, len(images), BLOCK):
        block_NHWC = read_square(images[start : start + BLOCK], FACE_SIDE)
        plain.append(signatures(block_NHWC))
        mirrored.append(signatures(block_NHWC[:, :, ::-1]))
    return np.concatenate(plain), np.concatenate(mirrored)


def signatures(images_NHWC: np.ndarray) -> np.ndarray:
    """Grey levels of images at 16 x 16, without their mean, of length 1; an image of one colour gives zeros. float32 (N, 256)"""
    cell = images_NHWC.shape[1] // SIDE
    rows = []
    for start in range(0, len(images_NHWC), BLOCK):
        block_NHWC = images_NHWC[start : start + BLOCK]
        cells = block_NHWC.reshape(len(block_NHWC), SIDE, cell, SIDE, cell * 3).mean((2, 4), dtype=np.float32)
        grey_NE = cells.reshape(len(cells), -1)
        grey_NE -= grey_NE.mean(1, keepdims=True)
        rows.append(grey_NE / np.maximum(np.linalg.norm(grey_NE, axis=1, keepdims=True), 1e-6))
    return np.concatenate(rows) if rows else np.empty((0, SIDE * SIDE), np.float32)
