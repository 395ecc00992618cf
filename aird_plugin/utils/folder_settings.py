"""The settings file of an output folder that a rerun resumes, so that one folder never mixes results of different settings."""

import json
from pathlib import Path

from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.json_files import read_object


def keep_settings(folder: Path, name: str, settings: dict, newer: dict | None = None, noted: dict | None = None) -> None:
    """Write FOLDER/NAME for a new folder; compare for one of an earlier run.

    newer: values of settings that files of earlier versions lack. noted: of a new folder, written too but never compared.
    Raises ValueError for a folder that holds something else, a damaged file, or other settings.
    """
    file = folder / name
    if not file.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"--out {folder} exists and holds no {name} of an earlier run; name another folder")
        write_atomically(file, json.dumps(settings | (noted or {}), indent=1).encode())
        return
    try:
        before = (newer or {}) | read_object(file)
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); name another folder") from error
    changed = [f"{key} was {before.get(key)!r}, is {value!r}" for key, value in settings.items() if before.get(key) != value]
    if changed:
        raise ValueError(f"--out {folder} has other settings: {'; '.join(changed)}; use the same ones, or name another folder")
