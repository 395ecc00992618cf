"""Feature-map losses inside arcface_torch equal the embedded loop's, work with both readers, and leave no forward hook."""

import pytest

from aird_plugin.bridge.host import train
from aird_plugin.bridge.upstream_run import UpstreamRun
from aird_plugin.config.recipe import from_flat
from aird_plugin.models.feature_maps import stages_of
from aird_plugin.training.loop import train as train_embedded
from tests.runs import metrics

TERMS = {"at": "aird_plugin.losses.at:AT", "fskd": "aird_plugin.losses.fskd:FSKD"}


@pytest.fixture
def keys(bridge_run) -> dict:
    rest = {key: value for key, value in bridge_run.items() if key != "rid_negatives"}
    return rest | {"terms": TERMS, "online": True, "num_epoch": 1, "lr": 0.002}


def test_feature_map_losses_match_the_embedded_loop(keys, checkout, tmp_path, monkeypatch):
    runs, init = [], UpstreamRun.__init__
    monkeypatch.setattr(UpstreamRun, "__init__", lambda self, *args: runs.append(self) or init(self, *args))
    upstream = metrics(train(from_flat(keys | {"output": str(tmp_path / "upstream")}), checkout))
    embedded = metrics(train_embedded(from_flat(keys | {"output": str(tmp_path / "embedded")})))
    assert len(upstream) == len(embedded) == 6
    for one, other in zip(upstream, embedded, strict=True):
        for name in TERMS:
            assert one[name] == pytest.approx(other[name], rel=2e-3), name
    assert not any(stage._forward_hooks for stage in stages_of(runs[0].setup.student))


def test_upstream_reader_provides_maps(keys, checkout, tmp_path):
    lines = metrics(train(from_flat(keys | {"output": str(tmp_path), "reader": "upstream"}), checkout))
    assert len(lines) == 6 and all(0 < line["fskd"] < 4 for line in lines)


@pytest.mark.parametrize(("change", "words"), [({"online": False}, "set online=True"), ({"compile": True}, "set compile=False")])
def test_incompatible_keys_are_rejected(change, words, keys, checkout, tmp_path):
    with pytest.raises(ValueError, match=words):
        train(from_flat(keys | {"output": str(tmp_path)} | change), checkout)
