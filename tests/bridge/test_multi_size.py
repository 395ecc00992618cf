"""Multi-size keys inside arcface_torch: supported ones equal the embedded loop, the others are rejected before training."""

import pytest

from aird_plugin.bridge.host import train
from aird_plugin.config.recipe import from_flat
from aird_plugin.training import loop
from tests.runs import metrics


def first_losses(folder) -> list[float]:
    return [line["loss"] for line in metrics(folder)[:3]]


@pytest.mark.parametrize("degradation", ["bicubic", "insightface-warp", {"bicubic": 1, "noise": 1}])
def test_px_range_and_faces_per_person_match_the_embedded_loop(degradation, bridge_run, checkout, tmp_path):
    keys = bridge_run | {"px_range": (8, 64), "faces_per_person": 3, "num_epoch": 1, "bank": str(tmp_path / "bank")}
    keys |= {"degradation": degradation, "frequent": 1}
    upstream = train(from_flat(keys | {"output": str(tmp_path / "upstream")}), checkout)
    embedded = loop.train(from_flat(keys | {"output": str(tmp_path / "embedded")}))
    assert first_losses(upstream) == pytest.approx(first_losses(embedded), rel=1e-4)


def test_also_px_is_rejected_before_anything_is_built(bridge_run, checkout, tmp_path):
    keys = bridge_run | {"also_px": (8,), "output": str(tmp_path / "run"), "bank": str(tmp_path / "bank")}
    with pytest.raises(ValueError, match=r"also_px=\(8,\) does not run inside arcface_torch"):
        train(from_flat(keys), checkout)
    assert not list(tmp_path.iterdir())
