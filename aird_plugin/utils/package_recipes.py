"""Files that ship inside the package."""

from importlib import resources
from pathlib import Path


def recipes_folder() -> Path:
    """Where the shipped recipes lie: inside the installed package, or beside it in a checkout."""
    inside = Path(str(resources.files("aird_plugin"))) / "recipes"
    return inside if inside.is_dir() else inside.parents[1] / "recipes"


def copy_recipes(folder: str) -> list[Path]:
    """Copy the tree of recipes and their README.md, the first of the paths, into `folder`.

    Raises ValueError, copying nothing, where one of them is there already.
    """
    root = recipes_folder()
    sources = [root / "README.md", *sorted(root.rglob("*.py"))]
    targets = [Path(folder) / source.relative_to(root) for source in sources]
    present = [target for target in targets if target.exists()]
    if present:
        raise ValueError(f"{present[0]} is there already; name another folder")
    for source, target in zip(sources, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    return targets
