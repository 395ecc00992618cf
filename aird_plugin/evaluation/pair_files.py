"""Check a verification file before any work: an input that is needed late is checked early."""

from collections.abc import Iterable
from pathlib import Path

from aird_plugin.data.pairs import check_images, read_pairs
from aird_plugin.evaluation.distances import FOLDS, check_labels
from aird_plugin.evaluation.verification import FARS, MIN_FALSE_ACCEPTS, supports


def check_pairs_file(path: str | Path, images: bool = True) -> None:
    """Check that a .bin can be verified by ten folds. images: also decode every image of it, 4,000 a second.

    Raises FileNotFoundError, and ValueError naming the file, and the pair of an image that is unreadable or not square.
    """
    pairs = read_pairs(path)
    try:
        check_labels(pairs.same, FOLDS)
        if images:
            check_images(pairs)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def missing_impostors(path: str | Path) -> str:
    """What a .bin lacks to measure a threshold at the highest of the false-accept rates; "" where it has enough pairs."""
    count, needed = int((~read_pairs(path).same).sum()), round(MIN_FALSE_ACCEPTS / max(FARS))
    if supports(count, max(FARS)):
        return ""
    return f"{path} has {count} impostor pairs; {needed} are needed for a false-accept rate of {max(FARS):g}"


def check_pairs_files(paths: Iterable[str | Path]) -> None:
    """Check all files that a command will evaluate one after the other; the images of the first are decoded next anyway.

    Raises FileNotFoundError for a missing one before any is opened, and what `check_pairs_file` raises.
    """
    paths = list(dict.fromkeys(paths))
    for path in paths:
        if not Path(path).is_file():
            raise FileNotFoundError(f"no pairs file at {path}; give the path of an InsightFace .bin")
    for number, path in enumerate(paths):
        check_pairs_file(path, images=number > 0)
