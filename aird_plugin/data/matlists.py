"""TinyFace and QMUL-SurvFace as their publishers ship them: pictures in folders, and who they show in MATLAB lists."""

from pathlib import Path

import numpy as np

from aird_plugin.data.searches import NOBODY, Picture, Search, pictures_in, with_distractors


def read_tinyface(folder: Path) -> list[Search]:
    """TinyFace: `Testing_Set/` (or the folder itself) with Gallery_Match/, Gallery_Distractor/, Probe/ and the two lists.

    The lists are `gallery_match_img_ID_pairs.mat` (gallery_set, gallery_ids) and `probe_img_ID_pairs.mat` (probe_set,
    probe_ids). Raises FileNotFoundError, ValueError and, without scipy, ImportError.
    """
    place = folder / "Testing_Set" if (folder / "Testing_Set").is_dir() else folder
    gallery, who = _listed(place / "gallery_match_img_ID_pairs.mat", "gallery", place / "Gallery_Match")
    probes, probe_who = _listed(place / "probe_img_ID_pairs.mat", "probe", place / "Probe")
    search = Search("", gallery, who, probes, probe_who, np.arange(len(probes)))
    return [with_distractors(search, pictures_in(place / "Gallery_Distractor"))]


def read_survface(folder: Path) -> list[Search]:
    """QMUL-SurvFace, open set: `Face_Identification_Test_Set/` with gallery/, mated_probe/, unmated_probe/ and two lists.

    The lists are `gallery_img_ID_pairs.mat` (gallery_set, gallery_ids) and `mated_probe_img_ID_pairs.mat`
    (mated_probe_set, mated_probe_ids). Raises FileNotFoundError, ValueError and, without scipy, ImportError.
    """
    place = folder / "Face_Identification_Test_Set"
    place = place if place.is_dir() else folder
    gallery, who = _listed(place / "gallery_img_ID_pairs.mat", "gallery", place / "gallery")
    mated, mated_who = _listed(place / "mated_probe_img_ID_pairs.mat", "mated_probe", place / "mated_probe")
    strangers = pictures_in(place / "unmated_probe")
    probes = mated + strangers
    probe_who = np.concatenate([mated_who, np.full(len(strangers), NOBODY)])
    return [Search("", gallery, who, probes, probe_who, np.arange(len(probes)))]


def survface_pairs(folder: Path) -> list[tuple[Path, Path, bool]]:
    """QMUL-SurvFace, verification: the pairs of `Face_Verification_Test_Set/`, positive and negative in turn.

    The lists are `positive_pairs_names.mat` and `negative_pairs_names.mat`, each of that name, (N, 2) names of pictures in
    `verification_images/`. Raises FileNotFoundError, ValueError and, without scipy, ImportError.
    """
    place = folder / "Face_Verification_Test_Set"
    place = place if place.is_dir() else folder
    pairs = []
    for name, same in (("positive_pairs_names", True), ("negative_pairs_names", False)):
        list_file = place / f"{name}.mat"
        files = _files(_names(_variable(list_file, name), list_file), place / "verification_images", list_file)
        pairs.append([(Path(a.where), Path(b.where), same) for a, b in zip(files[0::2], files[1::2], strict=True)])
    if len(pairs[0]) != len(pairs[1]):
        raise ValueError(f"{place}: {len(pairs[0])} positive and {len(pairs[1])} negative pairs; the lists are of one length")
    return [pair for both in zip(*pairs, strict=True) for pair in both]


def _listed(list_file: Path, prefix: str, pictures: Path) -> tuple[list[Picture], np.ndarray]:
    """Pictures and people of a list with the variables PREFIX_set and PREFIX_ids."""
    files = _files(_names(_variable(list_file, f"{prefix}_set"), list_file), pictures, list_file)
    ids = _variable(list_file, f"{prefix}_ids").reshape(-1)
    whole = ids.dtype.kind in "iuf" and np.all(ids == np.floor(ids)) and np.all(ids >= 0)
    if not whole or len(ids) != len(files):
        raise ValueError(f"{list_file}: {prefix}_ids must be {len(files)} whole numbers of 0 or more, one a picture")
    return files, ids.astype(int)


def _variable(list_file: Path, name: str) -> np.ndarray:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError("reading MATLAB lists needs `pip install aird_plugin[arcface]`, for scipy") from error
    if not list_file.is_file():
        raise FileNotFoundError(f"no {list_file}; the folder must lie as its publisher ships it")
    try:
        content = loadmat(list_file)
    except NotImplementedError as error:
        raise ValueError(f"{list_file} is a MATLAB v7.3 file; save it in MATLAB with -v7, as its publisher does") from error
    # scipy raises a dozen kinds of error on damaged bytes, with no base class in common.
    except Exception as error:
        raise ValueError(f"{list_file} is no readable MATLAB file: {error}") from error
    if name not in content:
        raise ValueError(f"{list_file} holds no {name}, but {sorted(key for key in content if key[0] != '_')}")
    return content[name]


def _names(cells: np.ndarray, list_file: Path) -> list[str]:
    """A cell array of names, row by row. A name is a name: a path would lead out of the folder."""
    names = [cell.item() if isinstance(cell, np.ndarray) and cell.size == 1 else cell for cell in cells.reshape(-1)]
    for place, name in enumerate(names):
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(f"{list_file}: entry {place} is {name!r:.40}, not the name of a picture")
    return names


def _files(names: list[str], folder: Path, list_file: Path) -> list[Picture]:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        raise ValueError(f"{list_file} lists {len(names)} pictures; {len(missing)} are not in {folder}: {missing[:3]}")
    return [Picture(str(folder / name)) for name in names]
