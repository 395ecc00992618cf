"""Which networks embed into the same coordinates: a student into its teacher's, and so on along a chain of teachers.

A run records its teacher as an entry: `Teacher.describe()` with "weights", the hash of the weights in whatever file (None for
other tools' files), and "teacher", the same entry of the teacher's own teacher where both share coordinates.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aird_plugin.models.find import find_model
from aird_plugin.models.load import load_teacher
from aird_plugin.models.recorded import recorded_metadata, weights_of
from aird_plugin.utils.files import file_sha256, is_same


def teacher_entry(teacher: Any) -> dict:
    """The entry of a teacher, with the chain of its own teachers. An ensemble is its parts' and has no chain."""
    entry = teacher.describe()
    if "teachers" in entry:
        return entry
    network = teacher.on_hr
    metadata = recorded_metadata(network.path, network)
    above = recorded_teacher(metadata) if _shares_coordinates(metadata) else None
    return entry | {"weights": weights_of(network.path, network)} | ({"teacher": above} if above else {})


def recorded_teacher(metadata: dict) -> dict | None:
    """The teacher's entry in a model's metadata; None where there is none.

    Older runs record no chain: it is read where their recipe still finds the same teacher.
    """
    entry, recipe = metadata.get("teacher"), metadata.get("recipe")
    if not isinstance(entry, dict):
        return None
    path = recipe.get("teacher") if isinstance(recipe, dict) else None
    if "weights" in entry or not isinstance(path, str):
        return entry
    assert isinstance(recipe, dict)
    try:
        file = find_model(Path(path).expanduser(), "teacher").file
        if not is_same(entry.get("sha256"), file_sha256(file)):
            return entry
        found = teacher_entry(load_teacher(file, recipe.get("teacher_network")))
    except (OSError, ValueError, ImportError):
        return entry
    return entry | {key: found[key] for key in ("weights", "teacher") if key in found}


def chain(entry: dict | None) -> Iterator[dict]:
    """An entry, that of its teacher, and so on."""
    while isinstance(entry, dict):
        yield entry
        entry = entry.get("teacher")


def has_coordinates_of(metadata: dict, teacher: Any) -> bool | None:
    """Whether a model was trained in the coordinates of this network, fed in this way; None where its metadata do not tell.

    They are those of its teacher, of every network that the chain of teachers names, and of that network's students.
    """
    recorded, given = metadata.get("teacher"), teacher.describe()
    if not isinstance(recorded, dict):
        return None
    # Files exported by older versions do not record the input.
    knows_input = "input" in recorded or "exported" not in metadata
    same = is_same(recorded.get("sha256"), given["sha256"])
    if same is not False:
        return same and (not knows_input or recorded.get("input") == given.get("input"))
    ours, theirs = list(chain(recorded_teacher(metadata))), list(chain(teacher_entry(teacher)))
    for entry in ours:
        if is_same(entry.get("sha256"), given["sha256"]):
            return not knows_input or entry.get("input") == given.get("input")
    return _meet(ours, theirs)


def share_coordinates(first: tuple[Path, Any], second: tuple[Path, Any]) -> bool:
    """Whether two students, each its path and network, were trained in the same coordinates: their chains of teachers meet.

    True also where neither records a teacher.
    """
    metadata = [recorded_metadata(path, network) for path, network in (first, second)]
    if not any(one.get("teacher") for one in metadata):
        return True
    chains = []
    for own, (path, network) in zip(metadata, (first, second), strict=True):
        itself = {"sha256": network.sha256, "weights": weights_of(path, network)}
        chains.append([itself, *chain(recorded_teacher(own))])
    return _meet(*chains)


def foreign_teacher(path: str | Path, network: Any, teacher: Any) -> str:
    """Why LR-HR with this teacher on the HR side means nothing for a model; "" where it does, or nothing is recorded."""
    metadata = recorded_metadata(path, network)
    given = named(teacher.describe())
    if metadata and "teacher" in metadata and metadata["teacher"] is None:
        return f"{path} was trained without a teacher: LR-HR compares its embeddings with those of {given}, an unrelated network"
    if has_coordinates_of(metadata, teacher) is not False:
        return ""
    return (
        f"{given} is not the teacher of {path}, which is {named(metadata['teacher'])}: LR-HR compares embeddings of networks "
        "that were not trained together"
    )


def named(entry: dict) -> str:
    """A teacher's file, hash and unusual input, of its entry."""
    fed = f", fed with {entry['input']}" if entry.get("input") else ""
    return f"{entry.get('file')} (sha256 {str(entry.get('sha256'))[:16]}{fed})"


def _shares_coordinates(metadata: dict) -> bool:
    """Whether a model states that it embeds into its teacher's coordinates, as one with the teacher's class centers does."""
    recipe, teacher = metadata.get("recipe"), metadata.get("teacher")
    if not isinstance(recipe, dict) or not isinstance(teacher, dict):
        return False
    # A projection of the teacher has another width.
    width = metadata.get("embedding_size", recipe.get("embedding_size"))
    return recipe.get("head_init") == "teacher" and teacher.get("dim", width) == width


def _meet(ours: list[dict], theirs: list[dict]) -> bool:
    """Whether two chains hold the same network, as the same file or the same weights."""
    return any(is_same(one.get(key), other.get(key)) for one in ours for other in theirs for key in ("sha256", "weights"))
