"""What an exported file says of where it comes from. It is passed on, so it says nothing of whose it is."""

from pathlib import Path, PureWindowsPath

from aird_plugin.provenance import provenance
from aird_plugin.runfolder import OF_A_START

AS_THEY_ARE = ("network", "px", "resize", "embedding_size", "student_init", *OF_A_START, "earlier")
# Keys for arcface_torch's own logging: accounts and projects.
OF_PEOPLE = ("upstream",)


def origin(facts: dict) -> dict:
    """Of a run's recipe.json: its recipe with the seed, what it was made of with hashes, and what made and exported it.

    Paths are cut to their last part. The same run exported again by the same code gives the same; no time of the export is in it.
    """
    records, teacher, adapted = facts["records"], facts.get("teacher"), facts.get("adapted")
    made = provenance()
    return {key: facts.get(key) for key in AS_THEY_ARE} | {
        "recipe": without_folders(facts["recipe"]),
        "records": {"file": name_of(records["path"]), "sha256": records["sha256"], "faces": records["faces"]},
        "teacher": teacher and {key: teacher.get(key) for key in ("file", "network", "sha256")},
        "adapted": adapted and {key: adapted.get(key) for key in ("faces", "source", "keep")},
        "exported": {"versions": made["versions"], "code": made["code"]},
    }


def without_folders(recipe: dict) -> dict:
    """The recipe with the last part alone of every path, and without the keys that name people."""
    return {key: _last(value) for key, value in recipe.items() if key not in OF_PEOPLE}


def name_of(path: str) -> str:
    """The last folder and the file: `faces15k/train.rec`."""
    return "/".join(Path(path).parts[-2:]) if Path(path).parent.name else Path(path).name


def _last(value):
    if isinstance(value, dict):
        return {key: _last(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_last(part) for part in value]
    # A Windows path knows both kinds of slash.
    return PureWindowsPath(value).name if isinstance(value, str) and ("/" in value or "\\" in value) else value
