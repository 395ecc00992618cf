"""Expansion of `~` in user paths, in arguments and recipes."""

import argparse
import os
from pathlib import Path
from typing import Any


def expand_user(value: Any) -> Any:
    """A path, or a list or tuple of them, with a leading `~` or `~name` replaced by that home folder; anything else as it is."""
    if isinstance(value, str):
        return os.path.expanduser(value)
    if isinstance(value, Path):
        return value.expanduser()
    if isinstance(value, list | tuple):
        return type(value)(expand_user(one) for one in value)
    return value


def expand_arguments(args: argparse.Namespace) -> argparse.Namespace:
    """Parsed arguments with every path expanded: a word that begins with `~` is one."""
    return argparse.Namespace(**{name: expand_user(value) for name, value in vars(args).items()})
