"""Temporary replacement of attributes, modules and environment variables."""

import importlib
import os
import sys
import types
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any


def resolve(module: str, name: str) -> tuple[Any, str]:
    """The object that holds a name, and its last part: ("torch", "Tensor.cuda") -> (torch.Tensor, "cuda").

    Raises ImportError or AttributeError if it does not exist.
    """
    holder: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        holder = getattr(holder, part)
    getattr(holder, last)
    return holder, last


def rebind(stack: ExitStack, module: str, name: str, make: Callable[[Any], Any]) -> None:
    """Replace `module.name` by make(original) until the stack closes."""
    holder, last = resolve(module, name)
    before, inherited = getattr(holder, last), last not in vars(holder)
    setattr(holder, last, make(before))
    if inherited:
        stack.callback(delattr, holder, last)
    else:
        stack.callback(setattr, holder, last, before)


def set_variable(stack: ExitStack, name: str, value: str) -> None:
    """Set an environment variable until the stack closes."""
    before = os.environ.get(name)
    os.environ[name] = value
    if before is None:
        stack.callback(os.environ.pop, name, None)
    else:
        stack.callback(os.environ.__setitem__, name, before)


def replace_modules(stack: ExitStack, modules: dict[str, types.ModuleType]) -> None:
    """Put modules into sys.modules until the stack closes, then restore the previous ones."""
    before = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)

    def restore() -> None:
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(before)

    stack.callback(restore)
