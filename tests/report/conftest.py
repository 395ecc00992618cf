"""Run folders with a small random student each, and pairs that link images into identities."""

import json
from pathlib import Path

import pytest
import torch

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.pairs import write_pairs
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.models import build
from aird_plugin.models.load import load_teacher


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("teacher") / "teacher.pt"
    torch.manual_seed(9)
    torch.save(build("mfn", 8).state_dict(), path)
    return str(path)


@pytest.fixture(scope="session")
def teacher(teacher_file):
    return load_teacher(teacher_file)


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory) -> str:
    """Five identities with five images each: each image with the next one of its identity and one of another identity."""
    files = [[encode_jpeg(draw_person(identity, 10 * identity + n)) for n in range(5)] for identity in range(5)]
    images, same = [], []
    for identity in range(5):
        for n in range(4):
            image = files[identity][n]
            images += [image, files[identity][n + 1], image, files[(identity + n + 1) % 5][n]]
            same += [True, False]
    path = tmp_path_factory.mktemp("pairs") / "chained.bin"
    write_pairs(path, images, same)
    return str(path)


@pytest.fixture(scope="session")
def run_maker(teacher):
    """Function of a folder that returns a function to create run folders in it.

    recipe: keys of the recipe; lines: of metrics.jsonl; weights: False for an unfinished run; metadata: more of recipe.json.
    """

    def in_folder(parent):
        def make(name, seed=0, lines=None, weights=True, metadata=None, **recipe) -> str:
            folder = Path(parent) / name
            folder.mkdir(parents=True)
            defaults = {"seed": seed, "network": "native16_0.05m", "head_init": "teacher", "output": str(folder), "lr": 0.1}
            recipe = defaults | recipe
            content = {"recipe": recipe, "network": recipe["network"], "px": 16, "parameters": 50_000}
            content |= {"teacher": teacher.describe()} | (metadata or {})
            (folder / "recipe.json").write_text(json.dumps(content))
            logged = [{"epoch": n / 4, "lr": 0.1, "loss": 9 / n, "iid": 1.5, "samples_per_s": 7} for n in range(1, 9)]
            (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, logged) if lines is None else lines))
            if weights:
                torch.manual_seed(seed)
                torch.save(build("native16_0.05m", 8).state_dict(), folder / "model.pt")
            return str(folder)

        return make

    return in_folder


@pytest.fixture
def make_run(run_maker, tmp_path):
    return run_maker(tmp_path)
