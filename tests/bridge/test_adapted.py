"""The teacher adapted to the bank's faces, inside arcface_torch: by either reader the student learns from the adapted one."""

import json

import pytest
import torch

from aird_plugin.assemble import assemble
from aird_plugin.bridge.host import train
from aird_plugin.bridge.hosted import Hosted
from aird_plugin.loop import train as train_embedded
from aird_plugin.recipe import from_flat


def metrics(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def mimicking(bridge_run, tmp_path_factory) -> dict:
    """Adapted embeddings narrower than the teacher's: an unadapted one would be refused by its width."""
    folder = tmp_path_factory.mktemp("mimicking")
    terms = {"terms": {"adapted": "aird_plugin.losses.adapted:Adapted"}, "adapted_width": 4, "adapted_epochs": 2}
    own = {"bank": str(folder / "bank"), "output": str(folder / "embedded"), "num_epoch": 2}
    return {key: value for key, value in bridge_run.items() if not key.startswith("rid_")} | terms | own


def test_the_bank_teaches_as_in_the_embedded_host(mimicking, standin, tmp_path):
    ours = metrics(train_embedded(from_flat(mimicking)))
    theirs = metrics(train(from_flat(mimicking | {"output": str(tmp_path / "hosted")}), standin))
    # Their class centres start where ours do, from the adapted ones: identity says so.
    for term in ("adapted", "identity"):
        assert theirs[0][term] == pytest.approx(ours[0][term], rel=1e-4)


def test_upstreams_reader_asks_the_teacher_and_adapts_its_word(mimicking, standin, tmp_path, monkeypatch):
    seen, begin = [], Hosted.begin

    def spying(hosted, number, batch):
        seen.append(batch.teacher_BD)
        return begin(hosted, number, batch)

    monkeypatch.setattr(Hosted, "begin", spying)
    train(from_flat(mimicking | {"output": str(tmp_path / "hosted"), "reader": "upstream"}), standin)
    known_XD = torch.from_numpy(assemble(from_flat(mimicking)).bank.embeddings_NVD.astype("float32")).reshape(-1, 4)
    # Upstream's faces are those of the bank, mirrored or not.
    nearest_GX = torch.cat(seen) @ known_XD.T
    assert nearest_GX.shape == (96, 96) and nearest_GX.amax(1).min() > 0.999
