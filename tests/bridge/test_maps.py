"""Terms on intermediate maps inside arcface_torch: the embedded host's figures, from either reader, and no hook left."""

import json

import pytest

from aird_plugin.bridge import hosted as hosted_module
from aird_plugin.bridge.host import train
from aird_plugin.loop import train as train_embedded
from aird_plugin.models.maps import stages_of
from aird_plugin.recipe import from_flat

TERMS = {"at": "aird_plugin.losses.attention:Attention", "fskd": "aird_plugin.losses.fskd:FeatureSimilarity"}


@pytest.fixture
def keys(bridge_run) -> dict:
    rest = {key: value for key, value in bridge_run.items() if key != "rid_negatives"}
    return rest | {"terms": TERMS, "online": True, "num_epoch": 1, "lr": 0.002}


def told(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_both_hosts_tell_the_same(keys, checkout, tmp_path, monkeypatch):
    made, begin = [], hosted_module.Hosted.__init__
    monkeypatch.setattr(hosted_module.Hosted, "__init__", lambda self, *args: made.append(self) or begin(self, *args))
    hosted = told(train(from_flat(keys | {"output": str(tmp_path / "hosted")}), checkout))
    embedded = told(train_embedded(from_flat(keys | {"output": str(tmp_path / "embedded")})))
    assert len(hosted) == len(embedded) == 6
    for one, other in zip(hosted, embedded, strict=True):
        for name in TERMS:
            assert one[name] == pytest.approx(other[name], rel=2e-3), name
    assert not any(stage._forward_hooks for stage in stages_of(made[0].lesson.student))


def test_upstreams_own_reader_brings_maps_too(keys, checkout, tmp_path):
    lines = told(train(from_flat(keys | {"output": str(tmp_path), "reader": "upstream"}), checkout))
    assert len(lines) == 6 and all(0 < line["fskd"] < 4 for line in lines)


@pytest.mark.parametrize(("change", "words"), [({"online": False}, "set online=True"), ({"compile": True}, "set compile=False")])
def test_what_does_not_fit_is_told(change, words, keys, checkout, tmp_path):
    with pytest.raises(ValueError, match=words):
        train(from_flat(keys | {"output": str(tmp_path)} | change), checkout)
