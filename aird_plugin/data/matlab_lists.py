"""Read TinyFace, QMUL-SurvFace and AgeDB's pairs as published: images in folders, identities or pairs in MATLAB lists."""

from pathlib import Path

import numpy as np

from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.data.identification import IdentificationSet, ImageFile, images_in, with_distractors


def read_tinyface(folder: Path) -> list[IdentificationSet]:
    """Read TinyFace: `Testing_Set/` (or the folder itself) with Gallery_Match/, Gallery_Distractor/, Probe/ and the two lists.

    The lists are `gallery_match_img_ID_pairs.mat` (gallery_set, gallery_ids) and `probe_img_ID_pairs.mat` (probe_set,
    probe_ids). Raises FileNotFoundError, ValueError and, without scipy, ImportError.
    """
    place = folder / "Testing_Set" if (folder / "Testing_Set").is_dir() else folder
    gallery, labels = _listed(place / "gallery_match_img_ID_pairs.mat", "gallery", place / "Gallery_Match")
    probes, probe_labels = _listed(place / "probe_img_ID_pairs.mat", "probe", place / "Probe")
    dataset = IdentificationSet("", gallery, labels, probes, probe_labels, np.arange(len(probes)))
    return [with_distractors(dataset, *images_in(place / "Gallery_Distractor"))]


def read_survface(folder: Path) -> list[IdentificationSet]:
    """Read QMUL-SurvFace, open set: `Face_Identification_Test_Set/` with gallery/, mated_probe/, unmated_probe/ and two lists.

    The lists are `gallery_img_ID_pairs.mat` (gallery_set, gallery_ids) and `mated_probe_img_ID_pairs.mat`
    (mated_probe_set, mated_probe_ids). Raises FileNotFoundError, ValueError and, without scipy, ImportError.
    """
    place = folder / "Face_Identification_Test_Set"
    place = place if place.is_dir() else folder
    gallery, labels = _listed(place / "gallery_img_ID_pairs.mat", "gallery", place / "gallery")
    mated, mated_labels = _listed(place / "mated_probe_img_ID_pairs.mat", "mated_probe", place / "mated_probe")
    non_mated, *walks = images_in(place / "unmated_probe")
    probes = mated + non_mated
    probe_labels = np.concatenate([mated_labels, np.full(len(non_mated), NO_IDENTITY)])
    return [IdentificationSet("", gallery, labels, probes, probe_labels, np.arange(len(probes)), tuple(walks))]


def survface_pairs(folder: Path) -> list[tuple[Path, Path, bool]]:
    """Read QMUL-SurvFace, verification: the pairs of `Face_Verification_Test_Set/`, alternately positive and negative.

    The lists are `positive_pairs_names.mat` and `negative_pairs_names.mat`, each with a variable of that name: (N, 2) file names
    in `verification_images/`. Raises FileNotFoundError, ValueError and, without scipy, ImportError.
    """
    place = folder / "Face_Verification_Test_Set"
    place = place if place.is_dir() else folder
    pairs = []
    for name, same in (("positive_pairs_names", True), ("negative_pairs_names", False)):
        list_file = place / f"{name}.mat"
        files = _files(_names(_variable(list_file, name), list_file), place / "verification_images", list_file)
        pairs.append([(Path(a.where), Path(b.where), same) for a, b in zip(files[0::2], files[1::2], strict=True)])
    if len(pairs[0]) != len(pairs[1]):
        raise ValueError(
            f"{place}: {len(pairs[0])} positive and {len(pairs[1])} negative pairs; the lists must have the same length"
        )
    return [pair for both in zip(*pairs, strict=True) for pair in both]


def agedb_pairs(list_file: Path) -> list[tuple[str, str, bool]]:
    """Read AgeDB's protocol, `04_FINAL_protocol_30_years.mat`: (file name a, file name b, genuine) of each pair, by folds.

    `splits` holds a structure per fold: a cell array (2, pairs) of (name without suffix, age), and labels of 1 or -1. Raises
    FileNotFoundError, ValueError and, without scipy, ImportError.
    """
    pairs = []
    for fold in _variable(list_file, "splits").reshape(-1):
        try:
            cells, labels = fold[0, 0][0], fold[0, 0][1].reshape(-1).tolist()
            names = [[str(cell[0, 0][0].item()) for cell in row] for row in cells]
            pairs += [(f"{a}.jpg", f"{b}.jpg", {1: True, -1: False}[label]) for a, b, label in zip(*names, labels, strict=True)]
        except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{list_file}: `splits` has another structure than AgeDB's protocol ({error!r})") from error
    return pairs


def _listed(list_file: Path, prefix: str, folder: Path) -> tuple[list[ImageFile], np.ndarray]:
    """Read the images and labels of a list with the variables PREFIX_set and PREFIX_ids."""
    files = _files(_names(_variable(list_file, f"{prefix}_set"), list_file), folder, list_file)
    ids = _variable(list_file, f"{prefix}_ids").reshape(-1)
    whole = ids.dtype.kind in "iuf" and np.all(ids == np.floor(ids)) and np.all(ids >= 0)
    if not whole or len(ids) != len(files):
        raise ValueError(f"{list_file}: {prefix}_ids must be {len(files)} whole numbers of 0 or more, one per image")
    return files, ids.astype(int)


def _variable(list_file: Path, name: str) -> np.ndarray:
    """A variable of a MATLAB file. ValueError, FileNotFoundError or ImportError say what is missing."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError("reading MATLAB lists needs `pip install aird_plugin[arcface]`, for scipy") from error
    if not list_file.is_file():
        raise FileNotFoundError(f"no {list_file}; the folder must have the published layout")
    try:
        content = loadmat(list_file)
    except NotImplementedError as error:
        raise ValueError(f"{list_file} is a MATLAB v7.3 file; save it in MATLAB with -v7, the published format") from error
    # scipy raises many error types on damaged bytes, without a common base class.
    except Exception as error:
        raise ValueError(f"{list_file} is no readable MATLAB file: {error}") from error
    if name not in content:
        raise ValueError(f"{list_file} has no variable {name}, but {sorted(key for key in content if key[0] != '_')}")
    return content[name]


def _names(cells: np.ndarray, list_file: Path) -> list[str]:
    """Flatten a cell array of file names by rows. Paths are rejected, since they could leave the folder."""
    names = [cell.item() if isinstance(cell, np.ndarray) and cell.size == 1 else cell for cell in cells.reshape(-1)]
    for index, name in enumerate(names):
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(f"{list_file}: entry {index} is {name!r:.40}, not a file name")
    return names


def _files(names: list[str], folder: Path, list_file: Path) -> list[ImageFile]:
    """The listed files. ValueError if any is missing, or none is listed."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        raise ValueError(f"{list_file} lists {len(names)} images; {len(missing)} are not in {folder}: {missing[:3]}")
    return [ImageFile(str(folder / name)) for name in names]
