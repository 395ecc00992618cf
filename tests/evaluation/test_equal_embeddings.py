"""Copies that grey levels do not show: a frame that the network does not see, a probe under another identity's name."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.data.pairs import write_pairs
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.evaluation.equal_embeddings import warning_of_equal_pairs, warning_of_equal_probes
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from tests.evaluation.test_copies import identification_set


class Centre(torch.nn.Module):
    """Sees the central 96 columns, as `mfn` does."""

    input_size = 112

    def forward(self, x_B3SS):
        seen = torch.nn.functional.avg_pool2d(x_B3SS[..., 8:-8], 8).flatten(1)
        return seen - seen.mean(1, keepdim=True)


class Collapsed(torch.nn.Module):
    """One point for all images, up to rounding."""

    input_size = 112

    def forward(self, x_B3SS):
        return 1 + 1e-7 * x_B3SS.flatten(1)[:, :16]


def framed(image):
    """The image with a white and a black bar at its sides, where the correlation of grey levels is below that of copies."""
    image = image.copy()
    image[:, :8], image[:, -8:] = 255, 0
    return image


def png(image) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def pairs_of(path, framed_pairs=()):
    images = []
    for n in range(20):
        one, other = draw_person(n, 2 * n), draw_person(n if n % 2 == 0 else n + 30, 2 * n + 1)
        images += [png(one), png(framed(one) if n in framed_pairs else other)]
    write_pairs(path, images, [n % 2 == 0 for n in range(20)])
    return path


@pytest.mark.parametrize("network", [Centre, Collapsed])
def test_pairs_with_one_embedding_are_a_warning(network, tmp_path):
    """Other pairs raise no warning, and a collapsed network none either."""
    evaluator = PairEvaluator(network(), pairs_of(tmp_path / "p.bin", (2, 3, 4)))
    assert evaluator.copies() == "", "no embedding is known yet"
    evaluator.embeddings(8, "lr-lr")
    evaluator.embeddings(112, "lr-lr")
    expected = f"2 of 10 genuine and 1 of 10 impostor pairs of {tmp_path}/p.bin are two files with the same embedding (the first "
    assert evaluator.copies().startswith(expected if network is Centre else "") and bool(evaluator.copies()) == (
        network is Centre
    )
    clean = PairEvaluator(network(), pairs_of(tmp_path / "clean.bin"))
    clean.embeddings(8, "lr-lr")
    assert clean.copies() == ""


def unit(count, seed, width=32):
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("error", [0, 1e-4, 1e-2])
def test_bound_is_that_of_rounding(error):
    """A relative change of 1e-4 leaves the cosine 5e-9 below 1, one of 1e-2 5e-5."""
    first = unit(20, 0)
    both = np.stack([first, np.concatenate([first[:3] + error * unit(3, 2), unit(17, 1)])], 1).reshape(40, 32).astype(np.float32)
    text = warning_of_equal_pairs("p", both, np.arange(40), np.ones(20, bool))
    assert bool(text) == (error < 1e-2)
    assert warning_of_equal_pairs("p", both, np.arange(40) // 2 * 2, np.ones(20, bool)) == "", "equal bytes are another check"


def test_probe_under_another_identity_is_a_warning():
    data, gallery, probes = identification_set(), unit(9, 0), unit(9, 1)
    assert warning_of_equal_probes(data, probes, gallery) == ""
    probes[8] = 3 * gallery[2]
    expected = "1 of 9 probes have the embedding of a gallery image, 1 of them of another identity's (the first: p 8 of g 2)"
    assert warning_of_equal_probes(data, probes, gallery).startswith(expected)
    assert warning_of_equal_probes(data, np.ones((9, 32)), np.ones((9, 32))) == "", "a collapsed network"
    assert warning_of_equal_probes(data, 0 * probes, 0 * gallery) == "", "a dead one"


@pytest.mark.parametrize("name", ["lfw/lfw_view1.bin", "cfp/cfp_fp_clean.bin"])
@pytest.mark.slow
def test_clean_data_give_no_warning(name, aird_data):
    """At 8 px too, where embeddings differ least."""
    from aird_plugin.models.load import load_model

    evaluator = PairEvaluator(load_model(str(aird_data / "teacher/mobilefacenet_casia.onnx")), aird_data / name)
    evaluator.embeddings(8, "lr-lr")
    assert evaluator.copies() == ""
