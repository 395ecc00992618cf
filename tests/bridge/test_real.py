"""What upstream's own tools make of a hosted run's model.pt. Only the real checkout can say."""

import functools
import importlib
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from aird_plugin.bridge import checkout, seams
from aird_plugin.bridge.host import train
from aird_plugin.bridge.mends import Surroundings
from aird_plugin.data.pairs import pair_faces, read_pairs
from aird_plugin.evaluation.protocol import Session
from aird_plugin.models.load import load_model
from aird_plugin.recipe import from_flat
from tests.skips import needs

pytestmark = pytest.mark.arcface_torch


@pytest.fixture
def upstream(real_arcface_torch):
    """The real checkout, importable and mended for the CPU."""
    with ExitStack() as stack:
        stack.callback(lambda: torch.distributed.is_initialized() and torch.distributed.destroy_process_group())
        yield seams.open_upstream(stack, checkout.find(real_arcface_torch, seams.ENTRY), Surroundings(cpu=True))


@pytest.fixture(scope="module")
def r18_run(bridge_run, real_arcface_torch, tmp_path_factory):
    """ResNet18 on 16 px faces grown back to 112, three steps."""
    keys = bridge_run | {"network": "r18", "batch_size": 16, "num_epoch": 1}
    return train(from_flat(keys | {"output": str(tmp_path_factory.mktemp("real") / "r18")}), real_arcface_torch)


def upstreams_network(folder):
    network = importlib.import_module("backbones").get_model("r18", dropout=0.0, fp16=False, num_features=8)
    network.load_state_dict(torch.load(folder / "model.pt"), strict=True)
    return network.eval()


def test_the_weights_load_strictly_and_compute_the_same(r18_run, upstream):
    x = torch.randn(4, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(upstreams_network(r18_run)(x), load_model(r18_run)(x), rtol=1e-4, atol=1e-4)


def test_upstreams_onnx_converter_takes_them(r18_run, upstream, tmp_path, monkeypatch):
    """Its np.float and its missing onnxscript are this test's business alone."""
    onnxruntime = needs("onnxruntime")
    monkeypatch.setattr(np, "float", float, raising=False)
    monkeypatch.setattr(torch.onnx, "export", functools.partial(torch.onnx.export, dynamo=False))
    network = importlib.import_module("backbones").get_model("r18", dropout=0.0, fp16=False, num_features=8)
    importlib.import_module("torch2onnx").convert_onnx(network, str(r18_run / "model.pt"), str(tmp_path / "model.onnx"))
    x = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    out = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {"data": x.numpy()})[0]
    with torch.inference_mode():
        np.testing.assert_allclose(out, load_model(r18_run)(x).numpy(), rtol=1e-3, atol=1e-3)


def assert_equal_to_the_last_digit(folder: Path, pairs_file: str) -> None:
    verification = importlib.import_module("eval.verification")
    data, same = verification.load_bin(pairs_file, (112, 112))
    assert np.array_equal(data[0].numpy(), pair_faces(read_pairs(pairs_file)).transpose(0, 3, 1, 2))
    *_, accuracy, std, _, _ = verification.test([data, same], upstreams_network(folder), 10, 10)
    row = Session(load_model(folder), pairs_file).evaluate(112, "lr-lr")
    assert (100 * accuracy, 100 * std) == (row["accuracy"], row["accuracy_std"])


def test_upstreams_evaluation_equals_ours(r18_run, upstream, pairs_file):
    assert_equal_to_the_last_digit(r18_run, pairs_file)


@pytest.mark.slow
def test_upstreams_evaluation_equals_ours_on_real_faces(r18_run, upstream, aird_data):
    assert_equal_to_the_last_digit(r18_run, str(aird_data / "lfw" / "lfw_view1.bin"))


@pytest.mark.slow
def test_upstreams_evaluation_equals_ours_for_a_real_student(real_arcface_torch, upstream, aird_data):
    """A network that knows faces: the fold accuracies are far from a half, where anything would agree."""
    verification = importlib.import_module("eval.verification")
    pairs_file, weights = str(aird_data / "lfw" / "lfw_view1.bin"), aird_data / "teacher" / "mobilefacenet_casia.pt"
    network = load_model(weights)
    *_, accuracy, std, _, _ = verification.test(verification.load_bin(pairs_file, (112, 112)), network, 10, 10)
    row = Session(network, pairs_file).evaluate(112, "lr-lr")
    assert (100 * accuracy, 100 * std) == (row["accuracy"], row["accuracy_std"]) and accuracy > 0.95
