"""A recipe file -> frozen, checked dataclasses.

A recipe is a Python file in arcface_torch's form: it leaves an EasyDict called `config`, flat, with arcface_torch's key names
where such a key exists there. A variant begins with `config = base(__file__, "other_recipe")` and states only its difference.
Which keys exist, their defaults and their checks stand in the dataclass beside the code that each key turns (see `SECTIONS`).

`config.terms` names the losses beside the identity loss: term name -> "module:Spec". Keys that begin with a term's name go to
its spec: `iid_weight`, `rid_negatives`. `config.margin` names another margin than the combined one in the same way, and its keys
begin with `margin_`.
"""

import ast
import dataclasses
import difflib
import math
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.nn import ModuleDict

from aird_plugin.config.aliases import with_current_names
from aird_plugin.config.bridge_section import SECRETS, UPSTREAM_KEYS, BridgeConfig
from aird_plugin.config.recipe_file import read_config
from aird_plugin.config.run_section import RunConfig
from aird_plugin.config.sections import DataConfig, StudentConfig, TeacherConfig
from aird_plugin.config.specs import fields_of, import_spec, without_replaced
from aird_plugin.data.bank.config import BankConfig
from aird_plugin.data.multi_size import SizesConfig
from aird_plugin.models.head import HeadConfig
from aird_plugin.prior.config import PriorConfig
from aird_plugin.training.optim import ScheduleConfig
from aird_plugin.training.tracker import TrackerConfig
from aird_plugin.utils.paths import expand_user

# Keys whose values are paths, or lists of them; `~` in them is the user's home folder.
PATH_KEYS = ("rec", "identity_map", "bank", "output", "teacher", "student_init", "resume_from", "prior", "val_targets")
SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "bank": BankConfig,
    "sizes": SizesConfig,
    "student": StudentConfig,
    "teacher": TeacherConfig,
    "head": HeadConfig,
    "schedule": ScheduleConfig,
    "run": RunConfig,
    "tracker": TrackerConfig,
    "bridge": BridgeConfig,
    "prior": PriorConfig,
}
# Names that recipes, losses of a step or lines of metrics.jsonl use otherwise.
NOT_TERMS = frozenset({*SECTIONS, "margin", "loss", "identity", "step", "epoch", "lr", "samples_per_s"})


@dataclass(frozen=True)
class Recipe:
    """One run, resolved: every value checked, nothing left to look up."""

    data: DataConfig
    bank: BankConfig
    sizes: SizesConfig
    student: StudentConfig
    teacher: TeacherConfig
    head: HeadConfig
    schedule: ScheduleConfig
    run: RunConfig
    tracker: TrackerConfig
    bridge: BridgeConfig
    prior: PriorConfig
    terms: dict[str, Any]
    margin: Any = None

    def flat(self) -> dict[str, Any]:
        """Every key and value as a recipe file would state them (what recipe.json stores), secrets left out."""
        out: dict[str, Any] = {}
        for section in SECTIONS:
            out |= dataclasses.asdict(getattr(self, section))
        out |= dict.fromkeys(SECRETS)
        out["terms"] = {name: f"{type(spec).__module__}:{type(spec).__qualname__}" for name, spec in self.terms.items()}
        for name, spec in (self.terms | ({"margin": self.margin} if self.margin else {})).items():
            out |= {f"{name}_{key}": value for key, value in dataclasses.asdict(spec).items()}
        return out


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read a recipe, apply `key=value` overrides (values are Python literals) and check everything.

    Raises ValueError for an unknown key (naming the nearest), a value of a wrong type or outside its range.
    """
    changes = dict(parse_override(override) for override in overrides)
    return from_flat(without_replaced(with_current_names(dict(read_config(path))), with_current_names(changes)))


def parse_override(text: str) -> tuple[str, Any]:
    """`lr=0.1` -> ("lr", 0.1). What is no Python literal is taken as text: `teacher=w600k_r50.onnx`; so is a secret."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise ValueError(f"{text!r} is not key=value")
    if key in SECRETS:
        return key, value
    try:
        return key, ast.literal_eval(value)
    # All that literal_eval may raise.
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return key, value


