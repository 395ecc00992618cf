"""Provenance stored in an exported file. Exported files are shared, so it holds no folders, accounts or user names."""

from pathlib import Path, PureWindowsPath

from aird_plugin.models.coordinates import recorded_teacher
from aird_plugin.models.recorded import adaptations
from aird_plugin.training.resumed_run import OF_A_START
from aird_plugin.utils.provenance import provenance

COPIED_KEYS = ("network", "px", "resize", "embedding_size", "student_init", *OF_A_START, "earlier")
TEACHER_KEYS = ("file", "network", "dim", "sha256", "input", "weights")
ADAPTED_KEYS = ("faces", "source", "source_sha256", "keep")
# arcface_torch's logging keys, which name accounts and projects.
PRIVATE_KEYS = ("upstream",)


def origin(metadata: dict) -> dict:
    """From a run's recipe.json: the recipe with its seed, hashes of data and teacher, and the code that trained and exported it.

    Paths are cut to their last part. Exporting the same run with the same code gives the same result, as no export time is kept.
    """
    records = metadata["records"]
    adapted = [{key: entry.get(key) for key in ADAPTED_KEYS} for entry in adaptations(metadata)]
    exporter = provenance()
    return {key: metadata.get(key) for key in COPIED_KEYS} | {
        "recipe": without_folders(metadata["recipe"]),
        "records": {"file": name_of(records["path"]), "sha256": records["sha256"], "faces": records["faces"]}
        | ({"skipped": records["skipped"]} if records.get("skipped") else {}),
        "teacher": teacher_chain(recorded_teacher(metadata)),
        "adapted": adapted[-1] | ({"earlier": adapted[:-1]} if adapted[1:] else {}) if adapted else None,
        "exported": {"versions": exporter["versions"], "code": exporter["code"]},
    }


def teacher_chain(entry: dict | None) -> dict | None:
    """A teacher's entry, and those of the teachers in whose coordinates it embeds, without what does not identify them."""
    if entry is None:
        return None
    above = teacher_chain(entry.get("teacher"))
    return {key: entry.get(key) for key in TEACHER_KEYS} | ({"teacher": above} if above else {})


def without_folders(recipe: dict) -> dict:
    """The recipe with every path cut to its last part, and without the private keys."""
    return {key: _last(value) for key, value in recipe.items() if key not in PRIVATE_KEYS}


def name_of(path: str) -> str:
    """The last folder and file name: `faces15k/train.rec`."""
    return "/".join(Path(path).parts[-2:]) if Path(path).parent.name else Path(path).name


def _last(value: object) -> object:
    """The value with every path, at any depth, shortened to its last part."""
    if isinstance(value, dict):
        return {key: _last(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_last(part) for part in value]
    # PureWindowsPath splits at both kinds of slash.
    return PureWindowsPath(value).name if isinstance(value, str) and ("/" in value or "\\" in value) else value
