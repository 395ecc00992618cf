"""The draw of CelebA identities for celeb240, from identity_CelebA.txt."""

import random
from pathlib import Path

from tools.lib.lfw import rows_of

SEED, CELEBRITIES, FEWEST_PHOTOS, MOST_PHOTOS = 11, 240, 15, 30


def draw_identities(identities: Path) -> list[list[str]]:
    """The photos of 240 identities with at least 15 photos, at most 30 of each, ordered by identity number."""
    photos_of: dict[int, list[str]] = {}
    for number, row in rows_of(identities):
        if len(row) != 2 or not row[1].isdigit():
            raise ValueError(f"{identities} line {number}: found {row}, expected `000001.jpg 2880`")
        photos_of.setdefault(int(row[1]), []).append(row[0])
    enough = sorted(identity for identity, photos in photos_of.items() if len(photos) >= FEWEST_PHOTOS)
    if len(enough) < CELEBRITIES:
        raise ValueError(
            f"{identities} has {len(enough)} identities of {FEWEST_PHOTOS} or more photos, not {CELEBRITIES}; download it again"
        )
    return [sorted(photos_of[identity])[:MOST_PHOTOS] for identity in sorted(random.Random(SEED).sample(enough, CELEBRITIES))]
