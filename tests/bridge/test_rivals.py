"""The rival losses inside arcface_torch: the embedded host's numbers, step by step."""

import json

import pytest

from aird_plugin.bridge.host import train
from aird_plugin.loop import train as train_embedded
from aird_plugin.recipe import from_flat

TERMS = {
    "fkd": "aird_plugin.losses.feature:Feature", "rkd": "aird_plugin.losses.rkd:Relational",
    "crd": "aird_plugin.losses.crd:Contrast", "horkd": "aird_plugin.losses.horkd:HybridOrder",
    "dkd": "aird_plugin.losses.instance:Instance",
}  # fmt: skip


@pytest.fixture
def keys(bridge_run, tmp_path):
    own = {key: value for key, value in bridge_run.items() if not key.startswith("rid_")}
    return own | {
        "terms": TERMS,
        "crd_negatives": 16,
        "dkd_variant": "dkd",
        "num_epoch": 1,
        "lr": 0.01,
        "output": str(tmp_path / "run"),
    }


def test_every_rival_says_the_same_in_both_hosts(keys, checkout, tmp_path):
    folders = train_embedded(from_flat(keys | {"output": str(tmp_path / "embedded")})), train(from_flat(keys), checkout)
    told = [[json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] for folder in folders]
    assert len(told[0]) == len(told[1]) == 6
    for ours, hosted in zip(*told, strict=True):
        for name in ("loss", *TERMS):
            assert hosted[name] == pytest.approx(ours[name], rel=1e-3), f"{name} at step {ours['step']}"
            assert ours[name] > 0


def test_crd_is_refused_with_upstreams_own_reader(keys, checkout):
    with pytest.raises(ValueError, match=r"\['crd'\] asks; set reader='bank'"):
        train(from_flat(keys | {"reader": "upstream"}), checkout)
