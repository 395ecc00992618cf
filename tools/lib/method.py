"""A method that bench_methods.py trains and compares."""

from pathlib import Path
from typing import NamedTuple


class Method(NamedTuple):
    """stages: (recipe, overrides); "{previous}" in an override is the previous stage's folder. seeds: default number of seeds.

    first: a recipe that is trained once for all seeds; "{first}" in an override is its folder. teachers_space: whether the
    student's embeddings are comparable with the teacher's, as LR-HR with a native student requires. against: the one method that
    this one is tested against; None for the main ones. factors: columns of its rows in the JSON file.
    """

    stages: list[tuple[str, list[str]]]
    group: str = "methods"
    seeds: int = 1
    teachers_space: bool = True
    first: str | None = None
    against: str | None = None
    factors: dict[str, str] = {}


def folder_of(args, name: str, seed: int) -> Path:
    """The folder of the run whose student is evaluated."""
    slug = "".join(c if c.isalnum() else "_" for c in name.lower())
    return args.folder / f"{slug}-seed{seed}"
