"""Of several sizes, what arcface_torch's loop can carry runs there as in the embedded host; the rest is refused at once."""

import json
from pathlib import Path

import pytest

from aird_plugin import loop
from aird_plugin.bridge.host import train
from aird_plugin.recipe import from_flat


def first_losses(folder) -> list[float]:
    lines = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines[:3]]


@pytest.mark.parametrize("degradation", ["bicubic", "insightface-warp"])
def test_sizes_drawn_per_face_and_several_faces_of_a_person(degradation, bridge_run, checkout, tmp_path):
    keys = bridge_run | {"px_range": (8, 64), "faces_per_person": 3, "num_epoch": 1, "bank": str(tmp_path / "bank")}
    keys |= {"degradation": degradation, "frequent": 1}
    here = train(from_flat(keys | {"output": str(tmp_path / "hosted")}), checkout)
    there = loop.train(from_flat(keys | {"output": str(tmp_path / "embedded")}))
    assert first_losses(here) == pytest.approx(first_losses(there), rel=1e-4)


def test_further_sizes_are_refused_before_anything_is_built(bridge_run, checkout, tmp_path):
    keys = bridge_run | {"also_px": (8,), "output": str(tmp_path / "run"), "bank": str(tmp_path / "bank")}
    with pytest.raises(ValueError, match=r"also_px=\(8,\) does not run inside arcface_torch"):
        train(from_flat(keys), checkout)
    assert not list(tmp_path.iterdir())
