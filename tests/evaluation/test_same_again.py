"""Reproducibility: the figures of the same weights with other batches and threads, as .pt and as .onnx."""

import numpy as np
import pytest
import torch

from aird_plugin.evaluation import embed as embedding
from aird_plugin.evaluation.embed import embed, frozen_batch, full_precision
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.evaluation.verification import NEAR, near_thresholds, verify
from aird_plugin.export.graph import for_112_px, write_onnx
from aird_plugin.models import build
from aird_plugin.models.load import load_model
from tests.skips import needs

BATCHES, THREADS = (1, 7, 64, 256), (1, 2)


@pytest.fixture
def networks(tmp_path):
    """The same weights as a module and as a file that downsamples its inputs."""
    needs("onnxruntime")
    torch.manual_seed(0)
    student = build("native16_0.05m", 8)
    with torch.no_grad():
        student(torch.randn(64, 3, 16, 16))
    write_onnx(for_112_px(student.eval()), tmp_path / "student.onnx", {})
    return {"pt": (student, 16), "onnx": (load_model(tmp_path / "student.onnx"), 112)}


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["pt", "onnx"])
def test_batch_and_threads_do_not_change_the_figures(kind, networks, pairs_file, threads, monkeypatch):
    """Distances may differ by less than NEAR; accuracy is equal if no pair is that near a threshold."""
    network, px = networks[kind]
    rows, distances = [], []
    for count in THREADS:
        threads(count)
        for batch in BATCHES:
            monkeypatch.setattr(embedding, "frozen_batch", lambda images, device, batch=batch: batch)
            evaluator = PairEvaluator(network, pairs_file)
            e_2ND = evaluator.embeddings(px, "lr-lr").astype(float)
            distances.append(((e_2ND[0::2] - e_2ND[1::2]) ** 2).sum(1))
            rows.append(evaluator.evaluate(px, "lr-lr"))
    assert max(abs(other - distances[0]).max() for other in distances) < NEAR
    assert rows[0]["n_near"] == 0
    figures = [[row[key] for key in ("accuracy", "accuracy_std", "ci95")] for row in rows]
    assert all(figure == figures[0] for figure in figures)


def test_batch_affects_facebn_only(networks, pairs_file):
    student, px = networks["pt"]
    small, large = (PairEvaluator(student, pairs_file, batch=batch) for batch in (8, 64))
    one, other = (evaluator.evaluate(px, "lr-lr") for evaluator in (small, large))
    assert one | {"batch": None} == other | {"batch": None}
    adapted = [evaluator.embeddings(px, "lr-lr", facebn="stateless") for evaluator in (small, large)]
    assert np.abs(adapted[0] - adapted[1]).max() > 1e-3
    assert small.evaluate(px, "lr-lr", facebn="stateless")["batch"] == 8


def test_pairs_near_a_threshold_are_counted():
    distance_N = np.array([0.0, 1e-9, 0.005, 0.01, 0.01 + NEAR / 2, 0.01 - 2 * NEAR, 3.99 + NEAR / 2, 4.0, 1.23 - NEAR / 2])
    assert near_thresholds(distance_N) == 4
    e_2ND = np.tile([[1.0, 0.0], [np.cos(0.1), np.sin(0.1)]], (20, 1))
    assert verify(e_2ND, np.arange(20) % 2 == 0)["n_near"] == 20 * int(near_thresholds(np.array([2 - 2 * np.cos(0.1)])))


def test_tf32_is_off_while_embedding(monkeypatch, noise_faces):
    cudnn, flags = torch.backends.cudnn, []
    monkeypatch.setattr(cudnn, "allow_tf32", True)

    class Recorder(torch.nn.Module):
        def forward(self, x):
            flags.append(cudnn.allow_tf32)
            return x.mean((2, 3))

    embed(Recorder(), noise_faces(3, side=16))
    assert flags == [False] and cudnn.allow_tf32
    with pytest.raises(KeyError), full_precision():
        raise KeyError
    assert cudnn.allow_tf32 and frozen_batch(noise_faces(3, side=16), torch.device("cpu")) == 64
