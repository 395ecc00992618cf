"""Modules of other projects' checkouts, imported unmodified."""

import importlib
import sys
import warnings
from types import ModuleType


def module_of(folder: str | None, module: str, what: str) -> ModuleType | None:
    """A module of a checkout, unmodified; None, with a message, without a checkout. ValueError if the module is missing."""
    if folder is None:
        print(f"{what} is skipped: give the checkout that contains {module}", file=sys.stderr)
        return None
    sys.path.insert(0, folder)
    try:
        warnings.filterwarnings("ignore", "size_average and reduce args will be deprecated")
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"{folder} is not a checkout with {module}: {error}") from error
    finally:
        sys.path.remove(folder)
