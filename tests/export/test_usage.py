"""The code of the model card embeds as the file must be fed; InsightFace's is offered only where it does the same."""

import sys

import numpy as np
import pytest

from aird_plugin.export import check
from aird_plugin.export.usage import feeding_code, own_usage
from aird_plugin.models.load import load_teacher
from tests.skips import needs

needs("onnx")
needs("onnxruntime")
from tests.models.onnx_variants import VARIANTS, write_variant  # noqa: E402
from tests.models.test_onnx_teacher import write_graph  # noqa: E402


@pytest.fixture
def variant(tmp_path):
    """Writes a variant of a small graph, and opens it as it has to be fed."""

    def open_variant(name):
        plain = write_graph(tmp_path / "plain.onnx")
        return load_teacher(tmp_path / "model.onnx", teacher_input=write_variant(plain, tmp_path / "model.onnx", name))

    return open_variant


@pytest.mark.parametrize("name", VARIANTS)
def test_the_cards_code_embeds_as_the_file_is_fed(name, variant, noise_faces):
    network = variant(name)
    images_NHWC = noise_faces(network.fixed_batch or 3)
    images_NHWC[..., 2] //= 3
    found = {"crops": images_NHWC[..., ::-1]}
    exec("\n".join(feeding_code(str(network.path), network)), found)
    np.testing.assert_allclose(found["features"], network.embed(images_NHWC), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_only_a_file_that_insightface_feeds_right_is_compared_with_it(name, variant, noise_faces):
    network = variant(name)
    images_NHWC = noise_faces(3)
    expected_ND = network.embed(images_NHWC)
    reason = check.compare_insightface(network, images_NHWC, expected_ND)
    if network.takes_usual_input:
        needs("insightface")
        assert reason >= 0.9999
    else:
        assert reason == "InsightFace feeds it another way"
        assert f"Input: {network.input}." in own_usage("m", network)


def test_without_insightface_the_reason_is_that(variant, noise_faces, monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface.model_zoo", None)
    network = variant("batch of one")
    reason = check.compare_insightface(network, noise_faces(1), network.embed(noise_faces(1)))
    assert reason == "InsightFace is not installed"
