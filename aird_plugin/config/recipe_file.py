"""Find and run recipe files, and derive variants from them. config/recipe.py interprets their keys."""

import difflib
import os
import runpy
import sys
from pathlib import Path

from easydict import EasyDict

from aird_plugin.config.aliases import current_name
from aird_plugin.config.specs import fields_of, import_spec
from aird_plugin.utils.paths import expand_user

# Subfolders of a tree of recipes.
FOLDERS = ("ablations", "rivals", "sizes", "quickstart", "zoo")


class DataPath(str):
    """A path that a recipe has by default; one of its val_targets may be absent (training/inputs.py)."""


def data_path(*parts: str) -> DataPath:
    """A path under the data folder, `$AIRD_DATA` (default `data`)."""
    return DataPath(os.path.join(expand_user(os.environ.get("AIRD_DATA", "data")), *parts))


def base(file: str, name: str) -> EasyDict:
    """The `config` of recipe `name` from the same tree of recipes as `file`, as a fresh copy for a variant to change."""
    return read_config(recipe_path(Path(file).parent, name))


def drop_terms(config: EasyDict, *names: str) -> None:
    """Remove terms and their keys from a recipe, for ablations. Keys of others stay: `align_also_weight` is none of `align`."""
    for name in names:
        for field in fields_of(import_spec(f"terms[{name!r}]", current_name(config.terms[name]), "term")):
            config.pop(f"{name}_{field}", None)
        del config.terms[name]


def read_config(path: str | Path) -> EasyDict:
    """Run a recipe file and return its `config`. Raises ValueError where the file is missing, broken or leaves no config."""
    path = find_recipe(Path(path))
    try:
        names = runpy.run_path(str(path))
    except (SyntaxError, NameError, AttributeError, TypeError, ImportError, KeyError) as error:
        raise ValueError(f"recipe {path} does not run: {type(error).__name__}: {error}") from error
    config = names.get("config")
    if not isinstance(config, dict):
        raise ValueError(f"recipe {path} leaves no `config` (an EasyDict), as `config = edict()` would")
    return EasyDict(config)


def find_recipe(path: Path) -> Path:
    """The recipe file at `path`. A name that moved into a subfolder is found there, with a note on stderr.

    Raises ValueError where there is none, naming the nearest.
    """
    if path.is_file():
        return path
    tree = [one for folder in (".", *FOLDERS) for one in sorted((path.parent / folder).glob("*.py"))]
    moved = [one for one in tree if one.name == path.name]
    if len(moved) == 1:
        print(f"note: {path} is {moved[0]} now", file=sys.stderr)
        return moved[0]
    hint = difflib.get_close_matches(path.name, [one.name for one in tree], n=1)
    near = next((one for one in tree if hint and one.name == hint[0]), None)
    remedy = f"did you mean {near}?" if near else "`aird recipes FOLDER` copies those of the package into a folder"
    raise ValueError(f"no recipe {path}; {remedy}")


def recipe_path(folder: Path, name: str) -> Path:
    """The file of recipe `name` in the tree that `folder` is in: beside it, above it or in a sibling folder.

    A name that is nowhere is given as a path in `folder`, for the error.
    """
    places = [folder, folder.parent, *(place / sub for place in (folder, folder.parent) for sub in FOLDERS)]
    return next((place / f"{name}.py" for place in places if (place / f"{name}.py").is_file()), folder / f"{name}.py")
