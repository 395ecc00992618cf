"""What a cache of the bank was made from, as its manifest records it, and the comparison with what a run requires."""

from pathlib import Path
from typing import Any

from aird_plugin.data.bank.config import BankConfig
from aird_plugin.data.degradation import BICUBIC, get_degradation
from aird_plugin.data.joined_records import joined_print
from aird_plugin.data.lowres import check_px
from aird_plugin.data.views import VIEWS_VERSION
from aird_plugin.utils.json_files import read_object

TEACHER_FORMAT = "aird-bank-teacher/1"
PART_FORMAT = "aird-bank-part/1"
LOW_FORMAT = "aird-bank-low/1"
MANIFEST = "manifest.json"
# Recorded only where they are not the usual ones.
OPTIONAL_INPUTS = ("teacher_input", "teacher_px", "bank_searched")


def teacher_cache_inputs(config: BankConfig, records_fingerprint: str, num_faces: int, teacher: dict[str, Any]) -> dict[str, Any]:
    """The inputs of the teacher cache, as its manifest records them."""
    return {
        "format": TEACHER_FORMAT,
        "records": records_fingerprint,
        "num_faces": num_faces,
        "teacher": teacher["sha256"],
        "views": config.views,
        "view_seed": config.view_seed,
        "views_version": VIEWS_VERSION,
        "bank_same": config.bank_same,
        "bank_hard": config.bank_hard,
    } | (teacher_input_entry(teacher) | ({"bank_searched": searched} if (searched := candidates_of(config, num_faces)) else {}))


def candidates_of(config: BankConfig, num_faces: int) -> int:
    """The number of images among which the hard negatives of so many are searched, 0 for all.

    A bank that is complete or begun with lists over all images keeps them.
    """
    if num_faces <= config.bank_searched:
        return 0
    for name in (MANIFEST, "building.json", "shards.json"):
        try:
            return int(config.bank_searched if "bank_searched" in read_object(config.teacher_folder / name)["inputs"] else 0)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return config.bank_searched


def teacher_input_entry(teacher: dict[str, Any]) -> dict[str, Any]:
    """Input and px of a teacher that is not fed as usual; nothing else, so that a bank of the usual one stays valid."""
    return {f"teacher_{key}": teacher[key] for key in ("input", "px") if teacher.get(key)}


def image_cache_inputs(
    config: BankConfig, records_fingerprint: str, num_faces: int, px: int, degradation: str = BICUBIC
) -> dict[str, Any]:
    """The inputs of an image cache, as its manifest records them."""
    return {
        "format": LOW_FORMAT,
        "records": records_fingerprint,
        "num_faces": num_faces,
        "px": check_px(px),
        "resize": get_degradation(degradation).version,
        "views": config.views,
        "view_seed": config.view_seed,
        "views_version": VIEWS_VERSION,
    }


def read_manifest(folder: Path, inputs: dict[str, Any]) -> dict[str, Any] | None:
    """Return the folder's manifest, None if the folder is incomplete.

    Raises ValueError if the manifest has other inputs, naming each that changed.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = read_object(path)
        found = dict(manifest["inputs"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no bank manifest ({error}); remove {folder} and build it again") from error
    keys = [*inputs, *(key for key in OPTIONAL_INPUTS if key in found and key not in inputs)]
    if "records" in inputs and found.get("records") == joined_print([inputs["records"]]):
        found["records"] = inputs["records"]
    changed = [key for key in keys if found.get(key) != inputs.get(key)]
    if changed:
        detail = "; ".join(f"{key} was {_short(found.get(key))}, now {_short(inputs.get(key))}" for key in changed)
        raise ValueError(f"the bank in {folder} is stale: {detail}. Set another bank=FOLDER, or remove it and build it again")
    return manifest | {"inputs": found}


def _short(value) -> str:
    """A value for an error message; hashes are cut."""
    text = str(value)
    return text if len(text) <= 40 else text[:12] + "..."
