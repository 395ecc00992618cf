"""The teacher projection (bridge distillation) inside arcface_torch: both readers provide projected teacher embeddings."""

import pytest
import torch

from aird_plugin.bridge.host import train
from aird_plugin.bridge.upstream_run import UpstreamRun
from aird_plugin.config.recipe import from_flat
from aird_plugin.training.loop import train as train_embedded
from aird_plugin.training.state import build_state
from tests.runs import metrics


@pytest.fixture(scope="module")
def projected_run(bridge_run, tmp_path_factory) -> dict:
    """Projected embeddings are narrower than the teacher's: unprojected ones would be rejected for their width."""
    folder = tmp_path_factory.mktemp("projected")
    terms = {
        "terms": {"adapted": "aird_plugin.losses.bridge_distillation:BridgeDistillation"},
        "adapted_width": 4,
        "adapted_epochs": 2,
    }
    own = {"bank": str(folder / "bank"), "output": str(folder / "embedded"), "num_epoch": 2}
    return {key: value for key, value in bridge_run.items() if not key.startswith("rid_")} | terms | own


def test_bank_reader_matches_the_embedded_loop(projected_run, standin, tmp_path):
    ours = metrics(train_embedded(from_flat(projected_run)))
    theirs = metrics(train(from_flat(projected_run | {"output": str(tmp_path / "upstream")}), standin))
    # The identity term agrees only if the class centers start from the projected ones too.
    for term in ("adapted", "identity"):
        assert theirs[0][term] == pytest.approx(ours[0][term], rel=1e-4)


def test_upstream_reader_projects_the_teacher_embeddings(projected_run, standin, tmp_path, monkeypatch):
    embeddings, begin = [], UpstreamRun.begin

    def recording_begin(run, number, batch):
        embeddings.append(batch.teacher_BD)
        return begin(run, number, batch)

    monkeypatch.setattr(UpstreamRun, "begin", recording_begin)
    train(from_flat(projected_run | {"output": str(tmp_path / "upstream"), "reader": "upstream"}), standin)
    bank_XD = torch.from_numpy(build_state(from_flat(projected_run)).setup.bank.embeddings_NVD.astype("float32")).reshape(-1, 4)
    # Upstream's images are those of the bank, mirrored or not.
    nearest_GX = torch.cat(embeddings) @ bank_XD.T
    assert nearest_GX.shape == (96, 96) and nearest_GX.amax(1).min() > 0.999
