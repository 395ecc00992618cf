"""Upstream's own tools on the model.pt of a run inside arcface_torch; needs a real checkout."""

import functools
import importlib
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from aird_plugin.bridge import checkout, hooks
from aird_plugin.bridge.compat import Environment
from aird_plugin.bridge.host import train
from aird_plugin.config.recipe import from_flat
from aird_plugin.data.pairs import pair_faces, read_pairs
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.models.load import load_model
from tests.skips import needs

pytestmark = pytest.mark.arcface_torch


@pytest.fixture
def upstream(real_arcface_torch):
    """The real checkout, importable and patched for the CPU."""
    with ExitStack() as stack:
        stack.callback(lambda: torch.distributed.is_initialized() and torch.distributed.destroy_process_group())
        yield hooks.open_upstream(stack, checkout.find(real_arcface_torch, hooks.ENTRY), Environment(cpu=True))


@pytest.fixture(scope="module")
def r18_run(bridge_run, real_arcface_torch, tmp_path_factory):
    """ResNet18 on 16 px images upsampled to 112 px, three steps."""
    keys = bridge_run | {"network": "r18", "batch_size": 16, "num_epoch": 1}
    return train(from_flat(keys | {"output": str(tmp_path_factory.mktemp("real") / "r18")}), real_arcface_torch)


def upstreams_network(folder):
    network = importlib.import_module("backbones").get_model("r18", dropout=0.0, fp16=False, num_features=8)
    network.load_state_dict(torch.load(folder / "model.pt"), strict=True)
    return network.eval()


def test_weights_load_strictly_and_give_the_same_embeddings(r18_run, upstream):
    x = torch.randn(4, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(upstreams_network(r18_run)(x), load_model(r18_run)(x), rtol=1e-4, atol=1e-4)


def test_upstreams_onnx_converter_accepts_the_weights(r18_run, upstream, tmp_path, monkeypatch):
    """Only this test works around its np.float and its missing onnxscript."""
    onnxruntime = needs("onnxruntime")
    monkeypatch.setattr(np, "float", float, raising=False)
    monkeypatch.setattr(torch.onnx, "export", functools.partial(torch.onnx.export, dynamo=False))
    network = importlib.import_module("backbones").get_model("r18", dropout=0.0, fp16=False, num_features=8)
    importlib.import_module("torch2onnx").convert_onnx(network, str(r18_run / "model.pt"), str(tmp_path / "model.onnx"))
    x = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    out = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {"data": x.numpy()})[0]
    with torch.inference_mode():
        np.testing.assert_allclose(out, load_model(r18_run)(x).numpy(), rtol=1e-3, atol=1e-3)


def assert_equal_to_our_evaluation(folder: Path, pairs_file: str) -> None:
    verification = importlib.import_module("eval.verification")
    data, same = verification.load_bin(pairs_file, (112, 112))
    assert np.array_equal(data[0].numpy(), pair_faces(read_pairs(pairs_file)).transpose(0, 3, 1, 2))
    *_, accuracy, std, _, _ = verification.test([data, same], upstreams_network(folder), 10, 10)
    row = PairEvaluator(load_model(folder), pairs_file).evaluate(112, "lr-lr")
    assert (100 * accuracy, 100 * std) == (row["accuracy"], row["accuracy_std"])


def test_upstreams_evaluation_equals_ours(r18_run, upstream, pairs_file):
    assert_equal_to_our_evaluation(r18_run, pairs_file)


@pytest.mark.slow
def test_upstreams_evaluation_equals_ours_on_real_images(r18_run, upstream, aird_data):
    assert_equal_to_our_evaluation(r18_run, str(aird_data / "lfw" / "lfw_view1.bin"))


@pytest.mark.slow
def test_upstreams_evaluation_equals_ours_for_a_real_student(real_arcface_torch, upstream, aird_data):
    """A trained network: fold accuracies are far from 0.5, where any evaluation would agree."""
    verification = importlib.import_module("eval.verification")
    pairs_file, weights = str(aird_data / "lfw" / "lfw_view1.bin"), aird_data / "teacher" / "mobilefacenet_casia.pt"
    network = load_model(weights)
    *_, accuracy, std, _, _ = verification.test(verification.load_bin(pairs_file, (112, 112)), network, 10, 10)
    row = PairEvaluator(network, pairs_file).evaluate(112, "lr-lr")
    assert (100 * accuracy, 100 * std) == (row["accuracy"], row["accuracy_std"]) and accuracy > 0.95
