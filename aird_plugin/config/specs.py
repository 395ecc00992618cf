"""The specs that a recipe names as "module:Class", and the recipe keys that belong to them."""

import dataclasses
import importlib
import typing
from typing import Any


def fields_of(kind: type) -> dict[str, Any]:
    """Field -> annotation of a section or spec."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def named_specs(config: dict[str, Any]) -> dict[str, Any]:
    """Prefix of the keys -> "module:Class" of every term and of the margin that flat keys name."""
    terms, margin = config.get("terms"), config.get("margin")
    return (dict(terms) if isinstance(terms, dict) else {}) | ({} if margin is None else {"margin": margin})


def without_replaced(config: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """A recipe's flat keys with the overrides. Keys of a term or margin that an override removes or replaces go with it."""
    after = named_specs(config | overrides)
    for name, class_path in named_specs(config).items():
        if after.get(name) != class_path:
            own = {f"{name}_{key}" for key in fields_of(import_spec(name, class_path, "margin" if name == "margin" else "term"))}
            config = {key: value for key, value in config.items() if key not in own}
    return config | overrides


def import_spec(key: str, class_path: Any, what: str) -> type:
    """The spec class of a term or of the margin, named as "module:Class"."""
    if not isinstance(class_path, str) or class_path.count(":") != 1:
        raise ValueError(f"config.{key} is 'module:Spec'; got {class_path!r}")
    module_name, _, class_name = class_path.partition(":")
    try:
        kind: Any = getattr(importlib.import_module(module_name), class_name)
    # The TypeError is import_module's of a name that begins with a dot.
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"config.{key}: {error}") from error
    weighted = hasattr(kind, "weight") or "weight" in getattr(kind, "__dataclass_fields__", {})
    buildable = dataclasses.is_dataclass(kind) and hasattr(kind, "build")
    if not buildable or weighted != (what == "term"):
        raise ValueError(
            f"config.{key}: {class_path} is no {what} spec (a frozen dataclass with build(), a term's with a weight)"
        )
    return kind
