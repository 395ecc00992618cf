"""The baseline losses inside arcface_torch equal the embedded loop's at every step."""

import pytest

from aird_plugin.bridge.host import train
from aird_plugin.config.recipe import from_flat
from aird_plugin.training.loop import train as train_embedded
from tests.runs import metrics

TERMS = {
    "fkd": "aird_plugin.losses.fkd:FKD",
    "rkd": "aird_plugin.losses.rkd:RKD",
    "crd": "aird_plugin.losses.crd:CRD",
    "horkd": "aird_plugin.losses.horkd:HORKD",
    "dkd": "aird_plugin.losses.instance:IID",
}


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


def test_baseline_losses_match_the_embedded_loop(keys, checkout, tmp_path):
    folders = train_embedded(from_flat(keys | {"output": str(tmp_path / "embedded")})), train(from_flat(keys), checkout)
    logs = [metrics(folder) for folder in folders]
    assert len(logs[0]) == len(logs[1]) == 6
    for embedded, upstream in zip(*logs, strict=True):
        for name in ("loss", *TERMS):
            assert upstream[name] == pytest.approx(embedded[name], rel=1e-3), f"{name} at step {embedded['step']}"
            assert embedded[name] > 0


def test_crd_is_rejected_with_the_upstream_reader(keys, checkout):
    with pytest.raises(ValueError, match=r"\['crd'\] needs; set reader='bank'"):
        train(from_flat(keys | {"reader": "upstream"}), checkout)