def from_flat(config: dict[str, Any]) -> Recipe:
    """Flat keys -> sections and term specs, all checked."""
    config = {key: expand_user(value) if key in PATH_KEYS else value for key, value in with_current_names(config).items()}
    terms = _of_type("terms", config.pop("terms", {}), dict)
    term_types = {name: import_spec(f"terms[{name!r}]", class_path, "term") for name, class_path in terms.items()}
    for name in term_types:
        if not isinstance(name, str) or not name.isidentifier() or name in NOT_TERMS or hasattr(ModuleDict, name):
            raise ValueError(f"config.terms: {name!r} cannot name a term, it means something else here; choose another word")
    spec_types = dict(term_types)
    if config.get("margin") is not None:
        spec_types["margin"] = import_spec("margin", config["margin"], "margin")
    owners = {key: (section, key) for section, kind in SECTIONS.items() for key in fields_of(kind)}
    for name, kind in spec_types.items():
        own = {f"{name}_{key}": (name, key) for key in fields_of(kind)}
        if twice := own.keys() & owners.keys():
            key = min(twice)
            raise ValueError(f"{key!r} would be a key of {name} and of {owners[key][0]}; rename one of them")
        owners |= own
    values: dict[str, dict[str, Any]] = {owner: {} for owner in (*SECTIONS, *spec_types)}
    for key, value in config.items():
        if key not in owners:
            raise ValueError(_unknown_key(key, owners))
        owner, field = owners[key]
        values[owner][field] = value
    sections = {section: _make(kind, values[section]) for section, kind in SECTIONS.items()}
    specs = {name: _make(kind, values[name], f"{name}_") for name, kind in spec_types.items()}
    return Recipe(**sections, terms={name: specs[name] for name in term_types}, margin=specs.get("margin"))


def _unknown_key(key: str, known) -> str:
    if key in UPSTREAM_KEYS:
        return (
            f"{key!r} is a key of arcface_torch, not of a recipe: give it in config.upstream, such as upstream={{{key!r}: ...}}; "
            "it has an effect with --arcface-torch only"
        )
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
    return (
        f"recipe has no key {key!r}; the nearest is {near!r}. Keys of a term exist where config.terms names that term; "
        "drop_terms(config, NAME) removes a term from a recipe with its keys"
    )


def _make(kind: type, values: dict[str, Any], prefix: str = ""):
    """Build a section; errors name the key as the recipe writes it."""
    hints = fields_of(kind)
    checked = {key: _of_type(prefix + key, value, hints[key]) for key, value in values.items()}
    try:
        section = kind(**checked)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}" if prefix else str(error)) from error
    for key, value in checked.items():
        _check_finite(prefix + key, value)
    return section


def _check_finite(key: str, value: Any) -> None:
    """Raise ValueError for NaN or an infinity, also in a tuple: it fits a float key and passes most comparisons."""
    numbers = value if isinstance(value, tuple) else (value,)
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        raise ValueError(f"{key} must be a finite number; got {value!r}")


def _of_type(key: str, value: Any, hint: Any) -> Any:
    """The value where it fits the annotation; a whole number passes for a float, a list or a single value for a tuple."""
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if allowed == (tuple,) and isinstance(value, str | int | float) and not isinstance(value, bool):
        value = (value,)
    if isinstance(value, str):
        # A DataPath is a text too.
        value = str(value)
    if isinstance(value, list) and tuple in allowed:
        value = tuple(tuple(v) if isinstance(v, list) else v for v in value)
    if isinstance(value, int) and not isinstance(value, bool) and float in allowed:
        # What no float holds stays what it is, and is refused for that.
        value = float(value) if abs(value) < 1 << 1000 else value
    if isinstance(value, dict) and dict in allowed:
        value = dict(value)
    fits = any(value is None if kind is type(None) else type(value) is kind for kind in allowed)
    if not fits:
        names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in allowed)
        shown = "a value that is not shown" if key in SECRETS else repr(value)
        raise ValueError(f"{key} is a {names}; got {shown} ({type(value).__name__})")
    return value
